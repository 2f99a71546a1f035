//! Terminating: TerminateInstances was decided, and is retried until EC2's list shows it. Or EC2 shuts it down by
//! itself. Where EC2 refuses, a person is told, and the agent powers the instance off: it bills, and holds the cap.
//!
//! It becomes Gone when EC2's list says so.

use crate::backoff;
use crate::config::Config;
use crate::ending;
use crate::event::Ec2State;
use crate::instance::{Instance, NotTerminated};
use crate::note::Note;
use crate::phase::{Phase, PhaseKind};
use crate::plan::{Decision, Plan, Planned};
use crate::reason::Reason;
use crate::refusal_class::RefusalClass;
use crate::state_reason::StateReason;
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

/// EC2 refused to terminate it: retried after a back-off, within `terminate_timeout` whatever the class. That EC2 does
/// not know the instance is no proof of anything: its list is.
pub(crate) fn refused(
    instance: &mut Instance,
    now: Timestamp,
    (class, detail): (RefusalClass, String),
    config: &Config,
) {
    let Phase::Terminating { attempts, next_try } = &mut instance.phase else { return };
    let wait = if class.is_definite() { config.terminate_timeout } else { backoff::wait(config, class, *attempts) };
    *next_try = now + wait.min(config.terminate_timeout);
    instance.problem = Some(format!("EC2 refused to terminate it: {detail}"));
    let before = instance.not_terminated.take();
    let since = before.as_ref().map_or(now, |before| before.since);
    let alerted = before.is_some_and(|before| before.alerted);
    let power_off_due = class.is_definite() || now.since(since) >= config.terminate_timeout;
    instance.not_terminated = Some(NotTerminated { class, detail, since, alerted, power_off_due });
}

/// EC2 accepted to terminate it.
pub(crate) fn accepted(instance: &mut Instance) {
    if instance.not_terminated.take().is_some() {
        instance.problem = None;
    }
}

/// Whoever asked EC2 is gone.
pub(crate) fn ask_again(instance: &mut Instance, now: Timestamp) {
    if let Phase::Terminating { next_try, .. } = &mut instance.phase {
        *next_try = now;
    }
}

/// A back-off is over early.
pub(crate) fn forget_back_off(instance: &mut Instance, now: Timestamp) {
    if instance.not_terminated.is_some() {
        ask_again(instance, now);
    }
}

/// What its agent said of its jobs was said to somebody else.
pub(crate) fn expect_to_hear_again(instance: &mut Instance) {
    if instance.phase_kind() == PhaseKind::Terminating && instance.ec2.state != Some(Ec2State::Terminated) {
        instance.owed.hand_back = None;
    }
}

/// The reason for an alert, where EC2 refuses and no person was told yet.
pub(crate) fn tick(instance: &mut Instance, now: Timestamp, config: &Config, plan: &mut Plan) -> Option<Reason> {
    let Phase::Terminating { attempts, next_try } = &mut instance.phase else { return None };
    if matches!(instance.ec2.state, Some(Ec2State::ShuttingDown | Ec2State::Terminated)) {
        instance.not_terminated = None;
        return None;
    }
    let id = instance.id.clone()?;
    if now >= *next_try {
        *attempts += 1;
        *next_try = now + config.terminate_timeout;
        let reason = Reason::TerminateAgain { attempt: *attempts };
        plan.decisions.push(Planned::new(Decision::Terminate { id: id.clone() }, reason));
    }
    let left = now.until(*next_try);
    let refused = instance.not_terminated.as_mut()?;
    let detail = refused.detail.clone();
    plan.notes.push(Note::NotTerminated { id: id.clone(), detail: detail.clone(), left });
    let is_due = std::mem::take(&mut refused.power_off_due);
    if is_due && instance.agent.registered {
        plan.decisions.push(Planned::new(
            Decision::PowerOff { id: id.clone() },
            Reason::NotTerminated { id: id.clone(), detail: detail.clone() },
        ));
    }
    let is_news = is_due && !refused.alerted;
    refused.alerted |= is_due;
    is_news.then_some(Reason::NotTerminated { id, detail })
}
