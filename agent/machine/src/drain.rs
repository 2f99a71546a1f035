//! One drain, from the order to the stopped worker. Owns when the worker is signalled and when it is killed; never
//! reads "no answer" as "no job".
//!
//! Without a fence in the worker itself, its own graceful shutdown is the fence: on the signal it takes no more jobs and
//! finishes those it has. A worker that would die of the signal is therefore left alone while it has jobs.

use crate::{Action, Config, DrainSignal, Graceful, Jobs, Timestamp, Worker};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// So many successive looks without an active job are needed before a worker is stopped that would not finish one.
const IDLE_LOOKS: u8 = 2;
/// A kill is repeated so often until the worker is reported stopped.
const KILL_AGAIN: Duration = Duration::from_secs(5);

/// A drain under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The command that asked for it; `None` where a notice did.
    pub command: Option<String>,
    /// When the worker must be stopped.
    pub deadline: Timestamp,
    /// EC2 takes the instance: nothing cancels this one.
    pub forced: bool,
    /// Cancelled after the worker was signalled: start it again once it has stopped.
    pub cancelled: bool,
    /// Where it stands.
    pub stage: Stage,
    /// The most jobs that were seen active in it.
    pub jobs_seen: Option<u32>,
    since: Timestamp,
    idle_looks: u8,
}

/// Where a drain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The worker is not signalled: it would lose its jobs.
    Waiting,
    /// It is signalled, and finishes its jobs.
    Stopping,
    /// Its time is up; the last kill was then.
    Killing(Timestamp),
}

impl Drain {
    pub(crate) fn new(now: Timestamp, command: Option<String>, deadline: Timestamp, jobs: Option<u32>) -> Self {
        Self {
            forced: command.is_none(),
            command,
            deadline,
            cancelled: false,
            stage: Stage::Waiting,
            jobs_seen: jobs,
            since: now,
            idle_looks: 0,
        }
    }

    /// When the worker is killed.
    pub(crate) fn kill_at(&self, config: &Config) -> Timestamp {
        self.deadline.minus(config.drain_margin / 2)
    }

    /// When a worker is told to stop that could not be told before. One that catches the signal gets all the time that
    /// its supervisor gives it, any other one the margin.
    pub(crate) fn stop_at(&self, worker: Option<&Worker>, config: &Config) -> Timestamp {
        match worker {
            Some(worker) if finishes_on_signal(worker, config) => self.kill_at(config).minus(worker.patience),
            _ => self.deadline.minus(config.drain_margin),
        }
    }

    pub(crate) fn observe(&mut self, jobs: Option<&Jobs>) {
        match jobs {
            Some(Jobs { at, active: Some(active), .. }) => {
                self.jobs_seen = Some(self.jobs_seen.unwrap_or(0).max(*active));
                if *active == 0 && *at >= self.since {
                    self.idle_looks = self.idle_looks.saturating_add(1);
                } else {
                    self.idle_looks = 0;
                }
            }
            _ => self.idle_looks = 0,
        }
    }

    /// The next action, if it is time for one.
    pub(crate) fn poll(&mut self, now: Timestamp, worker: Option<&Worker>, config: &Config) -> Option<Action> {
        match self.stage {
            Stage::Waiting => {
                let nothing_runs = worker.is_some_and(|worker| worker.processes == 0);
                let idle = self.idle_looks >= IDLE_LOOKS;
                let due = now >= self.stop_at(worker, config);
                (nothing_runs || idle || due).then(|| {
                    self.stage = Stage::Stopping;
                    Action::StopWorker
                })
            }
            Stage::Stopping if now >= self.kill_at(config) => {
                self.stage = Stage::Killing(now);
                Some(Action::KillWorker)
            }
            Stage::Killing(last) if now.since(last) >= KILL_AGAIN => {
                self.stage = Stage::Killing(now);
                Some(Action::KillWorker)
            }
            Stage::Stopping | Stage::Killing(_) => None,
        }
    }

    pub(crate) fn next_deadline(&self, worker: Option<&Worker>, config: &Config) -> Timestamp {
        match self.stage {
            Stage::Waiting => self.stop_at(worker, config),
            Stage::Stopping => self.kill_at(config),
            Stage::Killing(last) => last.plus(KILL_AGAIN),
        }
    }
}

pub(crate) fn finishes_on_signal(worker: &Worker, config: &Config) -> bool {
    match config.drain_signal {
        DrainSignal::AtOnce => true,
        DrainSignal::WhenIdle => false,
        DrainSignal::Auto => worker.graceful == Graceful::Yes,
    }
}
