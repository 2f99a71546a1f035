//! One finding, as it is published.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use spillway_brain::Timestamp;
use spillway_proto::{times, v1};
use spillway_words::shown;

use crate::kind::Kind;

/// Bytes of a detail: much of it is other programs' words.
const LONGEST_DETAIL: usize = 600;
/// Things of one kind that are named in a sentence.
const NAMED: usize = 5;

/// Something that a person is needed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    pub title: String,
    /// What is known of it; may be empty.
    pub detail: String,
    pub remedy: String,
    /// The text of its row in the runbook.
    row: String,
    /// When it began, or was seen first.
    pub since: Option<Timestamp>,
}

impl Finding {
    pub(crate) fn new(kind: Kind) -> Self {
        Finding {
            kind,
            title: kind.title().to_owned(),
            detail: String::new(),
            remedy: kind.remedy().to_owned(),
            row: kind.row().to_owned(),
            since: None,
        }
    }

    pub(crate) fn title(self, title: impl Into<String>) -> Self {
        Finding { title: title.into(), ..self }
    }

    pub(crate) fn detail(self, detail: impl AsRef<str>) -> Self {
        Finding { detail: shown::cut(detail.as_ref(), LONGEST_DETAIL), ..self }
    }

    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Finding { remedy: remedy.into(), ..self }
    }

    pub(crate) fn row(self, row: impl Into<String>) -> Self {
        Finding { row: row.into(), ..self }
    }

    pub(crate) fn since(self, since: Option<Timestamp>) -> Self {
        Finding { since, ..self }
    }

    /// For operators; `pool` is empty where it is of the installation.
    pub fn published(&self, pool: &str) -> v1::Finding {
        v1::Finding {
            kind: self.kind.as_str().to_owned(),
            pool: pool.to_owned(),
            severity: self.kind.severity().as_str().to_owned(),
            title: self.title.clone(),
            detail: self.detail.clone(),
            remedy: self.remedy.clone(),
            runbook: format!("/runbook#{}:~:text={}", self.kind.section(), utf8_percent_encode(&self.row, UNRESERVED)),
            since: self.since.map(|at| times::from_epoch(std::time::Duration::from_millis(at.0))),
        }
    }
}

/// A list for a sentence, which names some and counts the others.
pub fn list<T: AsRef<str>>(names: &[T]) -> String {
    let named: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// With a capital, unless it begins with a name like `i-0abc`, and with an end.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    let first = text.split(' ').next().unwrap_or_default();
    let is_name = first.contains(['-', '_']) || first.contains("://");
    let mut letters = text.chars();
    let begun = match letters.next() {
        Some(letter) if !is_name => letter.to_uppercase().chain(letters).collect(),
        _ => text.to_owned(),
    };
    if begun.is_empty() || begun.ends_with(['.', '!', '?', '…']) { begun } else { begun + "." }
}

/// What a browser leaves as it is in an address, beside letters and digits.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'!')
    .remove(b'~')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_the_runbook_and_every_kind_in_its_table() {
        let page = include_str!("../../deploy/operations.md");
        let section = page.split("\n## What needs a person").nth(1).and_then(|it| it.split("\n## ").next());
        let section = section.expect("a section of the kinds");
        for kind in Kind::ALL {
            let row = format!("| `{}` |", kind.as_str());
            assert_eq!(section.matches(&row).count(), 1, "{row}");
            assert!(page.contains(kind.row()), "{kind:?}: {}", kind.row());
            assert!(!kind.title().ends_with('.') && kind.remedy().ends_with(['.', '?']), "{kind:?}");
        }
        assert_eq!(section.matches("\n| `").count(), Kind::ALL.len(), "a kind that is none");
    }

    #[test]
    fn a_runbook_address_is_one_that_a_browser_finds() {
        let told = Finding::new(Kind::QueuesUnknown).published("video");
        assert_eq!(told.runbook, "/runbook#when-it-does-not-scale:~:text=cannot%20read%20the%20queues%20(");
        assert_eq!((told.pool.as_str(), told.severity.as_str()), ("video", "stop"));
    }

    #[test]
    fn lists_and_sentences_are_bounded() {
        assert_eq!(list(&["a", "b"]), "a, b");
        assert_eq!(list(&["1", "2", "3", "4", "5", "6", "7"]), "1, 2, 3, 4, 5 and 2 more");
        assert_eq!(sentence("cannot read the queues"), "Cannot read the queues.");
        assert_eq!(sentence("i-0abc is ours"), "i-0abc is ours.");
        assert!(Finding::new(Kind::Held).detail("x".repeat(10_000)).detail.len() < 700);
    }
}
