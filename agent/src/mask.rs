//! Text of other programs made fit to be shown: without secrets, and without control characters that a terminal would
//! obey. Owns what counts as a secret; never decides where text is shown.

use std::collections::BTreeMap;

use crate::secret::Secret;

/// What replaces a secret.
const MASK: &str = "***";
/// A shorter value is no secret, and would be found in every other word.
const MIN_SECRET: usize = 6;
/// Parts of the names of variables that hold secrets.
const SECRET_NAMES: [&str; 14] = [
    "PASS", "PWD", "SECRET", "TOKEN", "KEY", "CRED", "AUTH", "DSN", "PRIVATE", "COOKIE", "SALT", "SIGN", "CERT",
    "WEBHOOK",
];

/// The secrets of this instance.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    secrets: Vec<Secret>,
}

impl Mask {
    /// Of these variables: those whose names say that they are secret, and the passwords of URLs.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let mut found = BTreeMap::new();
        for (name, value) in variables {
            let name = name.to_ascii_uppercase();
            if SECRET_NAMES.iter().any(|part| name.contains(part)) {
                // Of a value over several lines, such as a key, each line.
                for line in value.lines().map(str::trim).chain([value.as_str()]) {
                    found.insert(line.to_owned(), ());
                }
            }
            if let Some(account) = account(value) {
                found.insert(account.split_once(':').map_or(account, |(_, password)| password).to_owned(), ());
            }
        }
        let mut secrets: Vec<String> = found.into_keys().filter(|secret| secret.len() >= MIN_SECRET).collect();
        // One that holds another goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets: secrets.into_iter().map(Secret::new).collect() }
    }

    /// The text without them, nor what has the shape of one.
    pub fn mask(&self, text: &str) -> String {
        let mut text = plain(text);
        for secret in &self.secrets {
            text = text.replace(secret.expose(), MASK);
        }
        text.split_inclusive(char::is_whitespace).map(masked_word).collect()
    }
}

/// `user:password` of a URL.
fn account(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#', ' ', '"', '\'']).unwrap_or(rest.len())];
    authority.rsplit_once('@').map(|(account, _)| account).filter(|account| !account.is_empty())
}

/// One word with the blank after it.
fn masked_word(word: &str) -> String {
    let mut word = word.to_owned();
    if let Some(account) = account(&word).map(str::to_owned) {
        word = word.replacen(&format!("{account}@"), &format!("{MASK}@"), 1);
    }
    let core = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_aws_key = core.len() == 20 && ["AKIA", "ASIA"].iter().any(|start| core.starts_with(start));
    let starts = ["ghp_", "gho_", "ghs_", "github_pat_", "xoxb-", "xoxp-", "sk_live_", "eyJ"];
    let is_token = core.len() >= 20 && starts.iter().any(|start| core.starts_with(start));
    if is_aws_key || is_token {
        let core = core.to_owned();
        return word.replace(&core, MASK);
    }
    // password=…, token: "…"
    if let Some(at) = word.find(['=', ':']).filter(|at| is_secret_name(&word[..*at])) {
        let (name, value) = word.split_at(at + 1);
        let (value, blank) = value.split_at(value.trim_end().len());
        if !value.is_empty() && !value.starts_with("//") {
            return format!("{name}{MASK}{blank}");
        }
    }
    word
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "APIKEY", "API_KEY", "ACCESS_KEY"].iter().any(|part| name.ends_with(part))
}

/// Lines of letters: colours and other sequences for a terminal are left out, other control characters are shown.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => out.push('\n'),
            '\t' => out.push(' '),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\u{1b}' => skip_sequence(&mut chars),
            c if c.is_control() || is_format(c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Characters that are not seen and change how the others are: directions of writing, and no width.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What follows an escape: `[…m` and its like, or an operating system command up to its end.
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(c) = chars.next() {
                if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                    return;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(variables: &[(&str, &str)], text: &str) -> String {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Mask::of(variables.iter().map(|(name, value)| (name, value))).mask(text)
    }

    #[test]
    fn secrets_of_the_environment_are_masked_wherever_they_stand() {
        let variables = [
            ("DB_PASSWORD", "sesame1"),
            ("REDIS_URL", "redis://:swordfish@h:6379"),
            ("PRIVATE_KEY", "-----BEGIN KEY-----\nMIIEowIBAAKC\n-----END KEY-----"),
            ("STAGE", "production"),
            ("API_TOKEN", "abc"),
        ];
        for (text, expect) in [
            ("login with sesame1 failed", "login with *** failed"),
            ("{\"pass\":\"sesame1\"}", "{\"pass\":\"***\"}"),
            ("connect redis://:swordfish@h:6379 failed", "connect redis://***@h:6379 failed"),
            ("key MIIEowIBAAKC", "key ***"),
            ("in production, abc", "in production, abc"),
        ] {
            assert_eq!(mask(&variables, text), expect);
        }
    }

    #[test]
    fn what_has_the_shape_of_a_secret_is_masked() {
        for (text, expect) in [
            ("git clone https://me:tok@github.com/a/b", "git clone https://***@github.com/a/b"),
            ("mongodb://u:p/w@h", "mongodb://u:p/w@h"),
            ("key AKIAIOSFODNN7EXAMPLE.", "key ***."),
            ("password=hunter22 x", "password=*** x"),
            ("token: abc", "token: abc"),
            ("SECRET_TOKEN:abc\n", "SECRET_TOKEN:***\n"),
            ("bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIi", "bearer ***"),
            ("at file:///app/worker.js:7:3", "at file:///app/worker.js:7:3"),
        ] {
            assert_eq!(mask(&[], text), expect);
        }
    }

    #[test]
    fn nothing_in_it_is_obeyed_by_a_terminal() {
        assert_eq!(plain("\u{1b}[31merror\u{1b}[0m: a\tb\r\nc"), "error: a b\nc");
        assert_eq!(plain("\u{1b}]0;title\u{7}x\u{1b}]8;;http://e\u{1b}\\y"), "xy");
        assert_eq!(plain("a\u{0}b\u{8}\u{9b}2J\u{202e}c\r"), "a\u{fffd}b\u{fffd}\u{fffd}2J\u{fffd}c\u{fffd}");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_masked_and_harmless(text in "[\\PC\u{0}-\u{1f}\u{7f}-\u{9f}:/@=]{0,80}") {
            let masked = mask(&[("A_TOKEN", "sesame1")], &format!("{text}sesame1"));
            proptest::prop_assert!(!masked.chars().any(|c| c.is_control() && c != '\n'));
            proptest::prop_assert!(!masked.contains("sesame1") );
        }
    }
}
