//! The end of a worker's log, as an agent tells it: what is kept of it, and shown. Agents bound and mask it themselves;
//! this is the door that holds where one does not.

/// Bytes that are kept: the last.
const LONGEST: usize = 2048;

/// At most [`LONGEST`] bytes from its end, with control characters shown in place of sent: no terminal obeys them.
pub(super) fn harmless(text: &str) -> String {
    let from = text.len().saturating_sub(LONGEST);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(from);
    let mut shown = String::new();
    for c in text[from..].chars() {
        match c {
            '\t' => shown.push(' '),
            c if c == '\n' || c == ' ' || c.is_ascii_graphic() => shown.push(c),
            // As they are where they can be seen; those that change the direction of others cannot.
            c => shown.extend(c.escape_debug()),
        }
    }
    // Longer by now, maybe.
    let from = shown.len().saturating_sub(LONGEST);
    let from = (from..=shown.len()).find(|at| shown.is_char_boundary(*at)).unwrap_or(from);
    shown.split_off(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_sent() {
        assert_eq!(
            harmless("Error: é\n\tat a\u{1b}[31m\u{7}\u{9b}2J\u{202e}"),
            "Error: é\n at a\\u{1b}[31m\\u{7}\\u{9b}2J\\u{202e}"
        );
        assert_eq!(harmless("\"quoted\" \\ 'it'"), "\"quoted\" \\ 'it'");
    }

    #[test]
    fn the_end_is_kept_and_it_is_bounded() {
        let long = format!("{}the end", "é".repeat(100_000));
        assert!(harmless(&long).ends_with("éthe end"));
        for text in [long, "\u{1b}".repeat(5000), "x".repeat(LONGEST + 1)] {
            assert!(harmless(&text).len() <= LONGEST);
        }
    }
}
