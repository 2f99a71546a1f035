//! How a drain begins, is cancelled and ends. Owns what a command or a notice does to the phase; the drain's own course
//! is `drain`'s.

use super::{Life, Machine, Phase};
use crate::{Action, Command, Drain, DrainOutcome, LastReason, Report, Stage, Timestamp};

impl Machine {
    pub(super) fn interrupted(&mut self, now: Timestamp, at: Timestamp) {
        if let Phase::Draining(drain) = &mut self.phase {
            drain.forced = true;
            drain.interrupted = true;
            drain.cancelled = false;
            drain.deadline = drain.deadline.min(at);
        } else if let Phase::Drained(outcome) = &mut self.phase {
            outcome.forced = true;
        } else {
            self.drain(now, None, at);
            if let Phase::Draining(drain) = &mut self.phase {
                drain.interrupted = true;
            }
        }
    }

    /// The jobs that run here, as the processes report them, else as Redis shows them; `None` where unknown.
    pub(super) fn jobs_known(&self) -> Option<u32> {
        // No worker can hold a job before the steps are done, or after its stop.
        if self.life == Life::Stopped || matches!(self.phase, Phase::Booting { .. } | Phase::Failed(_)) {
            return Some(0);
        }
        self.shims.jobs().or_else(|| self.readiness.jobs().and_then(|jobs| jobs.active))
    }

    /// The dead-man's switch: drains, then powers off.
    pub(super) fn poll_dead_man(&mut self, now: Timestamp) {
        if self.phase == Phase::Identifying {
            return;
        }
        let Some(reason) = self.dead_man.reason(now, self.jobs_known(), &self.config) else {
            if let Phase::Drained(outcome) = &self.phase
                && let Some(reason) = outcome.last
                && self.dead_man.power_off(now)
            {
                self.actions.push(Action::PowerOff(reason));
            }
            return;
        };
        self.ends(now, reason);
    }

    /// Powers off: at once where the worker is stopped, else after a drain.
    fn ends(&mut self, now: Timestamp, reason: LastReason) {
        match &mut self.phase {
            Phase::Drained(outcome) => {
                outcome.last = Some(reason);
                if self.dead_man.power_off(now) {
                    self.actions.push(Action::PowerOff(reason));
                }
            }
            // Without a coordinator nothing cancels it; an instance that is only too old finishes its jobs.
            Phase::Draining(drain) if drain.last.is_none() => {
                drain.last = Some(reason);
                drain.deadline = drain.deadline.min(now.plus(self.config.last_drain));
            }
            Phase::Draining(_) => {}
            _ => {
                self.drain(now, None, now.plus(self.config.last_drain));
                if let Phase::Draining(drain) = &mut self.phase {
                    drain.last = Some(reason);
                }
            }
        }
    }

    /// The coordinator came back: an orphan's drain is cancelled, unless its worker is already being stopped.
    pub(super) fn cancel_orphan_drain(&mut self) {
        match &mut self.phase {
            Phase::Draining(drain) if drain.last == Some(LastReason::Orphaned) => {
                drain.last = None;
                if drain.command.is_none() && drain.forced && !drain.interrupted {
                    match drain.stage == Stage::Waiting && !drain.has_frozen() {
                        true => self.resume(false),
                        // Stopping already: the coordinator receives the drained report, and decides.
                        false => drain.forced = false,
                    }
                }
            }
            Phase::Drained(outcome) if outcome.last == Some(LastReason::Orphaned) => outcome.last = None,
            _ => {}
        }
    }

