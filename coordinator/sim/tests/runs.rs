//! Short runs: some seeds that are always the same, a few that are new each time (a failure names them), the same hash
//! twice, and a sweep that must have every kind of fault. The long sweeps are the program's.

use spillway_sim::clock::{DAY, HOUR};
use spillway_sim::mutants::{Shown, all, mutate, root};
use spillway_sim::sweep::{Sweep, Totals, guarded};
use spillway_sim::{Keep, summary};

const HALF_A_DAY: u64 = DAY / 2;

fn sweep(seeds: std::ops::Range<u64>, fault_time: u64) -> Totals {
    Sweep { seeds, fault_time, threads: 2, until_first: false }.run(|_, _| {})
}

fn failures(totals: &Totals) -> String {
    totals.failures.iter().map(summary::failure).collect()
}

#[test]
fn what_must_hold_holds_in_a_hundred_lives_that_meet_every_fault() {
    let totals = sweep(0..100, HALF_A_DAY);
    assert!(totals.failures.is_empty(), "{}", failures(&totals));
    assert!(totals.unsteady.is_empty(), "two different hashes: {:?}", totals.unsteady);
    assert!(totals.never().is_empty(), "never happened: {:?}", totals.never());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "new seeds each time; a failure says which")]
fn what_must_hold_holds_in_some_new_lives() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let from = now.as_micros() as u64 % 1_000_000_000 + 1_000_000;
    let totals = sweep(from..from + 40, 6 * HOUR);
    assert!(totals.failures.is_empty(), "with --days 0.25: {}", failures(&totals));
}

#[test]
fn the_same_seed_lives_the_same_life_and_another_another() {
    let hashes = |seed| {
        let outcome = guarded(seed, 3 * HOUR, Keep::Nothing);
        (outcome.hash, outcome.events, outcome.virtual_ms)
    };
    // The timeline is not a part of it.
    let with_timeline = guarded(7, 3 * HOUR, Keep::Lines);
    assert_eq!(hashes(7).0, with_timeline.hash);
    assert_eq!(hashes(7), hashes(7));
    assert_eq!(hashes(8), hashes(8));
    assert_ne!(hashes(7), hashes(8));
}

#[test]
fn every_mutants_text_is_there_exactly_once() {
    assert!(all().count() >= 90);
    for mutant in all() {
        let text = std::fs::read_to_string(root().join(mutant.file)).expect(mutant.file);
        let mutated = mutate(mutant, &text);
        assert!(mutated.as_ref().is_ok_and(|mutated| *mutated != text), "{mutated:?}");
    }
}

#[test]
fn every_scenario_that_is_named_for_a_mutant_is_there() {
    for mutant in all() {
        let Some(Shown::Scenario(name)) = mutant.shown_by else { continue };
        let (topic, name) = name.split_once('/').expect(mutant.name);
        let topic = root().join("coordinator/brain/tests/scenarios").join(topic);
        let files = std::fs::read_dir(topic).expect(mutant.name).map(|file| file.expect("it is read").file_name());
        assert_eq!(files.filter(|file| file.to_string_lossy().starts_with(name)).count(), 1, "{}", mutant.name);
    }
}
