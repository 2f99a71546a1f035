//! What a policy came to in a replay.

use serde::Serialize;

use crate::bound;
use crate::model::Model;
use crate::policy::Policy;
use crate::trace::Job;
use crate::world::World;

/// One policy's row. Waits are from a job's arrival to its first start, in seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// As it was asked for.
    pub policy: String,
    pub jobs: u64,
    pub wait_mean_seconds: f64,
    pub wait_p50_seconds: f64,
    pub wait_p95_seconds: f64,
    pub wait_p99_seconds: f64,
    /// Jobs that waited longer than the target.
    pub over_target: u64,
    /// Instance hours that EC2 bills: from each launch to its end, a minute at least.
    pub box_hours: f64,
    pub dollars: f64,
    pub launches: u64,
    pub interruptions: u64,
    /// Jobs whose worker was killed: they began anew.
    pub jobs_killed: u64,
    /// Instance hours of the work that the primary cannot begin within the target, on slots that are never idle and
    /// boot in no time.
    pub bound_box_hours: f64,
}

/// Replays the jobs, in the order of their arrival, under a policy. `each` is called now and then with how many have
/// ended. The target is the policy's own where it promises one, else the model's.
pub fn replay(
    name: &str,
    policy: &Policy,
    jobs: &[Job],
    model: &Model,
    dollars_an_hour: f64,
    each: &mut dyn FnMut(usize),
) -> Outcome {
    let mut acts = policy.start(model);
    let mut world = World::new(jobs, model);
    world.run(&mut *acts, each);
    let waits = world.waits();
    let target = policy.target().map_or(model.target, |target| target.as_millis() as u64);
    let hours = world.billed() as f64 / 3_600_000.0;
    Outcome {
        policy: name.to_owned(),
        jobs: waits.len() as u64,
        wait_mean_seconds: waits.iter().sum::<u64>() as f64 / waits.len().max(1) as f64 / 1000.0,
        wait_p50_seconds: quantile(&waits, 50),
        wait_p95_seconds: quantile(&waits, 95),
        wait_p99_seconds: quantile(&waits, 99),
        over_target: waits.iter().filter(|wait| **wait > target).count() as u64,
        box_hours: hours,
        dollars: hours * dollars_an_hour,
        launches: world.launches,
        interruptions: world.interruptions,
        jobs_killed: world.jobs_killed,
        bound_box_hours: bound::box_hours(jobs, model, target),
    }
}

/// What so many of a hundred do not exceed, in seconds.
fn quantile(sorted: &[u64], of_hundred: usize) -> f64 {
    let place = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(place).map_or(0.0, |wait| *wait as f64 / 1000.0)
}