    pub(super) fn command(&mut self, now: Timestamp, epoch: u64, id: String, command: Command) {
        let refused = if epoch < self.epoch {
            Some(format!("epoch {epoch} is old: the leader's is {}", self.epoch))
        } else {
            self.epoch = epoch;
            match command {
                Command::Drain { deadline } => self.drain_command(now, &id, deadline),
                Command::CancelDrain => self.cancel_drain(),
                Command::PowerOff => {
                    self.ends(now, LastReason::Told);
                    None
                }
                Command::Rehearse { deadline } => {
                    self.report(Report::Rehearsed { at: deadline });
                    self.interrupted(now, deadline);
                    None
                }
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
        let jobs = self.shims.jobs().or_else(|| self.readiness.jobs().and_then(|jobs| jobs.active));
        let mut drain = Drain::new(now, command, deadline, jobs);
        match self.life {
            Life::Stopped => drain.stopped(now, false),
            // The stop of a crash loop is in progress: this drain ends with it.
            Life::Stopping => drain.stage = Stage::Stopping(now),
            Life::Started => self.actions.push(Action::Fence),
        }
        self.enter(Phase::Draining(drain));
    }

    fn cancel_drain(&mut self) -> Option<String> {
        match &mut self.phase {
            Phase::Draining(drain) if drain.forced => {
                Some("EC2 is about to interrupt the instance: this drain cannot be cancelled".to_owned())
            }
            Phase::Draining(Drain { last: Some(LastReason::Told), .. })
            | Phase::Drained(DrainOutcome { last: Some(LastReason::Told), .. }) => {
                Some("the instance powers itself off: this drain cannot be cancelled".to_owned())
            }
            Phase::Draining(Drain { last: Some(LastReason::TooOld), .. })
            | Phase::Drained(DrainOutcome { last: Some(LastReason::TooOld), .. }) => {
                Some("the instance is older than max_life: this drain cannot be cancelled".to_owned())
            }
            Phase::Draining(drain) if drain.stage == Stage::Waiting && !drain.has_frozen() => {
                self.resume(false);
                None
            }
            Phase::Draining(drain) => {
                drain.cancelled = true;
                None
            }
            Phase::Drained(outcome) if outcome.forced => {
                Some("EC2 is about to interrupt the instance: this drain cannot be cancelled".to_owned())
            }
            Phase::Drained(_) => {
                self.resume(true);
                None
            }
            _ => None,
        }
    }

    /// Takes jobs again after a drain: resumes the boot where it was aborted, else waits for the worker proof again.
    fn resume(&mut self, stopped: bool) {
        self.life = Life::Started;
        self.actions.push(Action::Unfence);
        if self.next_step < self.config.step_retries.len() {
            // An earlier step may have started what was stopped.
            let step = if stopped { 0 } else { self.next_step };
            return self.boot_from(Timestamp(0), step);
        }
        if stopped {
            self.readiness.start();
            self.actions.push(Action::StartWorker);
        }
        self.enter(Phase::Proving);
    }

    pub(super) fn worker_stopped(&mut self, now: Timestamp, killed: bool) {
        self.life = Life::Stopped;
        self.shims.seen(now, Vec::new());
        match &mut self.phase {
            Phase::Draining(drain) => drain.stopped(now, killed),
            // The coordinator's drain may come late: until then nothing else would hand the jobs back.
            Phase::Failed(_) => self.actions.push(Action::HandBackOutside),
            _ => {}
        }
    }

    pub(super) fn handed_back_outside(&mut self, now: Timestamp, jobs: u32, left: Option<u32>, again: bool) {
        let Phase::Draining(drain) = &mut self.phase else { return };
        if !drain.handed_back_outside(now, jobs, again) {
            return;
        }
        if drain.cancelled {
            return self.resume(true);
        }
        let outcome = outcome(drain, left);
        self.enter(Phase::Drained(outcome.clone()));
        self.report(Report::Drained(outcome));
    }
}

fn outcome(drain: &Drain, jobs_left: Option<u32>) -> DrainOutcome {
    DrainOutcome {
        command: drain.command.clone(),
        forced: drain.forced,
        // Where the jobs are unknown, a worker that stopped by itself is the proof.
        clean: drain.handed_back == 0 && jobs_left.map_or(!drain.killed, |left| left == 0),
        jobs_finished: drain
            .jobs_seen
            .unwrap_or(0)
            .saturating_sub(drain.handed_back)
            .saturating_sub(jobs_left.unwrap_or(0)),
        handed_back: drain.handed_back,
        jobs_left,
        killed: drain.killed,
        last: drain.last,
    }
}
