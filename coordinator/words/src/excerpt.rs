//! The end of a log, where all of it would be too much: what a person needs who sees something fail.

use core::fmt::Write as _;

/// Lines that are shown of one part.
pub const LINES: usize = 50;
/// Characters that are shown of a line.
pub const WIDTH: usize = 400;

/// The last [`LINES`] lines of `text` below a line with the name of the part, and how many there were before.
pub fn end(part: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let earlier = lines.len().saturating_sub(LINES);
    let mut excerpt = format!("--- {part}\n");
    if earlier > 0 {
        // Writing to a string does not fail.
        let _ = writeln!(excerpt, "… {earlier} earlier {}", noun(earlier));
    }
    lines[earlier..].iter().for_each(|shown| line(&mut excerpt, shown));
    excerpt
}

/// The first [`LINES`] lines, of what has the newest first, and how many there are more.
pub fn beginning(part: &str, text: &str) -> String {
    let mut excerpt = format!("--- {part}\n");
    let mut lines = text.lines();
    lines.by_ref().take(LINES).for_each(|shown| line(&mut excerpt, shown));
    let more = lines.count();
    if more > 0 {
        let _ = writeln!(excerpt, "… {more} more {}", noun(more));
    }
    excerpt
}

fn line(excerpt: &mut String, shown: &str) {
    let cut = shown.char_indices().nth(WIDTH).map(|(at, _)| at);
    let _ = match cut {
        None => writeln!(excerpt, "{shown}"),
        Some(at) => writeln!(excerpt, "{} … {} more characters", &shown[..at], shown[at..].chars().count()),
    };
}

fn noun(lines: usize) -> &'static str {
    if lines == 1 { "line" } else { "lines" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(lines: usize) -> String {
        (1..=lines).map(|number| format!("line {number}\n")).collect()
    }

    #[test]
    fn what_fits_is_shown_whole() {
        assert_eq!(end("agent", ""), "--- agent\n");
        assert_eq!(end("agent", "one\ntwo"), "--- agent\none\ntwo\n");
        assert_eq!(end("agent", &numbered(LINES)), format!("--- agent\n{}", numbered(LINES)));
        assert_eq!(beginning("plans", &numbered(LINES)), format!("--- plans\n{}", numbered(LINES)));
    }

    #[test]
    fn of_a_long_log_the_end_is_shown_and_the_rest_is_counted() {
        let excerpt = end("coordinator", &numbered(5050));
        assert!(excerpt.starts_with("--- coordinator\n… 5000 earlier lines\nline 5001\n"), "{excerpt}");
        assert!(excerpt.ends_with("\nline 5050\n"), "{excerpt}");
        assert_eq!(excerpt.lines().count(), 2 + LINES);
        assert!(end("coordinator", &numbered(LINES + 1)).contains("\n… 1 earlier line\nline 2\n"));
    }

    #[test]
    fn of_what_has_the_newest_first_the_beginning_is_shown() {
        let excerpt = beginning("plans", &numbered(80));
        assert!(excerpt.starts_with("--- plans\nline 1\n"), "{excerpt}");
        assert!(excerpt.ends_with("line 50\n… 30 more lines\n"), "{excerpt}");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let excerpt = end("agent", &format!("{}\n{}\n", "ä".repeat(WIDTH + 100_000), "b".repeat(WIDTH)));
        let expected = format!("--- agent\n{} … 100000 more characters\n{}\n", "ä".repeat(WIDTH), "b".repeat(WIDTH));
        assert_eq!(excerpt, expected);
    }
}
