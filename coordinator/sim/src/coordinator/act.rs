//! Doing what was decided, with no choice left to make.

use spillway_brain::{Decision, Planned, Reason};
use spillway_machine as machine;
use spillway_pool::{Command, Denied, Effect, Granted, Input};

use super::{name, number};
use crate::agenda::{C, CoordinatorEv};
use crate::counts::Met;
use crate::say;
use crate::world::World;

impl World {
    pub(super) fn carry_out(&mut self, c: C, effect: Effect) {
        match effect {
            Effect::Decided(planned) => self.decided(c, &planned),
            Effect::Launch { token } => self.calls_ec2(c, Decision::Launch { token }),
            Effect::Terminate { id } => self.calls_ec2(c, Decision::Terminate { id }),
            Effect::Command { id, epoch, command: Command::Drain { deadline, .. } } => {
                let n = number(&id);
                self.check_allowed(c, &Decision::Drain { id, deadline });
                self.hosts[n].told_to_drain(self.now, deadline.0);
                // The agent's machine counts by its own clock, which the wall clock's time is turned into there.
                let deadline = machine::Timestamp(deadline.0);
                self.command(c, n, epoch, machine::Command::Drain { deadline });
            }
            Effect::Command { id, epoch, command: Command::CancelDrain } => {
                let n = number(&id);
                self.check_allowed(c, &Decision::CancelDrain { id });
                self.hosts[n].told_at = None;
                self.command(c, n, epoch, machine::Command::CancelDrain);
            }
            Effect::HandBack(attempt) => {
                self.check_allowed(c, &Decision::HandBack { id: attempt.id.clone(), certain: attempt.certain });
                let at = self.now + self.net.latency(self.now, &mut self.rng);
                self.put_coordinator(c, at, CoordinatorEv::HandBack(Box::new(attempt)));
            }
            Effect::Rehearse { epoch, rehearsal } => {
                let deadline = machine::Timestamp(rehearsal.deadline.0);
                let n = number(&rehearsal.id);
                let is_delivered = self.command(c, n, epoch, machine::Command::Rehearse { deadline });
                self.tell(c, Input::Rehearsed { rehearsal, is_delivered });
            }
            _ => {}
        }
    }

    fn calls_ec2(&mut self, c: C, decision: Decision) {
        self.check_allowed(c, &decision);
        let saved_at = self.coordinators[c].watched.saved_at;
        self.ec2_call(c, &decision, saved_at);
    }

    fn decided(&mut self, c: C, planned: &Planned) {
        let Planned { decision, reason } = planned;
        say!(self, "{} {} {}: {reason}", name(c), verb(decision), decision.subject());
        self.trace.mix_text(decision.kind());
        self.trace.mix_text(decision.subject());
        let met = match decision {
            Decision::Launch { token } => {
                let is_new = self.issued.insert(token.clone());
                if is_new { Met::Launch } else { Met::LaunchAgain }
            }
            Decision::Drain { .. } => Met::Drain,
            Decision::CancelDrain { .. } => Met::CancelDrain,
            Decision::Terminate { .. } => Met::Terminate,
            Decision::HandBack { .. } => Met::HandBackAsked,
            Decision::Alert { .. } => Met::Alert,
        };
        self.met(met);
        match (decision, reason) {
            (Decision::Terminate { .. }, Reason::DrainOverdue { .. }) => self.met(Met::TerminateOverdue),
            (Decision::Launch { .. }, Reason::Replaces { .. }) => self.met(Met::Replaced),
            (Decision::Drain { .. }, Reason::BootFailed { .. } | Reason::BootDeadline { .. }) => {
                self.met(Met::BootFailed);
            }
            _ => {}
        }
    }

    /// What was granted must be in the next plan.
    pub(super) fn operator_hears(&mut self, c: C, answer: Result<Granted, Denied>) {
        match answer {
            Ok(Granted::Held) => self.met(Met::Hold),
            Ok(Granted::Resumed) => {}
            Ok(Granted::Drains { id }) => {
                self.met(Met::OperatorDrain);
                self.coordinators[c].watched.promised = Some((id, "drain"));
            }
            Ok(Granted::WorksAgain { id }) => {
                self.met(Met::OperatorCancel);
                self.coordinators[c].watched.promised = Some((id, "cancel_drain"));
            }
            Ok(Granted::Rehearses { .. }) => self.met(Met::Rehearsal),
            Err(denied) => {
                say!(self, "an operator is denied: {denied}");
                self.met(Met::Denied);
            }
        }
    }
}

fn verb(decision: &Decision) -> &'static str {
    match decision {
        Decision::Launch { .. } => "launches token",
        Decision::Drain { .. } => "drains",
        Decision::CancelDrain { .. } => "takes back the drain of",
        Decision::Terminate { .. } => "terminates",
        Decision::HandBack { certain: true, .. } => "hands back the jobs of",
        Decision::HandBack { certain: false, .. } => "hands back the unrenewed jobs of",
        Decision::Alert { .. } => "alerts",
    }
}
