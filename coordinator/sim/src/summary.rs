//! The summary of a sweep, as text and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use crate::Outcome;
use crate::clock::{Clock, HOUR};
use crate::sweep::Totals;

/// How often each thing happened, then the totals.
pub fn totals(totals: &Totals, took: Duration) -> String {
    let mut words = String::new();
    for (what, times) in totals.counts.iter() {
        let _ = writeln!(words, "{times:>14} {what}");
    }
    let _ = writeln!(
        words,
        "{} runs, {} virtual hours, {} events in {:.1} s: {} virtual hours per second; seeds run twice to compare hashes: {}",
        totals.runs,
        totals.virtual_ms / HOUR,
        totals.events,
        took.as_secs_f64(),
        hours_per_second(totals, took),
        totals.run_twice,
    );
    for seed in &totals.unsteady {
        let _ = writeln!(words, "seed {seed} gave two different hashes: the simulation is not deterministic");
    }
    for what in totals.never() {
        let _ = writeln!(words, "never happened, and so was not tested: {what}");
    }
    let _ = writeln!(words, "{} violations", totals.failures.len());
    words
}

/// Seed, invariant and time of a violation; empty if there was none.
pub fn failure(outcome: &Outcome) -> String {
    let Some(violation) = &outcome.violation else { return String::new() };
    let (invariant, at) = (violation.invariant.words(), Clock(violation.at));
    format!("seed {} violates {invariant}, at {at}: {}\n", outcome.seed, violation.detail)
}

pub fn json(totals: &Totals, took: Duration) -> String {
    let failures = totals.failures.iter().filter_map(|failure| {
        let violation = failure.violation.as_ref()?;
        Some(serde_json::json!({
            "seed": failure.seed,
            "invariant": violation.invariant.words(),
            "at": Clock(violation.at).to_string(),
            "detail": violation.detail,
        }))
    });
    let failures: Vec<_> = failures.collect();
    let counts: serde_json::Map<_, _> =
        totals.counts.iter().map(|(what, times)| (what.to_owned(), times.into())).collect();
    serde_json::json!({
        "lives": totals.runs,
        "virtual_hours": totals.virtual_ms / HOUR,
        "events": totals.events,
        "seconds": took.as_secs_f64(),
        "virtual_hours_per_second": hours_per_second(totals, took),
        "lived_twice": totals.run_twice,
        "unsteady": totals.unsteady,
        "never": totals.never(),
        "counts": counts,
        "failures": failures,
    })
    .to_string()
}

fn hours_per_second(totals: &Totals, took: Duration) -> u64 {
    (totals.virtual_ms as f64 / HOUR as f64 / took.as_secs_f64().max(0.001)) as u64
}
