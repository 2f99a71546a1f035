//! What is measured, against looks that are made up.

use super::*;
use crate::id::InstanceId;
use crate::work::{Running, Waiting};

fn running(on: Option<&str>) -> Running {
    let on = on.map(|id| InstanceId(id.to_owned()));
    Running { on, elapsed: Duration::from_secs(5), name: String::new() }
}

fn look(waiting: u64, running: Vec<Running>) -> Work {
    let waiting = vec![Waiting { age: Duration::ZERO, jobs: waiting }];
    Work { waiting: [("q".to_owned(), waiting)].into(), running, finished: Vec::new() }
}

fn looked(measures: &mut Measures, work: &Work) {
    measures.looked(work, work.is_waiting());
}

#[test]
fn a_slot_that_is_never_idle_ends_jobs_at_the_rate_of_those_that_end_within_the_span() {
    let alike = Durations::new(&[60; 50], &[]);
    let within = |durations: &Durations, span: u64| durations.rate(span) * span as f64;
    assert_eq!((within(&alike, 59), within(&alike, 60), within(&alike, 300)), (0.0, 1.0, 5.0));
    // 99 of a hundred take 5, one takes 5000: the mean of 55 would say that a slot ends 5 in 300.
    let mut mixed = vec![5; 99];
    mixed.push(5000);
    let mixed = Durations::new(&mixed, &[]);
    let within = within(&mixed, 300);
    assert!((within - 300.0 * 99.0 / (99.0 * 5.0 + 300.0)).abs() < 1e-9, "{within}");
}

#[test]
fn durations_that_are_alike_do_not_spread_and_exponential_ones_spread_as_their_number() {
    assert_eq!(Durations::new(&[60; 50], &[]).spread(600), 0.0);
    let exponential: Vec<u64> = (0..1000).map(|n| (-(1.0 - (f64::from(n) + 0.5) / 1000.0).ln() * 1e5) as u64).collect();
    let spread = Durations::new(&exponential, &[]).spread(100_000_000);
    assert!((spread - 1.0).abs() < 0.02, "{spread}");
}

#[test]
fn a_job_that_has_run_long_is_expected_to_run_on() {
    let mut mixed = vec![5; 99];
    mixed.push(5000);
    let mixed = Durations::new(&mixed, &[]);
    let ends = |elapsed, span| mixed.left("", elapsed, span).0;
    assert!(ends(0, 5) > 0.95, "most end at once");
    // It has run longer than the short ones: the long one tells, and the likelihood of a half by twice as long.
    assert!(ends(10, 300) < 0.5 && ends(10, 6000) > 0.9);
    // Longer than all: as likely as not it ends within as long again.
    assert_eq!(ends(6_000, 6_000), 0.5);
    let (ends, after) = mixed.left("", 0, 300);
    assert!(ends < 1.0 && after > 250.0, "most of the span is left after it: {after}");
}

#[test]
fn jobs_that_still_run_tell_that_durations_are_longer_than_those_that_ended() {
    let ended = vec![5; 100];
    let alone = Durations::new(&ended, &[]).rate(300);
    let with_long_ones = Durations::new(&ended, &[1_000; 100]).rate(300);
    assert!(with_long_ones < alone / 10.0, "{alone} {with_long_ones}");
}

#[test]
fn jobs_of_a_name_with_enough_of_them_tell_for_it_alone() {
    let mut measures = Measures::default();
    let finished = |name: &str, took: u64| Finished { took: Duration::from_millis(took), name: name.to_owned() };
    let many = |name: &str, took, n| (0..n).map(|_| finished(name, took)).collect::<Vec<_>>();
    let jobs = [many("short", 10, 100), many("long", 1_000, ENOUGH_OF_A_NAME), many("rare", 1_000, 3)].concat();
    looked(&mut measures, &Work { finished: jobs, ..Work::default() });
    let durations = measures.durations(&[]).expect("durations");
    let ends = |name| durations.left(name, 0, 20).0;
    assert!(ends("short") > 0.95 && ends("long") < 0.1 && ends("rare") > 0.7, "the rare ones by all");
    assert!(Measures::default().durations(&[]).is_none());
}

#[test]
fn slots_are_the_most_jobs_seen_and_the_primarys_follow_the_queue() {
    let policy = Wait::default();
    let mut measures = Measures::default();
    assert_eq!((measures.slots(&policy), measures.slots_elsewhere()), (1, 0), "nothing is known");
    looked(&mut measures, &look(3, vec![running(None), running(None)]));
    assert_eq!((measures.slots(&policy), measures.slots_elsewhere()), (2, 2), "an instance is taken for one like it");
    looked(
        &mut measures,
        &look(3, vec![running(None), running(Some("i-1")), running(Some("i-1")), running(Some("i-1"))]),
    );
    assert_eq!((measures.slots(&policy), measures.slots_elsewhere()), (3, 2), "one look may miss a job");
    assert_eq!(measures.slots(&Wait { slots: Some(8), ..policy.clone() }), 8, "the settings' word");
    // The primary's worker has gone: jobs wait, and look after look it runs none.
    (0..LOOKS).for_each(|_| looked(&mut measures, &look(3, vec![running(Some("i-1"))])));
    assert_eq!((measures.slots(&policy), measures.slots_elsewhere()), (3, 0));
    // No job waits: what it runs, it can run.
    looked(&mut measures, &look(0, vec![running(None); 4]));
    looked(&mut measures, &look(0, vec![]));
    assert_eq!(measures.slots_elsewhere(), 4);
}

#[test]
fn an_agents_word_is_believed_until_look_after_look_shows_fewer() {
    let mut measures = Measures::default();
    measures.told_slots(4);
    assert_eq!(measures.slots(&Wait::default()), 4, "nothing was seen yet");
    let one = look(3, vec![running(Some("i-1"))]);
    (1..LOOKS).for_each(|_| looked(&mut measures, &one));
    assert_eq!(measures.slots(&Wait::default()), 4, "it may be between two jobs");
    looked(&mut measures, &one);
    assert_eq!(measures.slots(&Wait::default()), 1);
    (0..LOOKS).for_each(|_| looked(&mut measures, &look(0, vec![running(Some("i-1"))])));
    looked(&mut measures, &look(3, vec![running(Some("i-1")); 3]));
    assert_eq!(measures.slots(&Wait::default()), 3, "what it is seen to run it can");
    assert_eq!(measures.slots(&Wait { slots: Some(2), ..Wait::default() }), 2, "the settings' word");
}

#[test]
fn a_boot_is_what_nine_of_ten_do_not_exceed() {
    let mut measures = Measures::default();
    assert_eq!(measures.boot(), ASSUMED_BOOT);
    (1..=10).for_each(|seconds| measures.booted(Duration::from_secs(seconds)));
    assert_eq!(measures.boot(), Duration::from_secs(9));
    (0..BOOTS).for_each(|_| measures.booted(Duration::from_secs(70)));
    assert_eq!(measures.boot(), Duration::from_secs(70), "the last ones");
}
