//! The messages that the documentation quotes, and the samples that it shows, are what the programs print. Owns the
//! comparison with the string literals of the source: a sentence that is rewritten there fails here until its page
//! follows.

use std::fs;
use std::path::{Path, PathBuf};

use spillway_tests::binaries::workspace;

use super::pages;

/// A literal of the source: text, and None for each value that is formatted into it.
type Literal = Vec<Option<char>>;

/// Nouns that a number brings with it, and units of time.
const COUNTED: [&str; 13] =
    ["job", "jobs", "instance", "instances", "boot", "boots", "ms", "s", "min", "h", "d", "active", "MiB"];

#[test]
fn every_sentence_of_the_runbook_is_one_that_the_programs_say() {
    let literals = literals();
    let page = pages::page("coordinator/deploy/operations.md");
    let rows = page.text.lines().zip(1..).filter(|(line, _)| line.starts_with("| `"));
    let mut said = Said::default();
    for (row, line) in rows {
        let quoted = row.split(" | ").next().unwrap_or_default();
        for sentence in quoted.split('`').skip(1).step_by(2) {
            said.check(sentence, &literals, &page.at(line));
        }
    }
    said.assert();
}

#[test]
fn samples_show_what_the_programs_say() {
    let literals = literals();
    let page = pages::page("coordinator/README.md");
    let samples = page.blocks().into_iter().filter(|block| block.text.starts_with("$ spillway"));
    let mut said = Said::default();
    for block in samples {
        for (line, at) in block.text.lines().zip(block.line..).skip(1) {
            // A line is made of several sentences, in columns.
            for part in line.split("  ").flat_map(|column| column.split([':', ';', ','])) {
                let part = part.trim().trim_start_matches("-> ");
                if part.contains(' ') {
                    said.check(part, &literals, &page.at(at));
                }
            }
        }
    }
    said.assert();
}

#[test]
fn a_sentence_must_come_from_one_literal_but_for_its_values() {
    let literal = literal("{} could start: below {jobs}, so {} as before; {{}} \\\n         it \\\"holds\\\"");
    let literals = [literal];
    for said in [
        "could start: below 5, so 0 instances as before",
        "12 jobs could start: below 5",
        "so … as before; {} it \"holds\"",
        "i-0abc could start",
    ] {
        assert!(is_said(said, &literals), "{said}");
    }
    for not in ["could start: above 5", "everything could start: below 5", "12 jobs", "start: below many, so"] {
        assert!(!is_said(not, &literals), "{not}");
    }
}

/// What was compared, and what no program says.
#[derive(Default)]
struct Said {
    count: usize,
    missing: Vec<String>,
}

impl Said {
    fn check(&mut self, sentence: &str, literals: &[Literal], at: &str) {
        self.count += 1;
        if !is_said(sentence, literals) {
            self.missing.push(format!("{at}: {sentence}"));
        }
    }

    fn assert(&self) {
        assert!(self.count > 20, "only {} sentences were found", self.count);
        assert!(self.missing.is_empty(), "no program says\n{}", self.missing.join("\n"));
    }
}

/// Whether some literal has the sentence in it. Values stand for values only: numbers with what they count, ids, `…`.
fn is_said(sentence: &str, literals: &[Literal]) -> bool {
    let tokens = tokens(sentence);
    let comparison = Comparison { literals, depth: 2 };
    literals.iter().any(|literal| (0..literal.len()).any(|from| comparison.matches(&tokens, &literal[from..], true)))
}

/// A character that must be in the literal, or a value that may be.
#[derive(Clone, Debug)]
enum Token {
    Plain(char),
    Value(String),
}

fn tokens(sentence: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut after_number = false;
    for (index, word) in sentence.split(' ').enumerate() {
        let core = word.trim_matches([',', ':', ';', '.', '(', ')']);
        let is_number = core.chars().any(|c| c.is_ascii_digit());
        let is_id = core.starts_with("i-") || core.starts_with("spillway-");
        let is_value = is_number || is_id || ["…", "spot"].contains(&core) || after_number && COUNTED.contains(&core);
        after_number = is_number || after_number && is_value;
        if index > 0 {
            tokens.push(Token::Plain(' '));
        }
        if is_value {
            let (before, behind) = word.split_once(core).expect("it is in it");
            tokens.extend(before.chars().map(Token::Plain));
            tokens.push(Token::Value(core.to_owned()));
            tokens.extend(behind.chars().map(Token::Plain));
        } else {
            tokens.extend(word.chars().map(Token::Plain));
        }
    }
    tokens
}

/// One sentence against literals, which may be formatted into each other so many times.
#[derive(Clone, Copy)]
struct Comparison<'a> {
    literals: &'a [Literal],
    depth: u8,
}

