//! The machine: phases and their transitions. Owns which phase follows which; step retries, readiness, drain and
//! connection each have their own file.

use crate::connection::Connection;
use crate::readiness::{Readiness, Verdict};
use crate::{
    Action, Command, Config, Drain, DrainOutcome, Event, Missing, Observation, Report, Stage, StepOutcome, Timestamp,
};
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

    fn interrupted(&mut self, now: Timestamp, at: Timestamp) {
        if let Phase::Draining(drain) = &mut self.phase {
            drain.forced = true;
            drain.cancelled = false;
            drain.deadline = drain.deadline.min(at);
        } else if let Phase::Drained(outcome) = &mut self.phase {
            outcome.forced = true;
        } else {
            self.drain(now, None, at);
        }
    }

    fn command(&mut self, now: Timestamp, epoch: u64, id: String, command: Command) {
        let refused = if epoch < self.epoch {
            Some(format!("epoch {epoch} is over: {} is the coordinator's", self.epoch))
        } else {
            self.epoch = epoch;
            match command {
                Command::Drain { deadline } => self.drain_command(now, &id, deadline),
                Command::CancelDrain => self.cancel_drain(),
            }
        };
        self.report(Report::CommandResult { id, refused });
    }

    fn drain_command(&mut self, now: Timestamp, id: &str, deadline: Timestamp) -> Option<String> {
        match &mut self.phase {
            Phase::Draining(drain) => {
                drain.cancelled = false;
                drain.deadline = if drain.forced { drain.deadline.min(deadline) } else { deadline };
                drain.command = Some(id.to_owned());
            }
            Phase::Drained(outcome) => {
                outcome.command = Some(id.to_owned());
                let outcome = outcome.clone();
                self.report(Report::Drained(outcome));
            }
            _ => self.drain(now, Some(id.to_owned()), deadline),
        }
        None
    }

    fn drain(&mut self, now: Timestamp, command: Option<String>, deadline: Timestamp) {
        let booting = matches!(self.phase, Phase::Identifying | Phase::Booting { .. });
        if booting {
            self.actions.push(Action::AbortStep);
        }
        let jobs = self.readiness.jobs().and_then(|jobs| jobs.active);
        let mut drain = Drain::new(now, command, deadline, jobs);
        match self.life {
            Life::Stopped => {
                let outcome = outcome(&drain, false, Some(0));
                self.enter(Phase::Drained(outcome.clone()));
                self.report(Report::Drained(outcome));
                return;
            }
            // A crash loop's stop is under way: its end is this drain's.
            Life::Stopping => drain.stage = Stage::Stopping,
            Life::Started => {}
        }
        self.enter(Phase::Draining(drain));
    }

    fn cancel_drain(&mut self) -> Option<String> {
        match &mut self.phase {
            Phase::Draining(drain) if drain.forced => Some("EC2 takes the instance: this drain stands".to_owned()),
            Phase::Draining(drain) if drain.stage == Stage::Waiting => {
                self.resume(false);
                None
            }
            Phase::Draining(drain) => {
                drain.cancelled = true;
                None
            }
            Phase::Drained(outcome) if outcome.forced => Some("EC2 takes the instance: this drain stands".to_owned()),
            Phase::Drained(_) => {
                self.resume(true);
                None
            }
            _ => None,
        }
    }

    /// Works again after a drain: goes on with the boot where it was broken off, else proves the worker once more.
    fn resume(&mut self, stopped: bool) {
        self.life = Life::Started;
        if self.next_step < self.config.step_retries.len() {
            // What was stopped may be what an earlier step had started.
            let step = if stopped { 0 } else { self.next_step };
            return self.boot_from(Timestamp(0), step);
        }
        if stopped {
            self.readiness.start();
            self.actions.push(Action::StartWorker);
        }
        self.enter(Phase::Proving);
    }

    fn worker_stopped(&mut self, killed: bool, jobs_left: Option<u32>) {
        self.life = Life::Stopped;
        let Phase::Draining(drain) = &self.phase else { return };
        if drain.cancelled {
            return self.resume(true);
        }
        let outcome = outcome(drain, killed, jobs_left);
        self.enter(Phase::Drained(outcome.clone()));
        self.report(Report::Drained(outcome));
    }
}

fn outcome(drain: &Drain, killed: bool, jobs_left: Option<u32>) -> DrainOutcome {
    DrainOutcome {
        command: drain.command.clone(),
        forced: drain.forced,
        // Where jobs cannot be told, the worker's own end is the proof.
        clean: jobs_left.map_or(!killed, |left| left == 0),
        jobs_finished: drain.jobs_seen.unwrap_or(0).saturating_sub(jobs_left.unwrap_or(0)),
        jobs_left,
        killed,
    }
}
