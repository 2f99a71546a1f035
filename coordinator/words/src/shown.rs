//! Texts of others, made fit to be kept and shown: cut, without control characters, without credentials. What they say
//! reaches a terminal, a log and a web page, and whoever wrote them may have meant one of these.

/// Names whose value is a secret, wherever they are assigned or asked for: `GITHUB_TOKEN=…`, `?access_token=…`.
const SECRETS: [&str; 8] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "APIKEY", "API_KEY", "ACCESS_KEY", "CREDENTIAL"];

const LONGEST_ADDRESS: usize = 1024;

/// The beginning of a text, at most `most` bytes of it, and `…` where it goes on.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

/// The end of a text, at most `most` bytes of it, and `…` where it began before.
pub fn cut_to_end(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("…{}", &text[text.ceil_char_boundary(text.len() - most)..])
}

/// Control characters as pictures of themselves (`␛`): a terminal shows them and obeys none. Line feeds and tabs stay.
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { picture(c) }).collect()
}

/// The same for what is one line: it begins no other.
pub fn visible_line(text: &str) -> String {
    text.chars().map(picture).collect()
}

fn picture(c: char) -> char {
    match u32::from(c) {
        code @ 0..0x20 => char::from_u32(0x2400 + code).unwrap_or('\u{fffd}'),
        0x7f => '\u{2421}',
        // Further controls; and marks that turn the direction of writing, so that a line reads as another.
        0x80..0xa0 | 0x61c | 0x200e..=0x200f | 0x2028..=0x202e | 0x2066..=0x2069 => '\u{fffd}',
        _ => c,
    }
}

/// Without credentials: user and password of a URL, and the values of names such as `GITHUB_TOKEN=`, become `***`.
pub fn masked(text: &str) -> String {
    assignments_masked(&urls_masked(text))
}

fn urls_masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        masked.push_str(before);
        // No longer than an address is: a text of colons and slashes alone must not take for ever.
        let word = &after[..after.floor_char_boundary(LONGEST_ADDRESS)];
        let word = &word[..word.find(is_end_of_word).unwrap_or(word.len())];
        match user_info(before, word) {
            Some(length) => {
                masked.push_str("***");
                rest = &after[length..];
            }
            None => rest = after,
        }
    }
    masked + rest
}

fn is_end_of_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '|' | ';' | ')')
}

/// How long the user information is that a URL's rest begins with; None where there is none, or it is no secret.
fn user_info(before: &str, word: &str) -> Option<usize> {
    let authority = word.find(['/', '?', '#']).map_or(word, |end| &word[..end]);
    if let Some(at) = authority.rfind('@') {
        // Git over SSH has a user that everybody knows, and no password.
        let is_user_alone = !authority[..at].contains(':');
        return (!(is_user_alone && before.ends_with("ssh://"))).then_some(at);
    }
    // A password with a slash in it, which should be written %2F. A port is a number.
    let (_, password) = authority.split_once(':')?;
    let is_port = password.bytes().all(|byte| byte.is_ascii_digit());
    word.rfind('@').filter(|_| !is_port)
}

fn assignments_masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        masked.push_str(before);
        rest = after;
        let name = before[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-')).next();
        let name = name.unwrap_or_default().to_ascii_uppercase().replace('-', "_");
        if !SECRETS.iter().any(|secret| name.contains(secret)) {
            continue;
        }
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
        let length = match quote {
            Some(quote) => after[1..].find(quote).map_or(after.len(), |end| end + 2),
            None => after.find(|c| is_end_of_word(c) || c == '&').unwrap_or(after.len()),
        };
        // A variable is no secret, its value is.
        let value = &after[..length];
        if !value.is_empty() && !value.trim_start_matches(['"', '\'']).starts_with('$') {
            masked.push_str("***");
            rest = &after[length..];
        }
    }
    masked + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        for (text, shown) in [
            ("git clone https://user:TOKEN@github.com/a/b", "git clone https://***@github.com/a/b"),
            ("git clone https://ghp_abc@github.com/a/b.git x", "git clone https://***@github.com/a/b.git x"),
            (
                "fatal: unable to access 'https://u:p@h:8443/r/': no",
                "fatal: unable to access 'https://***@h:8443/r/': no",
            ),
            ("redis://:s3same@10.0.0.5:6379/0 and http://a:b@c", "redis://***@10.0.0.5:6379/0 and http://***@c"),
            ("https://user:pa/ss@host/x", "https://***@host/x"),
            ("ssh://git@github.com/a", "ssh://git@github.com/a"),
            ("ssh://git:pw@github.com/a", "ssh://***@github.com/a"),
            ("https://registry.npmjs.org/@scope/name", "https://registry.npmjs.org/@scope/name"),
            ("http://localhost:8080/@vite/client", "http://localhost:8080/@vite/client"),
            ("git@github.com:a/b.git", "git@github.com:a/b.git"),
            ("GITHUB_TOKEN=ghp_1 npm ci", "GITHUB_TOKEN=*** npm ci"),
            ("DB_PASSWORD=\"a b\" x", "DB_PASSWORD=*** x"),
            ("curl https://h/f?access_token=1&b=2", "curl https://h/f?access_token=***&b=2"),
            ("--auth-token=abc --n=2", "--auth-token=*** --n=2"),
            ("TOKEN=$TOKEN npm ci", "TOKEN=$TOKEN npm ci"),
            ("A=1 B=2 ://", "A=1 B=2 ://"),
        ] {
            assert_eq!(masked(text), shown, "{text}");
            assert_eq!(masked(shown), shown, "once more");
        }
    }

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(visible("a\x1b[31mred\x07\r\nb\tc\x7f\u{9b}2J"), "a␛[31mred␇␍\nb\tc␡\u{fffd}2J");
        assert_eq!(visible_line("one\ntwo"), "one␊two");
        assert_eq!(visible_line("safe\u{202e}exe\u{61c}"), "safe\u{fffd}exe\u{fffd}");
        assert_eq!(visible("größer …"), "größer …");
    }

    #[test]
    fn a_text_is_cut_between_its_characters() {
        assert_eq!((cut("größer", 3).as_str(), cut("größer", 4).as_str()), ("gr…", "grö…"));
        assert_eq!((cut("abc", 3).as_str(), cut_to_end("größer", 4).as_str()), ("abc", "…ßer"));
        assert_eq!(cut_to_end("abc", 3), "abc");
    }

    proptest::proptest! {
        #[test]
        fn never_panics_and_keeps_no_control(text in "[a-c:/@=\"' \x1b\nTOKEN=é]{0,40}", most in 0..20_usize) {
            let _ = masked(&text);
            let cut = cut(&text, most);
            proptest::prop_assert!(cut.len() <= most + "…".len());
            proptest::prop_assert!(!visible_line(&cut).contains(char::is_control));
        }
    }
}
