//! Values that their author cannot have meant: an example that was pasted as it is, a comment or quotes that became
//! part of the value, a variable that nothing expands. Each function returns what is wrong and what to do, or None.

/// In a name that an application chooses, such as a queue's: only what nobody would choose.
pub fn in_name(text: &str) -> Option<String> {
    let small = text.to_lowercase();
    let spelt = ["replace_me", "replace-me", "replaceme", "change_me", "change-me", "changeme"];
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_example = text.contains('…')
        || text.ends_with("...")
        || spelt.iter().any(|it| small.contains(it))
        || words.any(|word| matches!(word, "REPLACE" | "TODO" | "FIXME" | "PLACEHOLDER" | "TBD"));
    if is_example {
        return Some("is an example's placeholder: write the value itself".to_owned());
    }
    if text.contains("${") {
        return Some("has a ${…}, which is not expanded here: write the value itself".to_owned());
    }
    None
}

/// In an id, a secret or an address: also the stand-ins of documentation, such as `lt-xxxxxxxx`, `<token>` or
/// `your-token`.
pub fn in_value(text: &str) -> Option<String> {
    if let Some(problem) = in_name(text) {
        return Some(problem);
    }
    let small = text.to_lowercase();
    let mut words = small.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let is_stand_in =
        words.clone().next() == Some("your") || words.any(|word| word.len() >= 3 && word.bytes().all(|b| b == b'x'));
    let in_angles =
        text.split_once('<').is_some_and(|(_, rest)| rest.split_once('>').is_some_and(|(in_it, _)| !in_it.is_empty()));
    if is_stand_in || in_angles {
        return Some("is an example's placeholder: write the value itself".to_owned());
    }
    None
}

/// In the value of a variable: a comment behind it, or quotes around it. systemd's `EnvironmentFile` and Docker's
/// `--env-file` keep both as parts of the value.
pub fn in_variable(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let is_comment = |at: usize| {
        let space = |index: Option<usize>| index.and_then(|it| bytes.get(it)).is_some_and(u8::is_ascii_whitespace);
        bytes[at] == b'#' && (space(at.checked_sub(1)) || space(Some(at + 1)))
    };
    if (0..bytes.len()).any(is_comment) {
        return Some(
            "has a comment behind it, which is part of the value here: put the comment on a line of its own".to_owned(),
        );
    }
    let quoted = |quote: char| text.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
    if quoted('"') || quoted('\'') {
        return Some("has quotes around it, which are part of the value here: remove them".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_told_from_values() {
        for text in ["lt-…", "lt-...", "REPLACE_ME", "replace-me", "sg-REPLACE", "redis://:CHANGEME@h", "TODO"] {
            assert!(in_name(text).is_some() && in_value(text).is_some(), "{text}");
        }
        for text in ["lt-xxxxxxxxxxxxxxxxx", "<launch template>", "redis://<host>:6379", "your-token-here", "XXX"] {
            assert!(in_name(text).is_none() && in_value(text).is_some(), "{text}");
        }
        assert!(in_value("redis://:${REDIS_PASSWORD}@h").is_some_and(|it| it.contains("not expanded")));
        for text in [
            "lt-0123456789abcdef0",
            "video-processing",
            "replace-images",
            "todo-list",
            "redis://:p%40ss$word@10.0.0.5:6379/0",
            "3f786850e387550fdab836ed7e6dc881de23001b",
            "matrix",
        ] {
            assert_eq!(in_value(text), None, "{text}");
        }
        assert_eq!(in_name("your-orders"), None);
    }

    #[test]
    fn a_comment_or_quotes_in_a_variable_are_found() {
        for text in ["lt-1   # from step 2", "2\t# at most", "lt-1# from step 2", "lt-1 #"] {
            assert!(in_variable(text).is_some_and(|it| it.contains("comment")), "{text}");
        }
        for text in ["\"lt-1\"", "'5'"] {
            assert!(in_variable(text).is_some_and(|it| it.contains("quotes")), "{text}");
        }
        for text in ["pass#word", "#abc", "a \"b\" c", "", "\""] {
            assert_eq!(in_variable(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[a-zA-Z#\"'<>${}… .x_-]{0,20}") {
            let _ = (in_value(&text), in_variable(&text));
        }
    }
}