impl Comparison<'_> {
    /// `start`: nothing of the literal is used yet. A sentence may end before the literal does, but not be values only.
    fn matches(self, tokens: &[Token], literal: &[Option<char>], start: bool) -> bool {
        match (tokens.split_first(), literal.split_first()) {
            (None, _) => !start,
            (Some((Token::Plain(c), rest)), Some((Some(l), after))) if c == l => self.matches(rest, after, false),
            // A value in the place of a value, with all that belongs to it.
            (Some((Token::Value(_), rest)), Some((None, after))) => {
                self.matches(rest, after, start)
                    || matches!(rest, [Token::Plain(' '), Token::Value(_), ..])
                        && self.matches(&rest[1..], literal, start)
            }
            // A number or a noun that the literal spells out.
            (Some((Token::Value(value), rest)), Some((Some(_), _))) => {
                let length = value.chars().count();
                let spelt = literal.len() >= length && value.chars().zip(literal).all(|(c, l)| *l == Some(c));
                spelt && self.matches(rest, &literal[length..], false)
            }
            // Another literal in the place of a value, the whole of it.
            (Some((Token::Plain(_), _)), Some((None, after))) if self.depth > 0 && !start => {
                let inner = Comparison { depth: self.depth - 1, ..self };
                self.literals.iter().filter(|it| it.len() > 3).any(|it| {
                    (3..=tokens.len())
                        .any(|end| is_whole(&tokens[..end], it) && inner.matches(&tokens[end..], after, false))
                })
            }
            _ => false,
        }
    }
}

/// The tokens are this literal from its first character to its last, with values for its values.
fn is_whole(tokens: &[Token], literal: &[Option<char>]) -> bool {
    match (tokens.split_first(), literal.split_first()) {
        (None, None) => true,
        (Some((Token::Plain(c), rest)), Some((Some(l), after))) if c == l => is_whole(rest, after),
        (Some((Token::Value(_), rest)), Some((None, after))) => {
            is_whole(rest, after)
                || matches!(rest, [Token::Plain(' '), Token::Value(_), ..]) && is_whole(&rest[1..], literal)
        }
        _ => false,
    }
}

/// All literals of the programs' source that have a space, tests aside.
fn literals() -> Vec<Literal> {
    let found: Vec<Literal> = written(&["coordinator", "agent"]).iter().map(|string| literal(string)).collect();
    assert!(found.len() > 500, "only {} literals were found", found.len());
    found
}

/// The same of these folders as text, each value as `…`.
pub fn sentences(folders: &[&str]) -> Vec<String> {
    let text = |string: &String| literal(string).into_iter().map(|c| c.unwrap_or('…')).collect::<String>();
    written(folders).iter().filter(|string| string.contains(' ')).map(text).collect()
}

/// What stands between quotes in the source of these folders, tests aside.
fn written(folders: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    for folder in folders {
        pages::collect(&workspace().join(folder), "rs", &mut files);
    }
    // Of the path within the repository: a checkout may be in a folder of any name.
    let within = |path: &PathBuf| path.strip_prefix(workspace()).map_or_else(|_| path.clone(), Path::to_path_buf);
    let is_test =
        |path: &PathBuf| within(path).iter().any(|part| part == "tests" || part == "tests.rs" || part == "sim");
    let mut found = Vec::new();
    for file in files.iter().filter(|path| !is_test(path)) {
        let text = fs::read_to_string(file).expect("a source file");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        found.extend(strings(code));
    }
    found
}

/// What stands between quotes, as it is written; comments and characters are none.
fn strings(code: &str) -> Vec<String> {
    let mut strings = Vec::new();
    for line in joined(code) {
        let mut rest = line.as_str();
        while let Some((before, after)) = rest.split_once('"') {
            if before.contains("//") {
                break;
            }
            let mut end = 0;
            let bytes = after.as_bytes();
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            if before.ends_with('\'') {
                rest = after;
                continue;
            }
            strings.push(after.get(..end).unwrap_or_default().to_owned());
            rest = after.get(end + 1..).unwrap_or_default();
        }
    }
    strings
}

/// Lines, with those that end in `\` joined to the next.
fn joined(code: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in code.lines() {
        let continued = line.ends_with('\\');
        let line = line.strip_suffix('\\').unwrap_or(line);
        match lines.last_mut() {
            Some(last) if open => *last += line.trim_start(),
            _ => lines.push(line.to_owned()),
        }
        open = continued;
    }
    lines
}

/// Escapes as characters, `{…}` as a value.
fn literal(written: &str) -> Literal {
    let mut literal = Vec::new();
    let mut chars = written.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some('n') => literal.push(Some(' ')),
                Some(other) => literal.push(Some(other)),
                None => {}
            },
            '{' if chars.next_if_eq(&'{').is_some() => literal.push(Some('{')),
            '}' if chars.next_if_eq(&'}').is_some() => literal.push(Some('}')),
            '{' => {
                while chars.next().is_some_and(|c| c != '}') {}
                literal.push(None);
            }
            other => literal.push(Some(other)),
        }
    }
    literal
}
