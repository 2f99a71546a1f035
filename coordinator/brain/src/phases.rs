//! What each phase of an instance's life asks for at a tick: one file for each, with a deadline that is enforced.

mod booting;
pub(crate) mod draining;
mod handing_back;
mod launching;
mod ready;
mod rebalance;
mod scale_in;
mod scale_out;
mod terminating;

pub(crate) use handing_back::tick as hand_back;
pub(crate) use rebalance::{fence, replace};
pub(crate) use scale_in::scale_in;
pub(crate) use scale_out::scale_out;

use crate::config::Config;
use crate::decision::{Plan, Planned};
use crate::event::Ec2State;
use crate::instance::{Instance, Phase};
use crate::state::State;
use crate::{Decision, DrainCause, Reason, Timestamp};

/// Lets every instance act by its phase. Only called while queues and EC2 are both seen.
pub(crate) fn tick(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    let wants_launches = state.hold.is_none()
        && state.desired.is_some_and(|desired| desired > 0)
        && state.demand().is_some_and(|demand| demand > 0);
    let mut failed_boots = 0;
    let mut overdue = Vec::new();
    let led_since = state.led_since;
    for instance in &mut state.instances {
        if is_stopped(instance) {
            let state = instance.ec2_state.map_or("stopped", Ec2State::as_str).to_owned();
            plan.decisions.extend(terminating::begin(instance, now, config, Reason::Stopped { state }));
            continue;
        }
        if let Some(planned) = interrupted(instance, now) {
            plan.decisions.push(planned);
        }
        match instance.phase {
            Phase::Launching { .. } => launching::tick(instance, now, wants_launches, plan),
            Phase::Booting { .. } => failed_boots += u32::from(booting::tick(instance, now, config, plan)),
            Phase::Ready => ready::tick(instance, now, config, plan),
            Phase::Draining { .. } => {
                overdue.extend(draining::tick(instance, now, led_since, config, plan));
            }
            Phase::Terminating { .. } => terminating::tick(instance, now, config, plan),
            Phase::Gone => {}
        }
    }
    rebalance::go_on(state, now, config, plan);
    for _ in 0..failed_boots {
        state.boot_failed(now, config);
    }
    for reason in overdue {
        state.raise(crate::AlertKind::DrainOverdue, reason);
    }
    if !state.instances.iter().any(|instance| matches!(instance.phase, Phase::Draining { .. })) {
        state.alerts.remove(&crate::AlertKind::DrainOverdue);
    }
}

fn is_stopped(instance: &Instance) -> bool {
    matches!(instance.ec2_state, Some(Ec2State::Stopping | Ec2State::Stopped))
        && !matches!(instance.phase, Phase::Terminating { .. } | Phase::Gone)
}

/// EC2 takes it: the agent drains on its own as well, this is the second word. A drain that is under way for another
/// reason has only until then.
fn interrupted(instance: &mut Instance, now: Timestamp) -> Option<Planned> {
    let at = instance.interrupted_at?;
    let reason = Reason::Interrupted { at, left: now.until(at) };
    match &mut instance.phase {
        Phase::Booting { .. } | Phase::Ready => draining::begin(instance, now, at, DrainCause::Interruption, reason),
        Phase::Draining { deadline, drained_at: None, .. } if at < *deadline => {
            *deadline = at;
            instance.drain_told_at = Some(now);
            Some(planned(Decision::Drain { id: instance.id.clone()?, deadline: at }, reason))
        }
        _ => None,
    }
}

fn planned(decision: Decision, reason: Reason) -> Planned {
    Planned { decision, reason }
}
