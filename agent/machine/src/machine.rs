//! The machine: phases and their transitions. Owns which phase follows which; readiness, connection, a drain's
//! course, and what begins and ends one each have their own file.

mod commands;

use crate::connection::Connection;
use crate::readiness::{Readiness, Verdict};
use crate::{Action, Config, Drain, DrainOutcome, Event, Missing, Observation, Report, StepOutcome, Timestamp};
use serde::{Deserialize, Serialize};

/// Where the agent stands in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It does not know yet who it is.
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
    /// The steps are done, the worker has not proved itself.
    Proving,
    /// The worker is proven to process jobs.
    Ready {
        /// When it was last proven.
        proven_at: Timestamp,
        /// Since when the sources say that it is not.
        lost_since: Option<Timestamp>,
    },
    /// The worker takes no new job, or will be stopped when it has none.
    Draining(Drain),
    /// The worker is stopped.
    Drained(DrainOutcome),
    /// The instance is of no use.
    Failed(Failure),
}

/// Why an instance is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// A boot step failed for good.
    Step {
        /// Which.
        index: usize,
    },
    /// The worker restarts again and again, or its supervisor gave it up.
    CrashLoop {
        /// So many.
        restarts: u32,
    },
}

/// Whether there is a worker to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The step to go on with where boot is broken off.
    next_step: usize,
    connection: Connection,
    readiness: Readiness,
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
            epoch: 0,
            actions: Vec::new(),
            config,
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What the proof lacks; `None` where it is complete.
    pub fn missing(&self, now: Timestamp) -> Option<Missing> {
        match self.readiness.verdict(now, &self.config) {
            Verdict::Proven => None,
            Verdict::Missing(missing) => Some(missing),
            Verdict::CrashLoop { .. } => Some(Missing::Process),
        }
    }

    /// The coordinator is there.
    pub fn is_connected(&self) -> bool {
        self.connection.is_up()
    }

    /// Takes in what happened. What there is to do is left for `poll`.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Identified => self.identified(now),
            Event::Registered => self.connection.registered(now),
            Event::RegistrationFailed(refusal) => self.connection.refused(now, refusal, &self.config),
            Event::Connected { epoch } => self.connected(epoch),
            Event::Disconnected { token_refused } => self.connection.lost(now, token_refused, &self.config),
            Event::StepFinished { index, outcome } => self.step_finished(now, index, outcome),
            Event::Observed(seen) => self.observed(now, &seen),
            Event::Interruption { at } => self.interrupted(now, at),
            Event::Command { epoch, id, command } => self.command(now, epoch, id, command),
            Event::WorkerStopped { killed, jobs_left } => self.worker_stopped(killed, jobs_left),
            Event::WorkerStarted => {}
        }
    }

    /// What there is to do now, once each.
    pub fn poll(&mut self, now: Timestamp) -> Vec<Action> {
        self.actions.extend(self.connection.poll(now));
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
                let action = drain.poll(now, self.readiness.worker.as_ref(), config);
                if action == Some(Action::StopWorker) {
                    self.life = Life::Stopping;
                }
                self.actions.extend(action);
            }
            _ => {}
        }
        core::mem::take(&mut self.actions)
    }

    /// When `poll` has something to do next, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let config = &self.config;
        let own = match &self.phase {
            Phase::Booting { again_at, .. } => *again_at,
            Phase::Ready { proven_at, lost_since } => {
                let unknown = proven_at.plus(config.unknown_after);
                Some(lost_since.map_or(unknown, |since| unknown.min(since.plus(config.lost_after))))
            }
            Phase::Draining(drain) => Some(drain.next_deadline(self.readiness.worker.as_ref(), config)),
            _ => None,
        };
        [own, self.connection.deadline()].into_iter().flatten().min()
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
            // It ended while a drain broke the boot off: it need not run again.
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

    fn connected(&mut self, epoch: u64) {
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
        let verdict = self.readiness.verdict(now, &self.config);
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
                // Silence is not evidence: it has a patience of its own.
                Verdict::Missing(Missing::Supervisor | Missing::Redis) => *lost_since = None,
                _ => *lost_since = lost_since.or(Some(now)),
            },
            Phase::Draining(drain) => drain.observe(seen.jobs.as_ref()),
            _ => {}
        }
    }
}
