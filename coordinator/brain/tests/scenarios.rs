//! Scenarios as text: each file of `scenarios/<topic>/` is a script of what happens, and under each line what was
//! decided then, with its reason. What the brain decides must be what the file says.
//! `UPDATE=1 cargo test -p spillway-brain` writes the files anew; the diff is what changed, and is read as such.
//! `SCENARIO=part-of-a-name` runs some of them. `SPILLWAY_RECORD=1` records the states of a release.
//!
//! A script line is `TIME what`, or `FROM..TO what` for every ten seconds of that span; times are `minutes:seconds`.
//! `scenarios/lines.rs` has what a line may say, `scenarios/text.rs` the form of a file.

#[path = "scenarios/recorder.rs"]
mod recorder;
#[path = "scenarios/sentences.rs"]
mod sentences;
#[path = "scenarios/text.rs"]
mod text;
#[path = "scenarios/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Files below this are missing, not few.
const AT_LEAST: usize = 65;

/// Notes that this version makes no more: they are in records of an earlier one.
const EARLIER: [&str; 1] = ["fatal_refusal"];

#[test]
fn what_is_decided_is_what_each_scenario_says() {
    let only = env::var("SCENARIO").unwrap_or_default();
    let update = env::var_os("UPDATE").is_some();
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios"));
    assert!(files.len() >= AT_LEAST, "{} scenarios", files.len());
    let mut failures = Vec::new();
    recorder::begin();
    for file in files.iter().filter(|file| file.to_string_lossy().contains(&only)) {
        let said = fs::read_to_string(file).expect("it is read");
        let is = text::replayed(&said);
        if is == said {
            continue;
        }
        if update {
            fs::write(file, &is).expect("it is written");
        } else {
            failures.push(format!("{}\n{}", file.display(), text::diff(&said, &is)));
        }
    }
    recorder::end();
    assert!(
        failures.is_empty(),
        "{} scenarios differ (- as the file says, + as it is now; UPDATE=1 writes them anew):\n\n{}",
        failures.len(),
        failures.join("\n")
    );
    if only.is_empty() {
        let reasons = sentences::unsaid(include_str!("../src/reason.rs"), "Reason");
        let mut notes = sentences::unsaid(include_str!("../src/note.rs"), "Note");
        notes.retain(|note| !EARLIER.contains(&note.as_str()));
        assert_eq!(
            (&reasons[..], &notes[..]),
            (&[][..] as &[String], &[][..] as &[String]),
            "no scenario says these reasons, and notes"
        );
    }
}

/// All scenarios, by topic and name.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = |directory: &Path| -> Vec<PathBuf> {
        fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("it is read").path()).collect()
    };
    let topics = entries(directory).into_iter().filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = topics.flat_map(|topic| entries(&topic)).collect();
    assert!(files.iter().all(|file| file.extension().is_some_and(|ending| ending == "txt")), "{files:?}");
    files.sort();
    files
}
