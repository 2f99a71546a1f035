//! One word, one meaning: what operators read uses none of the words that the glossary replaces.

use std::collections::{BTreeMap, BTreeSet};

use super::pages;
use super::sentences::sentences;

/// Words that have an ordinary meaning beside the one that is replaced: whether a sentence means that is for a reader.
const ORDINARY: [&str; 38] = [
    "alone",
    "ask again",
    "authority",
    "could start",
    "end",
    "fence",
    "fleet",
    "grow",
    "handback",
    "holds",
    "is good",
    "life",
    "lives",
    "look",
    "look for",
    "machine",
    "may bill",
    "not ours",
    "on the way",
    "people",
    "person",
    "report",
    "silent",
    "site",
    "somebody",
    "span",
    "stale",
    "step",
    "stranger",
    "take",
    "test",
    "the most",
    "try again",
    "wanted",
    "watch",
    "word",
    "works",
    "crash",
];
/// Where what operators read is written.
const SOURCES: [&str; 4] =
    ["coordinator/brain/src", "coordinator/pool/src", "coordinator/console/src", "coordinator/src"];

/// Each word of the column "instead of" that stands there by itself, and what is said in its place.
fn replaced() -> BTreeMap<String, String> {
    let page = pages::page("coordinator/ARCHITECTURE.md");
    let section = page.text.split("\n## Glossary").nth(1).expect("a glossary");
    let mut found = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [word, _, instead] = cells[..] else { continue };
        if word == "word" {
            continue;
        }
        let plain = |it: &&str| !it.is_empty() && it.chars().all(|c| c.is_ascii_lowercase() || " -'".contains(c));
        let words = instead.split([',', ';']).map(|it| it.trim().trim_end_matches('|').trim()).filter(plain);
        found.extend(words.map(|it| (it.to_owned(), word.to_owned())));
    }
    found
}

/// As whole words.
fn has(sentence: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    sentence.match_indices(word).any(|(at, _)| {
        let before = sentence[..at].chars().next_back();
        let after = sentence[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[test]
fn no_sentence_that_operators_read_has_a_word_that_the_glossary_replaces() {
    let replaced = replaced();
    let ordinary: BTreeSet<&str> = ORDINARY.into_iter().collect();
    let gone: Vec<&&str> = ordinary.iter().filter(|word| !replaced.contains_key(**word)).collect();
    assert!(gone.is_empty(), "the glossary does not replace {gone:?} any more");
    let strict: Vec<(&String, &String)> =
        replaced.iter().filter(|(word, _)| !ordinary.contains(word.as_str())).collect();
    assert!(strict.len() > 30, "only {} words: {strict:?}", strict.len());
    let mut wrong = Vec::new();
    let mut count = 0;
    for sentence in sentences(&SOURCES) {
        count += 1;
        let lower = sentence.to_lowercase();
        let words = strict.iter().filter(|(word, _)| has(&lower, word));
        wrong.extend(words.map(|(word, meant)| format!("\"{word}\" is \"{meant}\": {sentence}")));
    }
    assert!(count > 500, "only {count} sentences");
    assert!(wrong.is_empty(), "{} sentences:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_word_is_found_as_a_word() {
    assert!(has("the box is gone", "box") && has("a box, and", "box") && has("box", "box"));
    assert!(!has("a mailbox", "box") && !has("box-hours", "box") && !has("two boxes", "box"));
}
