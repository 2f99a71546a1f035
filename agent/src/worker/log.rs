//! The end of the worker's own log, as PM2 keeps it. Owns which file is read and how much of it; reads it as the
//! worker's user, who alone decides where that file is; never shows it unmasked.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::pm2::Process;
use crate::boot::launcher::Launcher;
use crate::boot::process;
use crate::mask::Mask;

/// So much of it is kept.
pub const KEPT: usize = 2048;
/// Read beforehand: what is left out, such as colours, must not shorten it.
const READ: &str = "6144";
/// For one read.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The end of what these processes wrote since `since`, errors before the rest; empty where they wrote nothing.
pub async fn tail(launcher: &Launcher, processes: &[Process], since: SystemTime, mask: &Mask) -> String {
    let errors = processes.iter().filter_map(|process| process.error_log.as_deref());
    let output = processes.iter().filter_map(|process| process.output_log.as_deref());
    for file in errors.chain(output) {
        if !is_newer(file, since) {
            continue;
        }
        let Some(path) = file.to_str() else { continue };
        let command = launcher.program("tail", ["-c", READ, "--", path]);
        match process::output(command, TIMEOUT).await {
            Ok(text) if !text.trim().is_empty() => return last(&mask.mask(&text)),
            Ok(_) => {}
            Err(problem) => tracing::debug!(problem, file = path, "cannot read the worker's log"),
        }
    }
    String::new()
}

/// An image may hold logs of the machine that it was made from.
fn is_newer(file: &Path, since: SystemTime) -> bool {
    file.metadata().and_then(|data| data.modified()).is_ok_and(|at| at >= since)
}

/// The last [`KEPT`] bytes, from the start of a line where there is one.
fn last(text: &str) -> String {
    let text = text.trim_end();
    let Some(from) = text.len().checked_sub(KEPT) else { return text.to_owned() };
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(from);
    let tail = &text[from..];
    tail.split_once('\n').map_or(tail, |(_, rest)| rest).to_owned()
}

/// The line of a log's end that says what went wrong: the last that names an error, else the last that is no part of a
/// stack.
pub fn cause(tail: &str) -> Option<&str> {
    let lines = || tail.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let is_noise = |line: &&str| {
        !["at ", "Node.js v", "Bun v", "^", "}", "|"].iter().any(|start| line.starts_with(start))
            && line.chars().any(char::is_alphanumeric)
    };
    lines().find(|line| names_an_error(line)).or_else(|| lines().find(is_noise))
}

/// `Error: x`, `error: x`, `TypeError [ERR_X]: x`, `Uncaught Error: x`, `12:30:01 ReferenceError: x`.
fn names_an_error(line: &str) -> bool {
    let Some((before, _)) = line.split_once(": ") else { return false };
    let before = before.split_once(" [").map_or(before, |(name, _)| name);
    let last = before.rsplit(' ').next().unwrap_or(before);
    last.ends_with("Error") || last.ends_with("Exception") || last == "error" || last == "panic"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_line_that_names_the_error() {
        for (tail, expect) in [
            (
                "1 | throw new Error(\"boom\")\n          ^\nerror: boom\n      at /app/x.js:1:7\n\nBun v1.4.5 (Linux x64)",
                "error: boom",
            ),
            (
                "/x.js:1\nthrow new Error(\"boom\")\n^\n\nError: boom\n    at Object.<anonymous> (/x.js:1:7)\n\nNode.js v20.20.2",
                "Error: boom",
            ),
            ("TypeError [ERR_X]: bad\n    at a\n  code: 'ERR_X'\n}", "TypeError [ERR_X]: bad"),
            ("12:30:01 ReferenceError: x is not defined", "12:30:01 ReferenceError: x is not defined"),
            ("Error: one\nError: two\n    at b", "Error: two"),
            ("no REDIS_URL given\n", "no REDIS_URL given"),
        ] {
            assert_eq!(cause(tail), Some(expect), "{tail}");
        }
        assert_eq!(cause("\n ^ \n}\n"), None);
    }

    #[test]
    fn a_tail_begins_with_a_line() {
        assert_eq!(last("a\nb\n"), "a\nb");
        let long = format!("{}\n{}", "é".repeat(1000), "x".repeat(KEPT - 100));
        assert_eq!(last(&long), "x".repeat(KEPT - 100));
        assert_eq!(last(&"é".repeat(3000)).len(), KEPT);
    }
}
