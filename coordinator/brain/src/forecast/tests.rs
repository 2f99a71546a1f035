//! The forecast against the queue that it foresees.

use super::*;

const S: u64 = 1_000;

fn waiting(ages: &[(u64, u64)]) -> Vec<Waiting> {
    ages.iter().map(|(age, jobs)| Waiting { age: Duration::from_secs(*age), jobs: *jobs }).collect()
}

/// Each job takes a minute.
fn minutes() -> Durations {
    Durations::new(&[60 * S; 20], &[])
}

fn forecast<'a>(waiting: &'a [Waiting], minutes: &'a Durations, quantile: f64) -> Forecast<'a> {
    Forecast::new(waiting, minutes, Duration::from_secs(75), Duration::from_secs(300), quantile)
}

fn slots(free: &[(u64, u64)]) -> Slots<'static> {
    let mut slots = Slots::default();
    free.iter().for_each(|(at, n)| slots.add_free(*at * S, *n));
    slots
}

#[test]
fn jobs_start_one_after_the_other_on_the_slot_that_is_free_first() {
    // One is free, two are there in 30 s, and one runs a job that has 20 s left where it is as the others are.
    let (mut slots, minutes) = (slots(&[(0, 1), (30, 2)]), minutes());
    slots.add_busy("", 40 * S);
    let starts: Vec<u64> = (1..=5).map(|nth| slots.start(nth, &minutes).expect("a start") / S).collect();
    assert_eq!(starts, [0, 30, 30, 60, 74], "a slot that has begun is taken for half a job further");
    assert_eq!(Slots::default().start(1, &minutes), None, "nobody works");
    for nth in 1..=20 {
        let at = slots.start(nth, &minutes).expect("a start");
        assert!(slots.starts_by(at, &minutes) >= nth && (at == 0 || slots.starts_by(at - 1, &minutes) < nth));
    }
}

#[test]
fn a_job_is_late_where_it_starts_after_its_target() {
    let jobs = waiting(&[(100, 2), (10, 10)]);
    let minutes = minutes();
    let forecast = forecast(&jobs, &minutes, 1.0);
    // One slot: starts at 0, 60, 120 … The first two have 200 s left, the others 290 s: the sixth starts at 300.
    let one = slots(&[(0, 1)]);
    assert_eq!(forecast.late(&one), 7);
    let first = forecast.first_late(&one).expect("one is late");
    assert_eq!((first.nth, first.age.as_secs(), first.promise.as_secs()), (6, 10, 300));
    assert_eq!(forecast.wait(first.nth, first.age, &one), Some(Duration::from_secs(340)), "half a job after the least");
    // Two more slots after a boot of 90 s start four each by 290 s, and one slot alone too few.
    assert_eq!(forecast.late(&one.with(90 * S, 2)), 0);
    assert_eq!(forecast.late(&one.with(90 * S, 1)), 3);
}

#[test]
fn a_job_that_no_launch_can_save_is_promised_the_next_multiple_of_the_target() {
    let jobs = waiting(&[(250, 1)]);
    let minutes = minutes();
    let forecast = forecast(&jobs, &minutes, 1.0);
    // 250 s old, and a launch takes 90 s: 300 s cannot be kept by it, 600 s can.
    assert_eq!(forecast.promise(250 * S), 600 * S);
    assert_eq!(forecast.promise(210 * S), 300 * S);
    assert_eq!(forecast.late(&slots(&[(340, 1)])), 0, "no reason for a launch");
    assert_eq!(forecast.late(&slots(&[(360, 1)])), 1, "nor is it given up");
    // A target below the boot: as the first multiple that a launch can keep.
    assert_eq!(
        Forecast::new(&jobs, &minutes, Duration::from_secs(75), Duration::from_secs(60), 1.0).promise(0),
        120 * S
    );
}

#[test]
fn the_quantile_lets_its_share_of_those_that_wait_be_late_rounded_down() {
    let of = |jobs: u64, quantile: f64| {
        let jobs = waiting(&[(0, jobs)]);
        forecast(&jobs, &minutes(), quantile).may_be_late()
    };
    assert_eq!((of(100, 0.95), of(19, 0.95), of(20, 0.95), of(1000, 1.0), of(10, 0.9)), (5, 0, 1, 0, 1));
    // Six starts by 300 s on one slot.
    let jobs = waiting(&[(0, 7)]);
    assert!(!forecast(&jobs, &minutes(), 0.95).keeps(&slots(&[(0, 1)])));
    assert!(forecast(&jobs, &minutes(), 0.7).keeps(&slots(&[(0, 1)])));
}

#[test]
fn a_long_queue_costs_as_much_as_a_short_one() {
    let jobs = waiting(&(0..64).rev().map(|age| (age * 10, 100_000 / 64)).collect::<Vec<_>>());
    let minutes = minutes();
    let forecast = forecast(&jobs, &minutes, 0.95);
    let mut slots = slots(&[(0, 4)]);
    (0..100).for_each(|at| slots.add_busy("", at * 777));
    let late = forecast.late(&slots);
    assert!(late > 90_000, "{late}");
    let first = forecast.first_late(&slots).expect("many are late");
    assert!(slots.start(first.nth, &minutes).is_some());
}
