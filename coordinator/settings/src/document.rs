//! A TOML file with the line of each value.

use std::collections::BTreeMap;

use toml::Table;
use toml::de::{DeTable, DeValue};

/// The file is not TOML. The text of the line is not repeated: it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// From 1.
    pub line: usize,
    pub problem: String,
    pub remedy: &'static str,
}

/// The values of a file, and where they stand.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pub table: Table,
    lines: BTreeMap<String, usize>,
}

impl Document {
    /// # Errors
    /// The text is not TOML.
    pub fn parse(text: &str) -> Result<Self, Syntax> {
        let syntax = |error: toml::de::Error| Syntax {
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            // The first line of the parser's message: the others repeat the text.
            problem: format!("is not TOML ({})", error.message().lines().next().unwrap_or_default()),
            remedy: "check the quotes, brackets and \"=\" of this line",
        };
        let table: Table = text.parse().map_err(syntax)?;
        let mut lines = BTreeMap::new();
        note_table(text, DeTable::parse(text).map_err(syntax)?.get_ref(), "", &mut lines);
        Ok(Self { table, lines })
    }

    /// The line of the value at `path` (`pool[0].policy.steps[1].for`), from 1; None if the file does not have it.
    pub fn line(&self, path: &str) -> Option<usize> {
        self.lines.get(path).copied()
    }
}

/// Notes the line of each key; a key that is written several times (`[[pool]]`) counts where it is written first.
fn note_table(text: &str, table: &DeTable<'_>, path: &str, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        // A header's table spans its header, a value stands behind its key: the key's line is what a person looks for.
        lines.insert(path.clone(), line_of(text, key.span().start));
        note_value(text, value.get_ref(), &path, lines);
    }
}

fn note_value(text: &str, value: &DeValue<'_>, path: &str, lines: &mut BTreeMap<String, usize>) {
    match value {
        DeValue::Table(table) => note_table(text, table, path, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                lines.insert(path.clone(), line_of(text, item.span().start));
                note_value(text, item.get_ref(), &path, lines);
            }
        }
        _ => {}
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_its_line() {
        let text = "a = 1\n\n[redis]\nurl = \"x\"\n[[pool]]\nname = \"p\"\n[pool.policy]\nsteps = [\n  { jobs = 5 },\n  \
                    { jobs = 9,\n    for = \"1m\" },\n]\n[[pool]]\nname = \"q\"\ntags.a.b = \"c\"\n";
        let document = Document::parse(text).expect("TOML");
        for (path, line) in [
            ("a", Some(1)),
            ("redis", Some(3)),
            ("redis.url", Some(4)),
            ("pool", Some(5)),
            ("pool[0].name", Some(6)),
            ("pool[0].policy.steps", Some(8)),
            ("pool[0].policy.steps[0].jobs", Some(9)),
            ("pool[0].policy.steps[1].for", Some(11)),
            ("pool[1].name", Some(14)),
            ("pool[1].tags.a.b", Some(15)),
            ("pool[2]", None),
        ] {
            assert_eq!(document.line(path), line, "{path}");
        }
    }

    #[test]
    fn what_is_not_toml_is_said_with_its_line_and_without_its_text() {
        for (text, line) in [("a = 1\nb = ", 2), ("url = redis://:sesame@h", 1), ("[a\n", 1), ("a = 1\na = 2", 2)] {
            let syntax = Document::parse(text).expect_err(text);
            assert_eq!(syntax.line, line, "{text}: {syntax:?}");
            assert!(syntax.problem.starts_with("is not TOML (") && !syntax.problem.contains("sesame"), "{syntax:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}|([a-c.]{1,3} ?= ?[0-9\\[\\]{}\"é]{0,5}\n|\\[{1,2}[a-c.]{0,4}\\]{1,2}\n){0,9}") {
            let _ = Document::parse(&text);
        }
    }
}
