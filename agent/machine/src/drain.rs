//! One drain, from the command to the last job handed back. Owns when the worker is signalled, when its jobs are handed
//! back and when it is killed; never reads "no answer" as "no job".
//!
//! Everything is counted backwards from the deadline:
//!
//! ```text
//!   begin          no chance to finish     deadline - margin         answered, or 2 s             deadline
//!     │ fence            │ hand it back        │ hand back all             │ kill                    │
//!     ▼                  ▼                     ▼                           ▼                         ▼
//!     Waiting ───────────────────────────────────────────────────────────► Killing ─► HandingBack ─► (drained)
//!       └─ no job is left ──► Stopping ─── it does not stop ────────────────┘           ▲
//!                                └──────── it is stopped ───────────────────────────────┘
//! ```
//!
//! A deadline that is over, or nearer than the margin, is the same with every moment at once.
//!
//! A worker with the shim is fenced by it. Without, its own graceful shutdown is the fence: on the signal it takes no
//! more jobs and finishes those it has. One that would die of the signal is therefore left alone while it has jobs.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::shims::Shims;
use crate::{Action, Config, DrainSignal, Graceful, Jobs, LastReason, ShimProcess, Timestamp, Worker};

/// Successive checks without an active job before a worker is stopped that would not finish one.
const IDLE_CHECKS: u8 = 2;
/// Between two kills, until the worker is reported stopped.
const KILL_INTERVAL: Duration = Duration::from_secs(5);
/// For a process to answer that it has handed its jobs back: it takes milliseconds, unless its event loop hangs.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(2);
/// A fenced worker without a job that does not exit on the signal is killed after it.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two attempts to hand back from outside, and how long after the stop they are retried beyond the deadline.
const HAND_BACK_INTERVAL: Duration = Duration::from_secs(1);
const HAND_BACK_GRACE: Duration = Duration::from_secs(20);

/// A drain under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The command that requested it; `None` where a notice started it.
    pub command: Option<String>,
    /// When nothing of the worker may be left, and no job either.
    pub deadline: Timestamp,
    /// EC2 interrupts the instance, or it ends itself: no command cancels this one.
    pub forced: bool,
    /// EC2 interrupts the instance.
    pub interrupted: bool,
    /// The instance ends itself afterwards.
    pub last: Option<LastReason>,
    /// Cancelled after the worker was signalled: start it again once it has stopped.
    pub cancelled: bool,
    /// What it is doing.
    pub stage: Stage,
    /// The most jobs that were seen active in it.
    pub jobs_seen: Option<u32>,
    /// Jobs that were requeued.
    pub handed_back: u32,
    /// The worker did not stop by itself.
    pub killed: bool,
    since: Timestamp,
    idle_checks: u8,
    /// Jobs whose locks are being renewed, by the last check of Redis since the drain began.
    live_locks: u32,
    hand_backs: BTreeMap<u32, HandBackState>,
}

/// A process's hand-back, once it was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum HandBackState {
    /// No answer yet.
    Requested(Timestamp),
    /// All are handed back, and the process is frozen.
    Frozen,
    /// Some could not be: they run on.
    Kept,
}

/// The stage of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Its jobs run on.
    Waiting,
    /// It is signalled, and finishes what it has.
    Stopping(Timestamp),
    /// Its time is up; the last kill was then.
    Killing(Timestamp),
    /// Nothing of it runs: what it left in Redis is handed back. Since when, and when to try or retry.
    HandingBack {
        /// When the worker was stopped.
        since: Timestamp,
        /// `None` while an answer is awaited.
        again_at: Option<Timestamp>,
    },
}

impl Drain {
    pub(crate) fn new(now: Timestamp, command: Option<String>, deadline: Timestamp, jobs: Option<u32>) -> Self {
        Self {
            forced: command.is_none(),
            interrupted: false,
            command,
            deadline,
            last: None,
            cancelled: false,
            stage: Stage::Waiting,
            jobs_seen: jobs,
            handed_back: 0,
            killed: false,
            since: now,
            idle_checks: 0,
            live_locks: 0,
            hand_backs: BTreeMap::new(),
        }
    }

