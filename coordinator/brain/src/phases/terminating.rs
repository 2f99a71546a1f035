//! Terminating: TerminateInstances was decided, and is decided again until EC2's list shows it.

use super::planned;
use crate::Timestamp;
use crate::config::Config;
use crate::decision::{Decision, Plan, Planned, Reason};
use crate::event::Ec2State;
use crate::instance::{Instance, Phase};

pub(super) fn begin(instance: &mut Instance, now: Timestamp, config: &Config, reason: Reason) -> Option<Planned> {
    let id = instance.id.clone()?;
    let next_try = now + config.terminate_timeout;
    instance.enter(now, Phase::Terminating { attempts: 1, next_try }, reason.to_string());
    Some(planned(Decision::Terminate { id }, reason))
}

pub(super) fn tick(instance: &mut Instance, now: Timestamp, config: &Config, plan: &mut Plan) {
    let Phase::Terminating { attempts, next_try } = &mut instance.phase else { return };
    if now < *next_try || matches!(instance.ec2_state, Some(Ec2State::ShuttingDown | Ec2State::Terminated)) {
        return;
    }
    let Some(id) = instance.id.clone() else { return };
    *attempts += 1;
    *next_try = now + config.terminate_timeout;
    let reason = Reason::TerminateAgain { attempt: *attempts };
    plan.decisions.push(planned(Decision::Terminate { id }, reason));
}
