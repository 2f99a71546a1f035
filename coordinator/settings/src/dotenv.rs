//! The application's environment file, as bun reads that very file (a test compares the two). Owns the parsing; never
//! sets a variable. No line is refused: bun skips what it does not understand, and what matters of the result is looked
//! at where it is used.

use std::collections::BTreeMap;
use std::ops::Range;

/// What may stand around names and values.
const BLANKS: [u8; 6] = [b'\t', 0x0B, 0x0C, b' ', b'\n', b'\r'];

/// Reads `NAME=value` and `NAME: value`: `export`, comments, single, double and back quotes, which may go over several
/// lines; then expands `$NAME`, `${NAME}` and `${NAME:-default}` by the file's own variables and those of
/// `environment`.
pub fn parse(text: &[u8], environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut order: Vec<Vec<u8>> = Vec::new();
    let mut found: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for Assignment { name, value, .. } in assignments(text) {
        if found.insert(name.clone(), value).is_none() {
            order.push(name);
        }
    }
    // In the order of their first lines: a value sees the expanded ones before it, and those after it as they are
    // written.
    for name in order {
        if environment.contains_key(&*String::from_utf8_lossy(&name)) {
            continue;
        }
        let lookup = |name: &[u8]| {
            let ours = || found.get(name).cloned();
            let outer = environment.get(&*String::from_utf8_lossy(name)).map(|value| value.clone().into_bytes());
            outer.or_else(ours)
        };
        let value = found.get(&name).map(|value| expanded(value, &lookup));
        found.extend(value.map(|value| (name, value)));
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    found.into_iter().map(|(name, value)| (text(name), text(value))).collect()
}

/// One assignment as it is written: nothing is expanded yet, and a later one may have the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Of its name, from 1.
    pub line: usize,
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    /// Where all of it stands in the text: its lines, with what precedes and follows it on them.
    pub span: Range<usize>,
}

impl Assignment {
    /// The variables that its value refers to.
    pub fn references(&self) -> Vec<&[u8]> {
        let at = |at: usize| self.value[at] == b'$' && (at == 0 || self.value[at - 1] != b'\\');
        let names = (0..self.value.len()).filter(|it| at(*it)).map(|at| {
            let rest = &self.value[at + 1..];
            let rest = rest.strip_prefix(b"{").unwrap_or(rest);
            &rest[..name_length(rest)]
        });
        names.filter(|name| !name.is_empty()).collect()
    }
}

/// All of them, in the order of the file.
pub fn assignments(text: &[u8]) -> Vec<Assignment> {
    let whole = text;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mark = whole.len() - text.len();
    let mut parser = Parser { text, at: 0 };
    let mut found = Vec::new();
    // The name's own line: blank lines before it are skipped with it.
    let (mut line, mut counted) = (1, 0);
    while parser.at < text.len() {
        match parser.name(true) {
            None => parser.skip_line(),
            Some(name) => {
                let start = name.as_ptr().addr() - text.as_ptr().addr();
                line += text[counted..start].iter().filter(|byte| **byte == b'\n').count();
                counted = start;
                let value = parser.value();
                let span = lines(text, start, parser.at);
                let span = span.start + mark..span.end + mark;
                found.push(Assignment { line, name: name.to_vec(), value, span });
            }
        }
    }
    found
}

