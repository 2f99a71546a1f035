//! The flight record through lost sessions, and the words about what a drain cannot protect.

use std::time::Duration;

use spillway_machine::{Graceful, Worker};

use super::*;

fn line(index: u32, attempt: u32, state: i32) -> BootStep {
    BootStep { index, attempt, state, ..BootStep::default() }
}

#[test]
fn a_new_session_hears_what_it_missed_and_the_latest_of_the_rest() {
    let mut record = FlightRecord::new(2);
    record.record(line(0, 1, 1), true);
    record.record(line(0, 1, 2), true);
    record.record(line(1, 1, 1), false);
    record.record(line(1, 1, 4), false);
    assert_eq!(record.for_a_new_session(), [line(0, 1, 2), line(1, 1, 1), line(1, 1, 4)]);
    assert_eq!(record.for_a_new_session(), [line(0, 1, 2), line(1, 1, 4)]);
    for attempt in 0..1000 {
        record.record(line(1, attempt, 1), false);
    }
    let lines = record.for_a_new_session();
    assert_eq!((lines.len(), lines.last()), (LINES_KEPT + 1, Some(&line(1, 999, 1))));
}

#[test]
fn what_a_drain_cannot_protect_is_said() {
    let words = |signal, graceful, seconds| {
        let patience = Duration::from_secs(seconds);
        unprotected(&Worker { processes: 1, errored: 0, restarts: 0, graceful, patience }, signal, &["w".to_owned()])
            .join("\n")
    };
    assert_eq!(words(DrainSignal::Auto, Graceful::Yes, 86_400), "");
    assert_eq!(words(DrainSignal::AtOnce, Graceful::Unknown, 86_400), "");
    assert!(words(DrainSignal::Auto, Graceful::No, 86_400).contains("does not handle SIGINT"));
    assert!(words(DrainSignal::Auto, Graceful::Unknown, 86_400).contains("cannot tell whether w finishes"));
    assert!(words(DrainSignal::AtOnce, Graceful::No, 86_400).contains("a drain kills its jobs"));
    assert!(words(DrainSignal::Auto, Graceful::Yes, 5).contains("pm2 kills the worker and its jobs 5 s after"));
}
