//! Doing what a plan says, with no choice left to make.

use spillway_brain::{Decision, Plan, Planned, Reason};
use spillway_machine::Command;

use super::{name, number};
use crate::agenda::C;
use crate::counts::Met;
use crate::say;
use crate::world::World;

impl World {
    pub(super) fn execute(&mut self, c: C, plan: &Plan) {
        let saved_at = plan.at.0.saturating_add_signed(-self.setup.skew[c]);
        for planned in &plan.decisions {
            let Planned { decision, reason } = planned;
            say!(self, "{} {} {}: {reason}", name(c), verb(decision), decision.subject());
            self.trace.mix_text(decision.kind());
            self.trace.mix_text(decision.subject());
            self.count_decision(decision, reason);
            match decision {
                Decision::Launch { .. } | Decision::Terminate { .. } => self.ec2_call(c, decision, saved_at),
                Decision::Drain { id, deadline } => {
                    let n = number(id);
                    self.hosts[n].told_to_drain(self.now, deadline.0);
                    // The agent's machine counts by its own clock, which the wall clock's time is turned into there.
                    let deadline = spillway_machine::Timestamp(deadline.0);
                    self.command(c, n, Command::Drain { deadline });
                }
                Decision::CancelDrain { id } => {
                    self.hosts[number(id)].told_at = None;
                    self.command(c, number(id), Command::CancelDrain);
                }
                Decision::HandBack { id, certain } => self.hand_back(c, number(id), *certain),
                Decision::Alert { .. } => {}
            }
        }
    }

    fn count_decision(&mut self, decision: &Decision, reason: &Reason) {
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