    /// When the worker is killed.
    pub(crate) fn kill_at(&self, config: &Config) -> Timestamp {
        self.deadline.minus(config.drain_margin / 2)
    }

    /// When what still runs is handed back.
    pub(crate) fn hand_back_at(&self, config: &Config) -> Timestamp {
        self.deadline.minus(config.drain_margin)
    }

    /// When a worker that could not be signalled earlier is stopped. One that catches the signal gets all the time that
    /// its supervisor gives it, any other one the margin.
    pub(crate) fn stop_at(&self, worker: Option<&Worker>, config: &Config) -> Timestamp {
        match worker {
            Some(worker) if finishes_on_signal(worker, config) => self.kill_at(config).minus(worker.patience),
            _ => self.deadline.minus(config.drain_margin),
        }
    }

    /// A process of it hangs frozen, its jobs handed back: it cannot simply go on.
    pub(crate) fn has_frozen(&self) -> bool {
        !self.hand_backs.is_empty()
    }

    pub(crate) fn observe(&mut self, jobs: Option<&Jobs>) {
        match jobs {
            Some(Jobs { at, active: Some(active), live_locks, .. }) => {
                self.count_jobs(*active);
                if *at >= self.since {
                    self.live_locks = *live_locks;
                }
                if *active == 0 && *at >= self.since {
                    self.idle_checks = self.idle_checks.saturating_add(1);
                } else {
                    self.idle_checks = 0;
                }
            }
            _ => self.idle_checks = 0,
        }
    }

    pub(crate) fn count_jobs(&mut self, jobs: u32) {
        if self.hand_backs.is_empty() {
            self.jobs_seen = Some(self.jobs_seen.unwrap_or(0).max(jobs));
        }
    }

    /// The process answered: `jobs` are requeued, `kept` run on.
    pub(crate) fn handed_back(&mut self, pid: u32, jobs: u32, kept: u32) {
        self.handed_back = self.handed_back.saturating_add(jobs);
        if let Some(state) = self.hand_backs.get_mut(&pid) {
            *state = if kept == 0 { HandBackState::Frozen } else { HandBackState::Kept };
        }
    }

    /// Nothing of the worker runs any more.
    pub(crate) fn stopped(&mut self, now: Timestamp, killed: bool) {
        self.killed |= killed;
        // Reported twice: a hand-back is in progress, and a second one at the same time would find nothing and report
        // that.
        if matches!(self.stage, Stage::HandingBack { again_at: None, .. }) {
            return;
        }
        self.stage = Stage::HandingBack { since: now, again_at: Some(now) };
    }

    /// The result of a hand-back from outside; true once no retry is needed.
    pub(crate) fn handed_back_outside(&mut self, now: Timestamp, jobs: u32, again: bool) -> bool {
        self.handed_back = self.handed_back.saturating_add(jobs);
        let Stage::HandingBack { since, .. } = self.stage else { return false };
        if !again || now >= self.deadline.max(since.plus(HAND_BACK_GRACE)) {
            return true;
        }
        self.stage = Stage::HandingBack { since, again_at: Some(now.plus(HAND_BACK_INTERVAL)) };
        false
    }

