//! The application's environment file, in dotenv's syntax. Owns the parsing; never sets a variable.

use std::collections::BTreeMap;

/// What is wrong with a line. The line itself is not repeated: it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DotenvError {
    /// No `=` in it.
    #[error("line {0} is not NAME=value")]
    NoAssignment(usize),
    /// A quote that is never closed.
    #[error("line {0} has an unclosed quote")]
    OpenQuote(usize),
}

/// Reads `NAME=value` lines: `export`, comments, single, double and back quotes; double-quoted text knows `\n` and may,
/// as the others, go over several lines.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, DotenvError> {
    let mut found = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start();
        if line.trim_end().is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(DotenvError::NoAssignment(index + 1))?;
        let name = name.trim();
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty() || !name.chars().all(valid) {
            return Err(DotenvError::NoAssignment(index + 1));
        }
        let value = value.trim_start();
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'' | '`')) => {
                let mut raw = value[1..].to_owned();
                loop {
                    if let Some(end) = closing(&raw, quote) {
                        raw.truncate(end);
                        break;
                    }
                    let (_, next) = lines.next().ok_or(DotenvError::OpenQuote(index + 1))?;
                    raw.push('\n');
                    raw.push_str(next);
                }
                if quote == '"' { unescape(&raw) } else { raw }
            }
            _ => uncommented(value).trim_end().to_owned(),
        };
        found.insert(name.to_owned(), value);
    }
    Ok(found)
}

fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == quote && !escaped {
            return Some(at);
        }
        escaped = quote == '"' && c == '\\' && !escaped;
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some(c @ ('"' | '\\' | '$')) => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            _ => out.push(c),
        }
    }
    out
}

/// A `#` begins a comment in unquoted text only after a space: passwords hold it.
fn uncommented(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    value.find(" #").or_else(|| value.find("\t#")).map_or(value, |at| &value[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_dotenv_reads() {
        let table = [
            ("A=1", "1"),
            ("export A=1", "1"),
            ("  A = 1  ", "1"),
            ("A=", ""),
            ("A=1 # note", "1"),
            ("A=pass#word", "pass#word"),
            ("A=\"1 # not\" # note", "1 # not"),
            ("A='it \"is\" $so\\n'", "it \"is\" $so\\n"),
            ("A=`back 'n' \"forth\"`", "back 'n' \"forth\""),
            ("A=\"two\\nlines\"", "two\nlines"),
            ("A=\"a\\\"b\"", "a\"b"),
            ("A=\"one\ntwo\"", "one\ntwo"),
            ("# c\n\nB=2\nA=x=y=z", "x=y=z"),
            ("A=1\r\n", "1"),
            ("\u{feff}A=1", "1"),
            ("A=old\nA=new", "new"),
        ];
        for (text, expect) in table {
            let found = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(found.get("A").map(String::as_str), Some(expect), "{text:?}");
        }
    }

    #[test]
    fn refuses_the_rest_by_line_without_repeating_it() {
        assert_eq!(parse("A=1\nsecret"), Err(DotenvError::NoAssignment(2)));
        assert_eq!(parse("=1"), Err(DotenvError::NoAssignment(1)));
        assert_eq!(parse("\nA=\"open\nB=2"), Err(DotenvError::OpenQuote(2)));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[A-C=\"'`#\\\\ \n\r\tnxé]{0,60}") {
            let _ = parse(&text);
        }
    }
}
