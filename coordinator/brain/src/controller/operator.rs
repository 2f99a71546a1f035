//! What operators ask for: what it does, and why it is rejected.

use std::fmt;

use super::drill::{self, NoDrill};
use crate::capacity::{early_ends, scale_in};
use crate::config::Config;
use crate::event::{AgentPhase, Event};
use crate::id::InstanceId;
use crate::or_empty;
use crate::phase::{DrainCause, PhaseKind};
use crate::phases::{draining, launching, terminating};
use crate::plan::AlertKind;
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;
use crate::words::counted;

/// Why what an operator asks for has no effect now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    NoSuchInstance {
        id: InstanceId,
    },
    /// Only a booting or ready instance can be drained.
    NotDrainable {
        id: InstanceId,
        phase: PhaseKind,
    },
    /// None of its drains can be cancelled: none is under way, or it is past the point of return.
    NoDrainToCancel {
        id: InstanceId,
        phase: PhaseKind,
        interrupted: bool,
        has_failed: bool,
    },
    /// The next tick would drain it again: without it there are as many as desired.
    WouldDrainAgain {
        id: InstanceId,
        desired: u32,
    },
    NoDrill(NoDrill),
    NotAnOperators,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::NoSuchInstance { id } => write!(f, "no instance {id} here: `spillway status --all` lists them"),
            Rejection::NotDrainable { id, phase } => {
                write!(f, "{id} is {phase}: only a booting or ready instance can be drained")
            }
            Rejection::NoDrainToCancel { id, phase, interrupted, has_failed } => {
                let going = match (interrupted, has_failed) {
                    (true, _) => " and EC2 reclaims it",
                    (false, true) => " and its boot failed",
                    (false, false) => "",
                };
                write!(f, "{id} is {phase}{going}: it has no drain that can be cancelled")
            }
            Rejection::WouldDrainAgain { id, desired } => {
                let others = if *desired == 0 { "" } else { ", and without it that many are ready or starting" };
                write!(
                    f,
                    "{id} would be drained again at once: {} desired{others}. Run `spillway hold` first, then cancel \
                     the drain",
                    counted(*desired, "instance")
                )
            }
            Rejection::NoDrill(why) => why.fmt(f),
            Rejection::NotAnOperators => write!(f, "not an operator's request"),
        }
    }
}

/// Whether it would have an effect now.
pub(super) fn check(state: &State, now: Timestamp, event: &Event, config: &Config) -> Result<(), Rejection> {
    match event {
        Event::OperatorHold { .. } | Event::OperatorResume { .. } => Ok(()),
        Event::OperatorDrain { id, .. } => {
            let instance = known(state, id)?;
            let phase = instance.phase_kind();
            if instance.is_kept(now) {
                return Ok(());
            }
            if phase.can_be_drained() { Ok(()) } else { Err(Rejection::NotDrainable { id: id.clone(), phase }) }
        }
        Event::OperatorCancelDrain { id, .. } => {
            let instance = known(state, id)?;
            if !instance.drain_can_be_cancelled() {
                let (phase, interrupted) = (instance.phase_kind(), instance.ec2.interrupted_at.is_some());
                let has_failed = instance.agent.phase == Some(AgentPhase::Failed);
                return Err(Rejection::NoDrainToCancel { id: id.clone(), phase, interrupted, has_failed });
            }
            match would_drain_again(state, now, id, config) {
                Some(desired) => Err(Rejection::WouldDrainAgain { id: id.clone(), desired }),
                None => Ok(()),
            }
        }
        Event::OperatorDrill { instances, .. } => {
            drill::check(state, now, *instances, config).map_err(Rejection::NoDrill)
        }
        _ => Err(Rejection::NotAnOperators),
    }
}

fn known<'a>(state: &'a State, id: &InstanceId) -> Result<&'a crate::instance::Instance, Rejection> {
    state.instance(id).ok_or_else(|| Rejection::NoSuchInstance { id: id.clone() })
}

/// Whether its drain, cancelled now, would begin again at the next tick because of desired capacity, which is returned.
/// Not while the pool is held.
fn would_drain_again(state: &State, now: Timestamp, id: &InstanceId, config: &Config) -> Option<u32> {
    let desired = state.desired.filter(|_| state.hold.is_none())?;
    let mut after = state.clone();
    let instance = after.by_id(id)?;
    draining::cancel(instance, now, config, Reason::OperatorAsked { reason: None })?;
    let token = instance.token.clone();
    scale_in::excess(&after, now, desired).contains(&token).then_some(desired)
}

/// Ends a hold and every back-off: what failed is tried again at once.
pub(super) fn resume(state: &mut State, now: Timestamp, by: String) {
    state.hold = None;
    state.held_since = None;
    state.resumed = Some(by);
    state.forget_refusals();
    state.breaker.reset(now);
    state.breaker_set_aside = None;
    state.alerts.remove(&AlertKind::BootsFail);
    for instance in &mut state.instances {
        launching::forget_back_off(instance, now);
        terminating::forget_back_off(instance, now);
        instance.owed.hand_back.iter_mut().for_each(|hand_back| hand_back.forget_back_off(now));
    }
    early_ends::end_row(state);
}

pub(super) fn drain(state: &mut State, now: Timestamp, id: InstanceId, reason: String, config: &Config) {
    let deadline = now + config.drain_timeout;
    if let Some(kept) = state.by_id(&id).filter(|instance| instance.is_kept(now)) {
        // It is drained already: nobody needs to look at it any more.
        kept.kept_until = None;
        return;
    }
    if let Some(instance) = state.by_id(&id).filter(|instance| instance.phase_kind().can_be_drained()) {
        let reason = Reason::OperatorAsked { reason: or_empty::some(reason) };
        let planned = draining::begin(instance, now, deadline, DrainCause::Operator, reason);
        state.pending.extend(planned);
    }
}

pub(super) fn cancel_drain(state: &mut State, now: Timestamp, id: InstanceId, by: String, config: &Config) {
    if would_drain_again(state, now, &id, config).is_some() {
        return;
    }
    if let Some(instance) = state.by_id(&id) {
        let reason = Reason::OperatorAsked { reason: or_empty::some(by) };
        let planned = draining::cancel(instance, now, config, reason);
        state.pending.extend(planned);
    }
}
