//! A file of `NAME=value` lines as systemd's `EnvironmentFile=` reads it (systemd.exec(5)): a comment is a line of its
//! own, so a `#` behind a value belongs to the value; quotes around a value are taken off; a backslash at the end joins
//! two lines.

/// One variable of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Where its name stands, from 1.
    pub line: usize,
    pub name: String,
    pub value: String,
}

/// All assignments, in the order of the file: a later one of the same name wins.
///
/// # Errors
/// The line of the first text that is not `NAME=value`, which systemd would ignore. The text is not repeated: it may
/// hold a secret.
pub fn parse(text: &str) -> Result<Vec<Assignment>, usize> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut found = Vec::new();
    loop {
        reader.skip(|c| c.is_whitespace());
        let line = reader.line;
        match reader.peek() {
            None => return Ok(found),
            Some('#' | ';') => {
                reader.logical_line();
            }
            Some(_) => {
                let name = reader.take(|c| c != '=' && c != '\n').trim_end().to_owned();
                if reader.peek() != Some('=') || !is_name(&name) {
                    return Err(line);
                }
                reader.next();
                found.push(Assignment { line, name, value: reader.value() });
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn skip(&mut self, is_it: impl Fn(char) -> bool) {
        while self.peek().is_some_and(&is_it) {
            self.next();
        }
    }

    fn take(&mut self, is_it: impl Fn(char) -> bool) -> &'a str {
        let before = self.rest;
        self.skip(is_it);
        &before[..before.len() - self.rest.len()]
    }

    /// A comment, which a backslash at the end continues as well.
    fn logical_line(&mut self) {
        while let Some(next) = self.next() {
            match next {
                '\\' => {
                    self.next();
                }
                '\n' => return,
                _ => {}
            }
        }
    }

    /// From behind the `=` to the end of the line.
    fn value(&mut self) -> String {
        let mut value = String::new();
        loop {
            self.skip(|c| c.is_whitespace() && c != '\n');
            match self.peek() {
                Some('\'') => {
                    self.next();
                    value += self.take(|c| c != '\'');
                    self.next();
                }
                Some('"') => {
                    self.next();
                    self.double_quoted(&mut value);
                }
                None | Some('\n') => return value,
                Some(_) => {
                    self.unquoted(&mut value);
                    return value;
                }
            }
        }
    }

    fn double_quoted(&mut self, value: &mut String) {
        while let Some(next) = self.next() {
            match next {
                '"' => return,
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(escaped @ ('"' | '\\' | '`' | '$')) => value.push(escaped),
                    Some(other) => value.extend(['\\', other]),
                },
                other => value.push(other),
            }
        }
    }

    fn unquoted(&mut self, value: &mut String) {
        let mut kept = value.len();
        while let Some(next) = self.next() {
            match next {
                '\n' => break,
                '\\' => match self.next() {
                    Some('\n') | None => continue,
                    Some(escaped) => {
                        value.push(escaped);
                        kept = value.len();
                        continue;
                    }
                },
                other => value.push(other),
            }
            if !next.is_whitespace() {
                kept = value.len();
            }
        }
        value.truncate(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_systemd_reads_it() {
        for (text, value) in [
            ("A=1", "1"),
            ("A=1   # two\n", "1   # two"),
            ("# c\n; d\n\n A = 1 \n", "1"),
            ("A=\"a b\"", "a b"),
            ("A='a \"b'", "a \"b"),
            ("A=\"a\" # c", "a# c"),
            ("A=\"a\\\"b\\x\"", "a\"b\\x"),
            ("A=one\\\n two", "one two"),
            ("# comment \\\nA=0\nA=1", "1"),
            ("A=old\nA=new", "new"),
            ("A=", ""),
            ("A=it's", "it's"),
            ("A=1\r\n", "1"),
        ] {
            let found = parse(text).unwrap_or_else(|line| panic!("{text:?}: line {line}"));
            assert_eq!(found.last().map(|it| it.value.as_str()), Some(value), "{text:?}: {found:?}");
        }
        let found = parse("# c\nA=\"1\n2\"\nB=3").expect("two variables");
        assert_eq!(found.iter().map(|it| (it.line, it.name.as_str())).collect::<Vec<_>>(), [(2, "A"), (4, "B")]);
    }

    #[test]
    fn a_line_that_systemd_would_ignore_is_named() {
        assert_eq!(parse("A=1\nexport B=2\n"), Err(2));
        assert_eq!(parse("A=1\n\nsesame"), Err(3));
        assert_eq!(parse("1A=1"), Err(1));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[A-C=\"'#; \\\\\n\r\txé]{0,60}") {
            let _ = parse(&text);
        }
    }
}
