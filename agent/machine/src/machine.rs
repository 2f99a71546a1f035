//! The machine: phases and their transitions. Owns which phase follows which; readiness, connection, a drain's
//! course, and what begins and ends one each have their own file.

mod commands;

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::connection::Connection;
use crate::dead_man::DeadMan;
use crate::readiness::{Readiness, Verdict};
use crate::shims::Shims;
use crate::{
    Action, Config, Drain, DrainOutcome, Event, Missing, Observation, Report, StepOutcome, Timestamp, when_reclaimed,
};

/// A worker that is found fenced without a drain is unfenced after the coordinator had this long to send the command
/// again: an agent that restarts in the middle of a drain does not know of it.
const UNFENCE_AFTER: Duration = Duration::from_secs(20);

/// The phase of the agent's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The instance id is not known yet.
    Identifying,
    /// Running its boot steps.
    Booting {
        /// The step's index.
        step: usize,
        /// Of it, from 1.
        attempt: u32,
        /// Set while the step waits for its next attempt.
        again_at: Option<Timestamp>,
    },
    /// The steps are done, the worker proof does not hold yet.
    Proving,
    /// The worker is proven to process jobs.
    Ready {
        /// When it was last proven.
        proven_at: Timestamp,
        /// Since when the proof fails.
        lost_since: Option<Timestamp>,
    },
    /// The worker takes no new job, or will be stopped when it has none.
    Draining(Drain),
    /// The worker is stopped.
    Drained(DrainOutcome),
    /// The instance cannot work.
    Failed(Failure),
}

/// Why an instance cannot work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// A boot step failed for good.
    Step { index: usize },
    /// The worker restarts again and again, or its supervisor gave up on it.
    CrashLoop { restarts: u32 },
}

/// Whether there is a worker to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// The boot steps may have started it.
    Started,
    Stopping,
    Stopped,
}

/// The agent's life. `handle` what happens, then `poll` for what to do.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    phase: Phase,
    life: Life,
    /// The step to resume with where the boot is aborted.
    next_step: usize,
    connection: Connection,
    readiness: Readiness,
    shims: Shims,
    dead_man: DeadMan,
    /// Since when the coordinator is connected.
    connected_at: Option<Timestamp>,
    epoch: u64,
    actions: Vec<Action>,
}

impl Machine {
    /// A machine at the start of its life.
    pub fn new(config: Config) -> Self {
        Self {
            phase: Phase::Identifying,
            life: Life::Started,
            next_step: config.first_step,
            connection: Connection::new(config.seed),
            readiness: Readiness::default(),
            shims: Shims::default(),
            dead_man: DeadMan::new(),
            connected_at: None,
            epoch: 0,
            actions: Vec::new(),
            config,
        }
    }

    /// The current phase.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What the proof lacks; `None` where it is complete.
    pub fn missing(&self, now: Timestamp) -> Option<Missing> {
        match self.verdict(now) {
            Verdict::Proven => None,
            Verdict::Missing(missing) => Some(missing),
            Verdict::CrashLoop { .. } => Some(Missing::Process),
        }
    }

    /// Whether the coordinator is connected.
    pub fn is_connected(&self) -> bool {
        self.connection.is_up()
    }

