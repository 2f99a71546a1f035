//! Every frame that `spillway demo` draws on a terminal: while all is well it says nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use spillway_tests::binaries;
use spillway_tests::process::command;
use spillway_tests::stage::directory;
use spillway_tests::terminal::{Frame, Terminal, frames};

const ENDS_WITHIN: Duration = Duration::from_secs(660);
/// So wide that a note is seldom broken, so high that nothing is left out.
const SIZE: (u16, u16) = (300, 60);
/// What a healthy demo has no reason to say, in a row, a note or an event.
const ILL: [&str; 17] = [
    "not proven",
    "not protected",
    "not ready:",
    "no proof",
    "neither waits",
    "shim",
    "failed",
    "FAILED",
    "crash",
    "silent",
    "unknown",
    "cannot",
    "could not",
    "never existed",
    "no heartbeat",
    "somebody",
    "?",
];
/// How a note begins that is true while all is well.
const NOTES: [&str; 15] = [
    "N job ready to run, N or more for ",
    "N job ready to run: N or more for ",
    "N job ready to run: below the next step",
    "N job ready to run: the highest step is reached, N instance desired",
    "no job ready to run",
    "idle: no job ready to run for ",
    "N instance starting, at most ",
    "at the cap: N of max_instances N are running or starting",
    "near the cap: N of max_instances N are running or starting",
    "N instance desired, but no job ready to run: no launch for now",
    "I is draining",
    "I is left to ECN, which reclaims it in its first hour and does not bill it then",
    "the agent of I reports it drained; Redis has not confirmed it yet",
    "the queues have not been read yet",
    "image ami-NeN has not run here yet: one instance tries it first; the rest follow once it is ready",
];

/// Numbers as N, instances as I, one job or instance as many.
fn shape(text: &str) -> String {
    let word = |word: &str| match word {
        _ if word.starts_with("i-") => "I".to_owned(),
        "jobs" | "instances" => word.trim_end_matches('s').to_owned(),
        _ => {
            let mut shape = word.replace(|c: char| c.is_ascii_digit() || c == '.', "N");
            while shape.contains("NN") {
                shape = shape.replace("NN", "N");
            }
            shape
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// The notes in the right-hand column; a line that is indented goes on with the one above.
fn notes(frame: &Frame) -> Vec<String> {
    const TITLE: &str = "WHY NOT MORE, WHY NOT LESS";
    let Some(top) = frame.iter().position(|line| line.contains(TITLE)) else { return Vec::new() };
    let left = frame[top].chars().count() - TITLE.len();
    let mut notes: Vec<String> = Vec::new();
    for line in frame[top + 1..].iter().take_while(|line| !line.is_empty()) {
        let note: String = line.chars().skip(left).collect();
        match (note.strip_prefix("  "), notes.last_mut()) {
            (Some(more), Some(last)) => *last += &format!(" {more}"),
            _ if note.is_empty() => {}
            _ => notes.push(note),
        }
    }
    notes
}

/// The instances' rows: what each does.
fn rows(frame: &Frame) -> Vec<(String, String)> {
    let instances = frame.iter().filter(|line| line.starts_with("  i-") || line.starts_with("  (no id yet)"));
    let part = |line: &String, from: usize, length: usize| line.chars().skip(from).take(length).collect::<String>();
    instances.map(|line| (part(line, 23, 12).trim().to_owned(), part(line, 35, usize::MAX))).collect()
}

fn check(frame: &Frame, is_interrupted: bool) {
    let text = frame.join("\n");
    for ill in ILL {
        assert!(!text.contains(ill), "a frame says \"{ill}\" while all is well:\n{text}");
    }
    for note in notes(frame) {
        let shape = shape(&note);
        assert!(
            NOTES.iter().any(|note| shape.starts_with(note)),
            "a frame gives a wrong reason: {note} ({shape})\n{text}"
        );
    }
    for (state, words) in rows(frame) {
        let shape = shape(&words);
        let has_worked = words.contains(" running, ") && !words.contains("0 running, 0 done");
        let is_so = match state.as_str() {
            "LAUNCHING" => shape == "launch requested",
            "BOOTING" if has_worked => {
                shape.contains("boot step N/N") || words.ends_with("its worker takes jobs already")
            }
            "BOOTING" => ["boot step N/N", "the instance starts, N", "booted; waiting for its"]
                .iter()
                .any(|it| shape.starts_with(it)),
            "READY" => shape.starts_with("N running, N done"),
            "DRAINING" | "TERMINATING" if is_interrupted => shape.starts_with("N running, N done"),
            "DRAINING" => shape == "N running, N done, idle: no job ready to run for long enough; N instance desired",
            "TERMINATING" => shape == "N running, N done, drained (scale-in): agent and Redis both show no job left",
            "GONE" => shape == "N done",
            _ => false,
        };
        assert!(is_so, "an instance's row is wrong: {state} {words} ({shape})\n{text}");
    }
}

async fn every_frame_of(arguments: &[&str]) {
    let place = directory();
    let mut demo = command(binaries::spillway());
    demo.arg("demo").args(arguments).env("TMPDIR", place.path()).env("NO_COLOR", "1");
    let (status, drawn) = Terminal::start(demo, SIZE.0, SIZE.1).end_within(ENDS_WITHIN).await;
    assert!(status.success(), "{status}: {drawn}");
    let frames = frames(&drawn);
    let mut states = BTreeSet::new();
    for frame in &frames {
        check(frame, arguments.contains(&"--interrupt"));
        states.extend(rows(frame).into_iter().map(|(state, _)| state));
    }
    // It was all there to be read.
    let seen = |text: &str| frames.iter().any(|frame| notes(frame).iter().any(|note| shape(note).starts_with(text)));
    assert!(frames.len() > 40, "{} frames", frames.len());
    for state in ["BOOTING", "READY", "DRAINING", "GONE"] {
        assert!(states.contains(state), "no instance was {state} in {} frames: {states:?}", frames.len());
    }
    assert!(seen("N instance starting"), "no frame gave a reason");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_frame_calls_a_fleet_ill_that_is_well() {
    every_frame_of(&["--jobs", "30", "--job-seconds", "1"]).await;
}

/// The one that goes is drained, the others are well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_while_ec2_takes_an_instance_away() {
    every_frame_of(&["--jobs", "40", "--job-seconds", "2", "--interrupt"]).await;
}
