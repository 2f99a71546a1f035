//! Terminating: TerminateInstances was decided, and is retried until EC2's list shows it. Or EC2 shuts it down by
//! itself.
//!
//! It becomes Gone when EC2's list says so.

use crate::backoff;
use crate::config::Config;
use crate::ending;
use crate::event::{Ec2State, RefusalClass, StateReason};
use crate::instance::Instance;
use crate::phase::{Phase, PhaseKind};
use crate::plan::{Decision, Plan, Planned};
use crate::reason::Reason;
use crate::time::Timestamp;

pub(crate) fn begin(instance: &mut Instance, now: Timestamp, config: &Config, reason: Reason) -> Option<Planned> {
    let id = instance.id.clone()?;
    let next_try = now + config.terminate_timeout;
    instance.enter(now, Phase::Terminating { attempts: 1, next_try }, reason.to_string());
    instance.terminated_for = Some(reason.to_string());
    Some(Planned::new(Decision::Terminate { id }, reason))
}

/// EC2 stopped it: it does no work, whatever phase it is in.
pub(crate) fn stopped_by_ec2(instance: &mut Instance, now: Timestamp, config: &Config) -> Option<Planned> {
    let state = instance.ec2.state.filter(|state| matches!(state, Ec2State::Stopping | Ec2State::Stopped))?;
    if ends_already(instance) {
        return None;
    }
    instance.ends_by_itself(now);
    begin(instance, now, config, Reason::Stopped { state })
}

/// EC2's list shows it shutting down. True where nobody here had decided that.
pub(crate) fn shut_down_by_ec2(
    instance: &mut Instance,
    now: Timestamp,
    reason: Option<&StateReason>,
    config: &Config,
) -> bool {
    if ends_already(instance) {
        return false;
    }
    instance.ends_by_itself(now);
    let why = ending::shuts_down(instance, reason);
    let next_try = now + config.terminate_timeout;
    instance.enter(now, Phase::Terminating { attempts: 1, next_try }, why);
    true
}

fn ends_already(instance: &Instance) -> bool {
    matches!(instance.phase_kind(), PhaseKind::Terminating | PhaseKind::Gone)
}

/// EC2 refused to terminate it: retried after a back-off.
pub(crate) fn refused(instance: &mut Instance, now: Timestamp, class: RefusalClass, code: &str, config: &Config) {
    if let Phase::Terminating { attempts, next_try } = &mut instance.phase {
        *next_try = now + backoff::wait(config, class, *attempts).unwrap_or(config.terminate_timeout);
        instance.problem = Some(format!("EC2 refused to terminate it: {code}"));
    }
}

/// Whoever asked EC2 is gone.
pub(crate) fn ask_again(instance: &mut Instance, now: Timestamp) {
    if let Phase::Terminating { next_try, .. } = &mut instance.phase {
        *next_try = now;
    }
}

/// What its agent said of its jobs was said to somebody else.
pub(crate) fn expect_to_hear_again(instance: &mut Instance) {
    if instance.phase_kind() == PhaseKind::Terminating && instance.ec2.state != Some(Ec2State::Terminated) {
        instance.owed.hand_back = None;
    }
}

pub(crate) fn tick(instance: &mut Instance, now: Timestamp, config: &Config, plan: &mut Plan) {
    let Phase::Terminating { attempts, next_try } = &mut instance.phase else { return };
    if now < *next_try || matches!(instance.ec2.state, Some(Ec2State::ShuttingDown | Ec2State::Terminated)) {
        return;
    }
    let Some(id) = instance.id.clone() else { return };
    *attempts += 1;
    *next_try = now + config.terminate_timeout;
    let reason = Reason::TerminateAgain { attempt: *attempts };
    plan.decisions.push(Planned::new(Decision::Terminate { id }, reason));
}
