//! Carries out decisions: nothing is left to decide here.

use std::time::Duration;

use spillway_brain::{Decision, Planned, Reason};
use spillway_machine as machine;
use spillway_pool::{Command, Denied, Effect, Granted, Input};

use super::{name, number};
use crate::agenda::{C, CoordinatorEv};
use crate::counts::Occurrence;
use crate::say;
use crate::world::World;

impl World {
    pub(super) fn carry_out(&mut self, c: C, effect: Effect) {
        match effect {
            Effect::Decided(planned) => self.decided(c, &planned),
            Effect::Launch { token } => self.calls_ec2(c, Decision::Launch { token }),
            Effect::Terminate { id } => self.calls_ec2(c, Decision::Terminate { id }),
            Effect::Command { id, epoch, command: Command::Drain { deadline, left, .. } } => {
                let n = number(&id);
                self.check_allowed(c, &Decision::Drain { id, deadline });
                self.hosts[n].told_at.get_or_insert(self.now);
                // The agent converts the wall clock's time to the machine's own clock.
                let deadline = machine::Timestamp(deadline.0);
                self.command(c, n, epoch, (machine::Command::Drain { deadline }, left));
            }
            Effect::Command { id, epoch, command: Command::CancelDrain } => {
                let n = number(&id);
                self.check_allowed(c, &Decision::CancelDrain { id });
                self.hosts[n].told_at = None;
                self.command(c, n, epoch, (machine::Command::CancelDrain, Duration::ZERO));
            }
            Effect::Command { id, epoch, command: Command::PowerOff { .. } } => {
                let n = number(&id);
                self.check_allowed(c, &Decision::PowerOff { id });
                self.command(c, n, epoch, (machine::Command::PowerOff, Duration::ZERO));
            }
            Effect::HandBack(attempt) => {
                let (id, certain, sudden) = (attempt.id.clone(), attempt.certain, attempt.sudden);
                self.check_allowed(c, &Decision::HandBack { id, certain, sudden });
                let at = self.now + self.net.latency(self.now, &mut self.rng);
                self.put_coordinator(c, at, CoordinatorEv::HandBack(Box::new(attempt)));
            }
            Effect::Rehearse { epoch, rehearsal } => {
                let deadline = machine::Timestamp(rehearsal.deadline.0);
                let n = number(&rehearsal.id);
                let command = (machine::Command::Rehearse { deadline }, rehearsal.notice);
                let is_delivered = self.command(c, n, epoch, command);
                self.feed(c, Input::Rehearsed { rehearsal, is_delivered });
            }
            _ => {}
        }
    }

    fn calls_ec2(&mut self, c: C, decision: Decision) {
        self.check_allowed(c, &decision);
        let saved_at = self.coordinators[c].obligations.saved_at;
        self.ec2_call(c, &decision, saved_at);
    }

    fn decided(&mut self, c: C, planned: &Planned) {
        let Planned { decision, reason } = planned;
        say!(self, "{} {} {}: {reason}", name(c), verb(decision), decision.subject());
        self.trace.mix_text(decision.kind());
        self.trace.mix_text(decision.subject());
        let occurrence = match decision {
            Decision::Launch { token } => {
                let is_new = self.issued.insert(token.clone());
                if is_new { Occurrence::Launch } else { Occurrence::LaunchAgain }
            }
            Decision::Drain { .. } => Occurrence::Drain,
            Decision::CancelDrain { .. } => Occurrence::CancelDrain,
            Decision::Terminate { .. } => Occurrence::Terminate,
            Decision::HandBack { .. } => Occurrence::HandBackAsked,
            Decision::PowerOff { .. } => Occurrence::PowerOffAsked,
            Decision::Alert { .. } => Occurrence::Alert,
        };
        self.count(occurrence);
        match (decision, reason) {
            (Decision::Terminate { .. }, Reason::DrainOverdue { .. }) => self.count(Occurrence::TerminateOverdue),
            (Decision::Drain { .. }, Reason::TakesNoJob { .. }) => self.count(Occurrence::TookNoJob),
            (Decision::Drain { .. }, Reason::NoJobByItsAgent { .. }) => self.count(Occurrence::JoblessEnded),
            (Decision::Terminate { .. }, Reason::StoppedUnseen { .. }) => self.count(Occurrence::EndedUnseen),
            (Decision::Launch { .. }, Reason::Replaces { .. }) => self.count(Occurrence::Replaced),
            (Decision::Launch { .. }, Reason::ReplacesScheduled { .. }) => self.count(Occurrence::ReplacedScheduled),
            (Decision::Drain { .. }, Reason::BootFailed { .. } | Reason::BootDeadline { .. }) => {
                self.count(Occurrence::BootFailed);
            }
            _ => {}
        }
    }

    /// What an operator was told will happen must be in the next plan.
    pub(super) fn operator_hears(&mut self, c: C, answer: Result<Granted, Denied>) {
        match answer {
            Ok(Granted::Held) => self.count(Occurrence::Hold),
            Ok(Granted::Resumed(_)) => self.count(Occurrence::Resumed),
            Ok(Granted::KeptNoLonger { .. }) => {}
            Ok(Granted::Drains { id }) => {
                self.count(Occurrence::OperatorDrain);
                self.coordinators[c].obligations.promised = Some((id, "drain"));
            }
            Ok(Granted::WorksAgain { id }) => {
                self.count(Occurrence::OperatorCancel);
                self.coordinators[c].obligations.promised = Some((id, "cancel_drain"));
            }
            Ok(Granted::Drills { .. }) => self.count(Occurrence::Drill),
            Ok(Granted::Rehearses { .. }) => self.count(Occurrence::Rehearsal),
            Err(denied) => {
                say!(self, "an operator's command is rejected: {denied}");
                self.count(Occurrence::Rejected);
            }
        }
    }
}

fn verb(decision: &Decision) -> &'static str {
    match decision {
        Decision::Launch { .. } => "launches token",
        Decision::Drain { .. } => "drains",
        Decision::CancelDrain { .. } => "cancels the drain of",
        Decision::Terminate { .. } => "terminates",
        Decision::HandBack { certain: true, .. } => "hands back the jobs of",
        Decision::HandBack { certain: false, .. } => "cautiously hands back the jobs of",
        Decision::PowerOff { .. } => "has the agent power off",
        Decision::Alert { .. } => "alerts",
    }
}
