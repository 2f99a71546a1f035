//! Comments are read in an editor of 120 columns, which rustfmt does not hold them to.

use std::fs;

use spillway_tests::binaries::workspace;

use super::pages;

/// Characters of a comment's line, with what it is indented by.
const WIDEST: usize = 120;

#[test]
fn no_line_of_a_comment_is_wider_than_an_editor() {
    let mut files = Vec::new();
    pages::collect(workspace(), "rs", &mut files);
    files.sort();
    let (mut count, mut wide) = (0, Vec::new());
    for file in &files {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let path = file.strip_prefix(workspace()).unwrap_or(file).display();
        let lines = comments(&text);
        count += lines.len();
        wide.extend(lines.iter().filter(|(_, line)| is_wide(line)).map(|(number, _)| format!("{path}:{number}")));
    }
    assert!(count > 2000, "only {count} lines of comments were found");
    assert!(wide.is_empty(), "{} lines of comments are wider than {WIDEST}:\n{}", wide.len(), wide.join("\n"));
}

#[test]
fn pictures_tables_and_code_may_be_wider() {
    let long = "long ".repeat(30);
    let wide = |text: &str| comments(text).iter().filter(|(_, line)| is_wide(line)).count();
    for within in ["│", "┌", "```\n/// ", "| a | ", "let x = 1; "] {
        let line = if within.starts_with("let") { format!("{within}{long}") } else { format!("/// {within}{long}") };
        assert_eq!(wide(&line), 0, "{line}");
    }
    for not in ["// ", "/// ", "    //! ", "/// ```\n/// code\n/// ```\n/// ", "/// ```\nfn f() {}\n// "] {
        assert_eq!(wide(&format!("{not}{long}")), 1, "{not}");
    }
    let fits = format!("// {}", "…".repeat(WIDEST - 3));
    assert_eq!((wide(&fits), wide(&format!("{fits}…"))), (0, 1), "characters, and no bytes");
}

/// The lines that are comments and nothing else, each with its number, but for code in fences.
fn comments(text: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let mut comments = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let Some(words) = line.trim_start().strip_prefix("//") else {
            in_code = false;
            continue;
        };
        if words.trim_start_matches(['/', '!', ' ']).starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            comments.push((number, line));
        }
    }
    comments
}

/// It could be wrapped: it is no part of a picture, and no row of a table.
fn is_wide(line: &str) -> bool {
    let is_picture = line.chars().any(|c| ('\u{2500}'..='\u{257f}').contains(&c));
    let is_row = line.trim_start_matches(['/', '!', ' ']).starts_with('|');
    line.chars().count() > WIDEST && !is_picture && !is_row
}