/// From the start of the line of `start` to the end of that of `end`, which may be the start of the next one.
fn lines(text: &[u8], start: usize, end: usize) -> Range<usize> {
    let is_end = |byte: &u8| b"\r\n".contains(byte);
    let first = text[..start].iter().rposition(is_end).map_or(0, |at| at + 1);
    let last = match end > first && text[..end].last().is_some_and(is_end) {
        true => end,
        false => text[end..].iter().position(is_end).map_or(text.len(), |at| end + at + 1),
    };
    // Both characters of the end of a line are one.
    let is_split = text[..last].ends_with(b"\r") && text.get(last) == Some(&b'\n');
    first..last + usize::from(is_split)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Parser<'a> {
    fn skip_line(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.iter().position(|byte| b"\r\n".contains(byte)).map_or(rest.len(), |end| end + 1);
    }

    fn skip_blanks(&mut self) {
        while self.text.get(self.at).is_some_and(|byte| BLANKS.contains(byte)) {
            self.at += 1;
        }
    }

    /// A name and the `=` or `: ` after it; else nothing is read.
    fn name(&mut self, may_export: bool) -> Option<&'a [u8]> {
        if may_export {
            self.skip_blanks();
        }
        let start = self.at;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
        let end = start + self.text[start..].iter().take_while(|byte| is_name(byte)).count();
        if end > start && end < self.text.len() {
            self.at = end;
            self.skip_blanks();
            if may_export
                && self.at > end
                && &self.text[start..end] == b"export"
                && let Some(name) = self.name(false)
            {
                return Some(name);
            }
            match self.text.get(self.at) {
                Some(b'=') => {
                    self.at += 1;
                    return Some(&self.text[start..end]);
                }
                Some(b':') if self.text.get(self.at + 1).is_some_and(|next| BLANKS.contains(next)) => {
                    self.at += 2;
                    return Some(&self.text[start..end]);
                }
                _ => {}
            }
        }
        self.at = start;
        None
    }

    fn value(&mut self) -> Vec<u8> {
        let start = self.at;
        self.skip_blanks();
        match self.text.get(self.at) {
            None => return Vec::new(),
            Some(quote @ (b'"' | b'\'' | b'`')) => {
                if let Some(value) = self.quoted(*quote) {
                    return value;
                }
            }
            Some(_) => {}
        }
        let end = start + self.text[start..].iter().take_while(|byte| !b"#\r\n".contains(byte)).count();
        self.at = end;
        trimmed(&self.text[start..end]).to_vec()
    }

    /// A quoted value ends at its closing quote; what follows on that line is left out.
    fn quoted(&mut self, quote: u8) -> Option<Vec<u8>> {
        let start = self.at;
        let mut end = start + 1;
        while end < self.text.len() {
            match self.text[end] {
                b'\\' => end += 1,
                byte if byte == quote => {
                    self.at = end + 1;
                    self.skip_line();
                    return Some(unescaped(&self.text[start + 1..end], quote == b'"'));
                }
                _ => {}
            }
            end += 1;
        }
        self.at = start;
        None
    }
}

/// In double quotes `\n` and `\r` are what they say; any other backslash stays. Every end of a line becomes `\n`.
fn unescaped(text: &[u8], is_double: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], text.get(at + 1)) {
            (b'\\', Some(next)) if is_double => {
                match next {
                    b'n' => out.push(b'\n'),
                    b'r' => out.push(b'\r'),
                    _ => out.extend([b'\\', *next]),
                }
                at += 2;
            }
            (b'\r', next) => {
                if next != Some(&b'\n') {
                    out.push(b'\n');
                }
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// The value with its variables.
fn expanded(value: &[u8], lookup: &impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while at < value.len() {
        let rest = &value[at..];
        match rest {
            [b'\\', b'$', ..] => {
                out.push(b'$');
                at += 2;
            }
            [b'$', b'{', inner @ ..] => match closing(inner) {
                // One that is never closed leaves the rest as it is.
                None => {
                    out.extend_from_slice(rest);
                    return out;
                }
                Some(end) => {
                    let known = braced(&inner[..end], lookup);
                    out.extend(known.unwrap_or_else(|| rest[..end + 3].to_vec()));
                    at += end + 3;
                }
            },
            [b'$', after @ ..] if name_length(after) > 0 => {
                let length = name_length(after);
                out.extend(lookup(&after[..length]).unwrap_or_default());
                at += 1 + length;
            }
            [byte, ..] => {
                out.push(*byte);
                at += 1;
            }
            [] => break,
        }
    }
    out
}

/// What stands between `${` and `}`: a name, or a name and its default; `None` for anything else.
fn braced(inner: &[u8], lookup: &impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (name, rest) = inner.split_at(name_length(inner));
    match rest {
        [] => Some(lookup(name).unwrap_or_default()),
        [b':', b'-', default @ ..] => Some(lookup(name).unwrap_or_else(|| expanded(default, lookup))),
        _ => None,
    }
}

/// Where the brace that was opened before it is closed: those of variables within are skipped.
fn closing(inner: &[u8]) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while at < inner.len() {
        match &inner[at..] {
            [b'\\', ..] => at += 1,
            [b'$', b'{', ..] => {
                depth += 1;
                at += 1;
            }
            [b'}', ..] if depth == 0 => return Some(at),
            [b'}', ..] => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

fn name_length(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count()
}

fn trimmed(text: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !BLANKS.contains(byte);
    let start = text.iter().position(is_text).unwrap_or(text.len());
    let end = text.iter().rposition(is_text).map_or(start, |end| end + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests;