    /// Processes one event. The actions that follow are returned by `poll`.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Identified => self.identified(now),
            Event::Registered => self.connection.registered(now),
            Event::RegistrationFailed(refusal) => self.connection.refused(now, refusal, &self.config),
            Event::Connected { epoch } => self.connected(now, epoch),
            Event::Disconnected { token_refused } => {
                self.connected_at = None;
                self.dead_man.disconnected(now);
                self.connection.lost(now, token_refused, &self.config);
            }
            Event::StepFinished { index, outcome } => self.step_finished(now, index, outcome),
            Event::Observed(seen) => self.observed(now, &seen),
            Event::Interruption { at } => {
                let at = when_reclaimed(now, at);
                self.dead_man.interrupted(at);
                self.interrupted(now, at);
            }
            Event::Command { epoch, id, command } => self.command(now, epoch, id, command),
            Event::ShimsSeen(processes) => self.shims_seen(now, processes),
            Event::JobFinished { class, took } => self.shims.learn(&class, took),
            Event::HandedBack { pid, jobs, kept } => {
                if let Phase::Draining(drain) = &mut self.phase {
                    drain.handed_back(pid, jobs, kept);
                }
            }
            Event::WorkerStopped { killed } => self.worker_stopped(now, killed),
            Event::HandedBackOutside { jobs, left, again } => self.handed_back_outside(now, jobs, left, again),
            Event::WorkerStarted => {}
        }
    }

    /// The actions that are due now, each returned once.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Action> {
        self.actions.extend(self.connection.poll(now));
        self.poll_dead_man(now);
        let config = &self.config;
        match &mut self.phase {
            Phase::Booting { step, attempt, again_at } if again_at.is_some_and(|at| now >= at) => {
                *again_at = None;
                self.actions.push(Action::RunStep { index: *step, attempt: *attempt });
            }
            Phase::Ready { proven_at, lost_since } => {
                let lost = lost_since.is_some_and(|since| now.since(since) >= config.lost_after);
                if lost || now.since(*proven_at) >= config.unknown_after {
                    self.enter(Phase::Proving);
                }
            }
            Phase::Draining(drain) => {
                let actions = drain.poll(now, self.readiness.worker.as_ref(), &self.shims, config);
                if actions.contains(&Action::StopWorker) {
                    self.life = Life::Stopping;
                }
                self.actions.extend(actions);
            }
            _ => {}
        }
        if self.unfence_at().is_some_and(|at| now >= at) {
            self.shims.fenced_since = Some(now);
            self.actions.push(Action::Unfence);
        }
        core::mem::take(&mut self.actions)
    }

    /// When `poll` must be called next, if no event comes before.
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let config = &self.config;
        let own = match &self.phase {
            Phase::Booting { again_at, .. } => *again_at,
            Phase::Ready { proven_at, lost_since } => {
                let unknown = proven_at.plus(config.unknown_after);
                Some(lost_since.map_or(unknown, |since| unknown.min(since.plus(config.lost_after))))
            }
            Phase::Draining(drain) => drain.next_deadline(now, self.readiness.worker.as_ref(), &self.shims, config),
            _ => None,
        };
        let last = match &self.phase {
            Phase::Drained(outcome) if outcome.last.is_some() => self.dead_man.power_off_from(),
            Phase::Draining(_) | Phase::Identifying => None,
            _ => self.dead_man.next(now, self.jobs_known(), config),
        };
        [own, self.connection.deadline(), self.unfence_at(), last].into_iter().flatten().min()
    }

    /// The jobs that the worker's processes report; `None` where none of them has the shim.
    pub fn shim_jobs(&self) -> Option<u32> {
        self.shims.jobs()
    }

    /// When a worker that is fenced without a drain is unfenced.
    fn unfence_at(&self) -> Option<Timestamp> {
        let fenced_since = self.shims.fenced_since?;
        let connected_at = self.connected_at?;
        let works = matches!(self.phase, Phase::Proving | Phase::Ready { .. });
        works.then(|| fenced_since.max(connected_at).plus(UNFENCE_AFTER))
    }

    fn verdict(&self, now: Timestamp) -> Verdict {
        match self.readiness.verdict(now, &self.shims, &self.config) {
            Verdict::Proven if self.shims.fenced_since.is_some() => Verdict::Missing(Missing::Fenced),
            verdict => verdict,
        }
    }

    fn shims_seen(&mut self, now: Timestamp, processes: Vec<crate::ShimProcess>) {
        self.shims.seen(now, processes);
        if let (Phase::Draining(drain), Some(jobs)) = (&mut self.phase, self.shims.jobs()) {
            drain.count_jobs(jobs);
        }
        self.dead_man.jobs(now, self.jobs_known());
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.report(Report::Beat);
    }

    fn report(&mut self, report: Report) {
        self.actions.push(Action::Report(report));
    }

    fn identified(&mut self, now: Timestamp) {
        self.connection.identified(now, &self.config);
        if self.phase == Phase::Identifying {
            self.dead_man.begin(now, self.config.age);
            self.boot_from(now, self.next_step);
        }
    }

    fn boot_from(&mut self, now: Timestamp, step: usize) {
        self.next_step = step;
        self.life = Life::Started;
        if step < self.config.step_retries.len() {
            self.enter(Phase::Booting { step, attempt: 1, again_at: Some(now) });
        } else {
            self.readiness.start();
            self.enter(Phase::Proving);
        }
    }

    fn step_finished(&mut self, now: Timestamp, index: usize, outcome: StepOutcome) {
        let Phase::Booting { step, attempt, again_at: None } = self.phase else {
            // It ended while a drain aborted the boot: it need not run again.
            if outcome == StepOutcome::Succeeded && index == self.next_step {
                self.next_step += 1;
            }
            return;
        };
        if step != index {
            return;
        }
        match outcome {
            StepOutcome::Succeeded => self.boot_from(now, index + 1),
            StepOutcome::Failed if attempt <= self.config.step_retries[index] => {
                let again_at = Some(now.plus(self.config.step_pause.saturating_mul(attempt)));
                self.phase = Phase::Booting { step, attempt: attempt + 1, again_at };
            }
            StepOutcome::Failed => self.enter(Phase::Failed(Failure::Step { index })),
        }
    }

    fn connected(&mut self, now: Timestamp, epoch: u64) {
        self.connected_at = Some(now);
        self.dead_man.connected();
        self.cancel_orphan_drain();
        self.epoch = self.epoch.max(epoch);
        self.connection.connected();
        self.report(Report::Beat);
        if let Phase::Drained(outcome) = &self.phase {
            let outcome = outcome.clone();
            self.report(Report::Drained(outcome));
        }
    }

    fn observed(&mut self, now: Timestamp, seen: &Observation) {
        let restarted = self.readiness.observe(now, seen);
        let verdict = self.verdict(now);
        match &mut self.phase {
            Phase::Proving | Phase::Ready { .. } if matches!(verdict, Verdict::CrashLoop { .. }) => {
                let restarts = seen.worker.as_ref().map_or(0, |worker| worker.restarts);
                self.enter(Phase::Failed(Failure::CrashLoop { restarts }));
                // Each crash costs its jobs one of the two stalls that they have: no more of them.
                self.life = Life::Stopping;
                self.actions.push(Action::StopWorker);
            }
            Phase::Proving if verdict == Verdict::Proven => {
                self.enter(Phase::Ready { proven_at: now, lost_since: None });
            }
            Phase::Ready { proven_at, lost_since } => match verdict {
                Verdict::Proven => {
                    *proven_at = now;
                    *lost_since = None;
                }
                Verdict::Missing(Missing::Process) => self.enter(Phase::Proving),
                _ if restarted => self.enter(Phase::Proving),
                // No answer is no evidence: it has a timeout of its own.
                Verdict::Missing(Missing::Supervisor | Missing::Redis) => *lost_since = None,
                _ => *lost_since = lost_since.or(Some(now)),
            },
            Phase::Draining(drain) => drain.observe(seen.jobs.as_ref()),
            _ => {}
        }
        self.dead_man.jobs(now, self.jobs_known());
    }
}
