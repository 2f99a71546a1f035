//! Policies over arrivals that are made up: what the model does, and what each policy is known for.

use std::time::Duration;

use spillway_replay::{BUILDKITE_IDLE, Job, KEDA_IDLE, Model, Outcome, Policy, Steps, Wait, replay};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn model() -> Model {
    Model {
        primary_slots: 2,
        slots: 4,
        max_instances: 4,
        boot: 75_000,
        boot_max: 75_000,
        seed: 1,
        interrupted_every: None,
        target: 5 * MINUTE,
    }
}

/// Each hour a batch at once, of jobs that take one to three minutes.
fn batches(hours: u64, jobs: u64) -> Vec<Job> {
    let job =
        |hour: u64, n: u64| Job { arrival: hour * HOUR + n, duration: MINUTE + (hour * 7 + n * 13) % (2 * MINUTE) };
    (0..hours).flat_map(|hour| (0..jobs).map(move |n| job(hour, n))).collect()
}

fn wait(target: u64) -> Policy {
    Policy::Wait(Wait { target: Duration::from_millis(target), ..Wait::default() })
}

fn outcome(policy: &Policy, jobs: &[Job], model: &Model) -> Outcome {
    replay("p", policy, jobs, model, 1.0, &mut |_| {})
}

#[test]
fn the_same_trace_model_and_policy_give_the_same_outcome_and_another_seed_another() {
    let jobs = batches(6, 40);
    let model = Model { boot_max: 240_000, interrupted_every: Some(HOUR), ..model() };
    for policy in [Policy::Steps(Steps::default()), wait(5 * MINUTE), Policy::Cron] {
        assert_eq!(outcome(&policy, &jobs, &model), outcome(&policy, &jobs, &model));
    }
    let other = Model { seed: 2, ..model.clone() };
    assert_ne!(outcome(&wait(5 * MINUTE), &jobs, &model), outcome(&wait(5 * MINUTE), &jobs, &other));
}

#[test]
fn a_job_waits_from_its_arrival_to_its_first_start() {
    // Three jobs of a minute on two slots, and nothing is ever launched for so few.
    let jobs = vec![Job { arrival: 0, duration: MINUTE }; 3];
    let it = outcome(&Policy::Steps(Steps::default()), &jobs, &model());
    assert_eq!((it.jobs, it.launches, it.box_hours), (3, 0, 0.0));
    assert_eq!((it.wait_p50_seconds, it.wait_p99_seconds, it.wait_mean_seconds), (0.0, 60.0, 20.0));
}

#[test]
fn the_plans_steps_launch_after_five_minutes_and_end_after_ten() {
    // Five waiting jobs that the primary cannot begin for an hour.
    let jobs = vec![Job { arrival: 0, duration: HOUR }; 7];
    let it = outcome(&Policy::Steps(Steps::default()), &jobs, &model());
    assert_eq!(it.launches, 1);
    // Seen at 0, launched at 5 min, ready 75 s later: four of the five start then, the last an hour after the first.
    assert_eq!(it.wait_p95_seconds, 3600.0, "{it:?}");
    assert_eq!(it.over_target, 5);
    // No job waits from the first hour on: ten minutes later, and a look for what became of the drain.
    assert_eq!(it.box_hours, (3600.0 + 600.0 + 10.0 - 300.0) / 3600.0, "{it:?}");
    assert_eq!(it.bound_box_hours, 5.0 / 4.0);
    assert_eq!((it.dollars, it.jobs_killed), (it.box_hours, 0), "a dollar an hour");
}

#[test]
fn the_plan_as_a_cron_kills_what_runs() {
    // The queue empties at once when the instance comes, and its jobs run for longer than ten minutes.
    let jobs = vec![Job { arrival: 0, duration: 20 * MINUTE }; 7];
    let it = outcome(&Policy::Cron, &jobs, &Model { slots: 8, ..model() });
    assert!(it.jobs_killed >= 5, "{it:?}");
    assert_eq!(it.jobs, 7, "they run again");
}

#[test]
fn the_promised_wait_is_kept_for_less_than_the_plan_costs() {
    let jobs = batches(24, 40);
    let steps = outcome(&Policy::Steps(Steps::default()), &jobs, &model());
    let promised = outcome(&wait(8 * MINUTE), &jobs, &model());
    assert!(promised.wait_p95_seconds <= 480.0, "{promised:?}");
    assert!(promised.wait_p95_seconds <= steps.wait_p95_seconds, "{promised:?}\n{steps:?}");
    assert!(promised.box_hours < 0.8 * steps.box_hours, "{promised:?}\n{steps:?}");
    let sooner = outcome(&wait(4 * MINUTE), &jobs, &model());
    assert!(sooner.wait_p95_seconds <= 240.0 && sooner.box_hours > promised.box_hours, "{sooner:?}\n{promised:?}");
}

#[test]
fn nothing_is_launched_for_jobs_that_the_primary_begins_in_time() {
    // One job a minute, each half a minute long.
    let jobs: Vec<Job> = (0..600).map(|n| Job { arrival: n * MINUTE, duration: MINUTE / 2 }).collect();
    assert_eq!(outcome(&wait(5 * MINUTE), &jobs, &model()).launches, 0);
}

#[test]
fn no_policy_has_more_instances_than_the_cap() {
    let jobs = batches(2, 200);
    let one = Model { max_instances: 1, ..model() };
    let none = Model { max_instances: 0, ..model() };
    let keda = Policy::Keda { jobs: 5.0, idle: KEDA_IDLE };
    let buildkite = Policy::Buildkite { jobs: 4.0, idle: BUILDKITE_IDLE };
    for policy in [Policy::Steps(Steps::default()), wait(2 * MINUTE), Policy::Cron, keda, buildkite] {
        let it = outcome(&policy, &jobs, &one);
        // One instance at a time cannot be billed for longer than the time that there is.
        let longest = jobs.len() as u64 * 3 * MINUTE + 2 * HOUR;
        assert!(it.launches > 0 && it.box_hours <= longest as f64 / HOUR as f64, "{policy:?}: {it:?}");
        assert_eq!(outcome(&policy, &jobs, &none).launches, 0, "{policy:?}");
    }
}

#[test]
fn an_interruption_hands_jobs_back_and_loses_none() {
    let jobs = batches(24, 40);
    let model = Model { interrupted_every: Some(HOUR / 2), ..model() };
    let it = outcome(&wait(5 * MINUTE), &jobs, &model);
    assert!(it.interruptions > 5, "{it:?}");
    assert_eq!((it.jobs, it.jobs_killed), (jobs.len() as u64, 0));
    assert!(it.wait_p95_seconds <= 300.0, "{it:?}");
}
