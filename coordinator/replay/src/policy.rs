//! What decides in a replay: Spillway's brain, or what others do.

mod brain;
mod formula;
mod plan_as_cron;

use std::time::Duration;

use spillway_brain::{Steps, Wait};

use crate::model::Model;
use crate::world::{Action, World};

/// A policy to replay.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// Spillway's, by thresholds.
    Steps(Steps),
    /// Spillway's, by a promised wait.
    Wait(Wait),
    /// The plan as a script that runs each minute: thresholds, and an end of all instances whatever they run.
    Cron,
    /// KEDA's for a list in Redis: an instance for so many waiting jobs.
    Keda { jobs: f64, idle: Duration },
    /// AWS's target tracking of the backlog per instance: the latency that is acceptable, over the mean duration.
    Aws { latency: Duration, idle: Duration },
    /// Buildkite's: an instance for so many jobs that wait or run on instances.
    Buildkite { jobs: f64, idle: Duration },
}

/// KEDA's `cooldownPeriod`.
pub const KEDA_IDLE: Duration = Duration::from_secs(300);
/// What an idle instance stays by default in AWS's example and in Buildkite's `ScaleInIdlePeriod`.
pub const AWS_IDLE: Duration = Duration::from_secs(600);
pub const BUILDKITE_IDLE: Duration = Duration::from_secs(600);

impl Policy {
    /// The wait that it promises.
    pub fn target(&self) -> Option<Duration> {
        match self {
            Policy::Wait(wait) => Some(wait.target),
            _ => None,
        }
    }

    pub(crate) fn start(&self, model: &Model) -> Box<dyn Acts> {
        match self {
            Policy::Steps(steps) => Box::new(brain::Brain::new(steps.clone(), None, model)),
            Policy::Wait(wait) => Box::new(brain::Brain::new(Steps::default(), Some(wait.clone()), model)),
            Policy::Cron => Box::new(plan_as_cron::Cron::default()),
            Policy::Keda { jobs, idle } => Box::new(formula::Formula::new(formula::Wants::Keda { jobs: *jobs }, *idle)),
            Policy::Aws { latency, idle } => {
                Box::new(formula::Formula::new(formula::Wants::Aws { latency: *latency }, *idle))
            }
            Policy::Buildkite { jobs, idle } => {
                Box::new(formula::Formula::new(formula::Wants::Buildkite { jobs: *jobs }, *idle))
            }
        }
    }
}

/// A policy at work.
pub(crate) trait Acts {
    /// Milliseconds from look to look.
    fn interval(&self) -> u64;

    /// Whether nothing that it waits for comes by time alone, while no job waits and no instance lives.
    fn is_at_rest(&self) -> bool {
        true
    }

    fn look(&mut self, world: &World<'_>) -> Vec<Action>;

    fn launched(&mut self, _world: &World<'_>, _worker: usize) {}

    fn ready(&mut self, _world: &World<'_>, _worker: usize) {}

    fn noticed(&mut self, _world: &World<'_>, _worker: usize) -> Vec<Action> {
        Vec::new()
    }

    /// An instance that was to drain holds no job any more.
    fn drained(&mut self, world: &World<'_>, worker: usize) -> Vec<Action> {
        match world.workers[worker].reclaimed_at {
            Some(_) => Vec::new(),
            None => vec![Action::Terminate(worker)],
        }
    }

    fn ended(&mut self, _world: &World<'_>, _worker: usize) {}
}