    /// The actions that are due.
    pub(crate) fn poll(
        &mut self,
        now: Timestamp,
        worker: Option<&Worker>,
        shims: &Shims,
        config: &Config,
    ) -> Vec<Action> {
        match self.stage {
            Stage::Waiting if shims.processes().is_empty() => {
                let nothing_runs = worker.is_some_and(|worker| worker.processes == 0);
                let idle = self.idle_checks >= IDLE_CHECKS;
                if nothing_runs || idle || now >= self.stop_at(worker, config) {
                    return self.stop(now, false);
                }
                Vec::new()
            }
            Stage::Waiting => self.poll_with_shims(now, shims, config),
            Stage::Stopping(since) if now >= self.stop_ends(since, shims, config) => self.kill(now),
            Stage::Killing(last) if now.since(last) >= KILL_INTERVAL => self.kill(now),
            Stage::HandingBack { since, again_at: Some(at) } if now >= at => {
                self.stage = Stage::HandingBack { since, again_at: None };
                vec![Action::HandBackOutside]
            }
            Stage::Stopping(_) | Stage::Killing(_) | Stage::HandingBack { .. } => Vec::new(),
        }
    }

    fn poll_with_shims(&mut self, now: Timestamp, shims: &Shims, config: &Config) -> Vec<Action> {
        let hand_back_at = self.hand_back_at(config);
        let due = now >= hand_back_at;
        let mut actions = Vec::new();
        for process in shims.processes() {
            let time = due || shims.cannot_finish(process, now, hand_back_at);
            if time && !process.jobs.is_empty() && !self.hand_backs.contains_key(&process.pid) {
                self.hand_backs.insert(process.pid, HandBackState::Requested(now));
                actions.push(Action::HandBack { pid: process.pid });
            }
        }
        let all_settled = shims.processes().iter().all(|process| self.is_settled(now, process, due));
        // Locks that are renewed belong to jobs of a process without the shim.
        let no_other = due || self.live_locks == 0 || !self.hand_backs.is_empty();
        if all_settled && no_other {
            actions.extend(self.stop(now, due || !self.hand_backs.is_empty()));
        }
        actions
    }

    /// This process needs no more waiting.
    fn is_settled(&self, now: Timestamp, process: &ShimProcess, due: bool) -> bool {
        match self.hand_backs.get(&process.pid) {
            Some(HandBackState::Frozen) => true,
            Some(HandBackState::Requested(at)) => due && now.since(*at) >= HAND_BACK_TIMEOUT,
            Some(HandBackState::Kept) if due => true,
            Some(HandBackState::Kept) | None => process.jobs.is_empty() && (process.fenced || due),
        }
    }

    fn stop(&mut self, now: Timestamp, kill: bool) -> Vec<Action> {
        self.stage = if kill { Stage::Killing(now) } else { Stage::Stopping(now) };
        let mut actions = vec![Action::StopWorker];
        actions.extend(kill.then_some(Action::KillWorker));
        actions
    }

    fn kill(&mut self, now: Timestamp) -> Vec<Action> {
        self.stage = Stage::Killing(now);
        vec![Action::KillWorker]
    }

    /// When the signal times out: for a fenced worker without a job, before the drain does.
    fn stop_ends(&self, since: Timestamp, shims: &Shims, config: &Config) -> Timestamp {
        let kill_at = self.kill_at(config);
        if shims.jobs() == Some(0) { kill_at.min(since.plus(STOP_TIMEOUT)) } else { kill_at }
    }

    pub(crate) fn next_deadline(
        &self,
        now: Timestamp,
        worker: Option<&Worker>,
        shims: &Shims,
        config: &Config,
    ) -> Option<Timestamp> {
        match self.stage {
            Stage::Waiting if shims.processes().is_empty() => Some(self.stop_at(worker, config)),
            Stage::Waiting => {
                let answers = self.hand_backs.values().filter_map(|state| match state {
                    HandBackState::Requested(at) => Some(at.plus(HAND_BACK_TIMEOUT)),
                    HandBackState::Frozen | HandBackState::Kept => None,
                });
                // Those in the past were handled.
                answers.chain([self.hand_back_at(config)]).filter(|at| *at > now).min()
            }
            Stage::Stopping(since) => Some(self.stop_ends(since, shims, config)),
            Stage::Killing(last) => Some(last.plus(KILL_INTERVAL)),
            Stage::HandingBack { again_at, .. } => again_at,
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
