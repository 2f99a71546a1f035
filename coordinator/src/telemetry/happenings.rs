//! Metrics of what happens: counted once, when it is seen.

use std::time::Duration;

use metrics::{counter, histogram};
use spillway_brain::{Planned, State};
use spillway_proto::v1;
use spillway_record::Interval;

use super::images;
use super::lives::{Happened, Interrupted, Lives};

/// A decision, as it is carried out.
pub fn decided(pool: &str, planned: &Planned) {
    let (decision, reason) = (planned.decision.kind(), planned.reason.name());
    counter!("spillway_decisions_total", "pool" => pool.to_owned(), "decision" => decision, "reason" => reason)
        .increment(1);
}

/// A tick of the leader's, from its decisions to the calls that carry them out.
pub fn ticked(pool: &str, took: Duration) {
    histogram!("spillway_tick_seconds", "pool" => pool.to_owned()).record(took.as_secs_f64());
}

pub fn observed(pool: &str, took: Duration) {
    histogram!("spillway_observation_seconds", "pool" => pool.to_owned()).record(took.as_secs_f64());
}

/// Jobs that were seen to start and to end; `target`: how long they should wait at most.
pub fn ran(pool: &str, target: Duration, intervals: &[Interval]) {
    let seconds = |millis: u64| Duration::from_millis(millis).as_secs_f64();
    for Interval { queue, starts, ends, .. } in intervals {
        let (waits, durations, missed) = jobs(pool, queue);
        // A retry's wait is not known.
        let known = || starts.iter().filter_map(|(_, _, waited)| *waited);
        known().for_each(|waited| waits.record(seconds(waited)));
        ends.iter().for_each(|(_, took)| durations.record(seconds(*took)));
        let late = known().filter(|waited| u128::from(*waited) > target.as_millis()).count();
        missed.increment(u64::try_from(late).unwrap_or(u64::MAX));
    }
}

/// The series of a queue's jobs: waits, durations, and those that waited too long.
pub(super) fn jobs(pool: &str, queue: &str) -> (metrics::Histogram, metrics::Histogram, metrics::Counter) {
    let labels = || [("pool", pool.to_owned()), ("queue", queue.to_owned())];
    (
        histogram!("spillway_job_wait_seconds", &labels()),
        histogram!("spillway_job_duration_seconds", &labels()),
        counter!("spillway_job_target_missed_total", &labels()),
    )
}

/// What became of a leader's instances since the last look.
pub fn lived(lives: &mut Lives, pool: &str, state: &State, view: &v1::Pool) {
    let name = || pool.to_owned();
    for happened in lives.look(state, view) {
        match happened {
            Happened::Ready(took) => {
                histogram!("spillway_launch_to_ready_seconds", "pool" => name()).record(took.as_secs_f64());
            }
            Happened::Step(step, took) if images::has_series(pool, &step) => {
                histogram!("spillway_boot_seconds", "pool" => name(), "step" => step).record(took.as_secs_f64());
            }
            Happened::Step(..) => {}
            Happened::Drained(cause, took) => {
                let cause = cause.as_str();
                histogram!("spillway_drain_seconds", "pool" => name(), "cause" => cause).record(took.as_secs_f64());
            }
            Happened::Interrupted(how) => interruptions(pool, how).increment(1),
        }
    }
}

pub(super) fn interruptions(pool: &str, how: Interrupted) -> metrics::Counter {
    counter!("spillway_interruptions_total", "pool" => pool.to_owned(), "kind" => how.as_str())
}
