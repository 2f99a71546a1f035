//! The commands of a block of shell, one by one: enough of the language for what pages show. Owns the splitting;
//! whether a block is shell at all is bash's to say.

use spillway_tests::process::{command, output, text};

use super::pages::Block;

/// One command, without its comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// In the page.
    pub number: usize,
    /// As bash would run it: continued lines and a here-document included.
    pub text: String,
}

/// A block's commands in their order; `$ ` in front of each where the block shows output too.
pub fn lines(block: &Block) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut numbered = block.text.lines().zip(block.line..);
    while let Some((line, number)) = numbered.next() {
        let shown = match (block.language.as_str(), line.strip_prefix("$ ")) {
            ("sh", _) => line,
            (_, Some(line)) => line,
            _ => continue,
        };
        let mut text = without_comment(shown).to_owned();
        while let Some(continued) = text.strip_suffix('\\') {
            let (next, _) = numbered.next().expect("a line after \\");
            text = format!("{continued}{}", without_comment(next.trim_start()));
        }
        if let Some(end) = text.split("<<'").nth(1).and_then(|rest| rest.split('\'').next()).map(str::to_owned) {
            for (line, _) in numbered.by_ref() {
                text += &format!("\n{line}");
                if line == end {
                    break;
                }
            }
            text.push('\n');
        }
        if !text.trim().is_empty() {
            lines.push(Line { number, text: text.trim_start().to_owned() });
        }
    }
    lines
}

/// Fails where bash does not understand the block.
pub fn check_syntax(block: &Block, at: &str) {
    let out = output(command("bash").args(["-n", "-c", &block.text]));
    assert!(out.status.success(), "{at}: {}", text(&out.stderr));
}

/// The simple commands of a line: between `&&`, `;` and `|`, and behind `for … do`, without assignments in front.
pub fn simple_commands(line: &str) -> Vec<String> {
    let first = line.lines().next().unwrap_or_default();
    let mut commands = vec![String::new()];
    let mut quote = None;
    for c in first.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        if quote.is_none() && matches!(c, '&' | ';' | '|') {
            commands.push(String::new());
        } else if let Some(last) = commands.last_mut() {
            last.push(c);
        }
    }
    let plain = |command: &String| {
        let command = command.trim();
        let command = command.strip_prefix("do ").unwrap_or(command);
        let is_structure = ["do", "done"].contains(&command) || command.starts_with("for ");
        let rest = without_assignments(command);
        (!is_structure && !rest.is_empty()).then(|| rest.to_owned())
    };
    commands.iter().filter_map(plain).collect()
}

/// The words of a simple command, without quotes.
pub fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// `NAME=value` in front of a command is not the command.
fn without_assignments(command: &str) -> &str {
    let Some((first, rest)) = command.split_once(' ') else {
        return if is_assignment(command) { "" } else { command };
    };
    if first.contains('"') && is_assignment(first) {
        return command.splitn(3, '"').nth(2).unwrap_or_default().trim_start();
    }
    if is_assignment(first) { without_assignments(rest.trim_start()) } else { command }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// A `#` behind a space, or at the start, begins a comment.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before == ' ' => return line[..at].trim_end(),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    line.trim_end()
}

#[test]
fn a_block_falls_into_its_commands() {
    let text = "A=1 cargo test \\\n  --workspace   # all\n\nfor port in 1 2; do\n  aws x --port $port\ndone\n\
                cat >a <<'END'\n{ # }\nEND\nx=\"a b\"\necho 'a # b' && true\n";
    let block = Block { language: "sh".to_owned(), line: 10, text: text.to_owned() };
    let lines = lines(&block);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "A=1 cargo test --workspace",
            "for port in 1 2; do",
            "aws x --port $port",
            "done",
            "cat >a <<'END'\n{ # }\nEND\n",
            "x=\"a b\"",
            "echo 'a # b' && true"
        ]
    );
    assert_eq!(lines[1].number, 13);
    assert_eq!(simple_commands(&lines[0].text), ["cargo test --workspace"]);
    assert_eq!(simple_commands(&lines[5].text), Vec::<String>::new());
    assert_eq!(simple_commands(&lines[6].text), ["echo 'a # b'", "true"]);
    assert_eq!(words("echo 'a # b' c"), ["echo", "a # b", "c"]);
}
