//! Scale-in: when there is more capacity than desired, the cheapest to lose are drained first. An instance that is to
//! be replaced and its replacement count as one, and go together: without the replacement the next tick would launch
//! another, and without the other one nothing would be gained.

use std::cmp::Reverse;

use super::wanted::Wanted;
use crate::config::Config;
use crate::id::LaunchToken;
use crate::instance::Instance;
use crate::phase::{DrainCause, PhaseKind};
use crate::phases::draining;
use crate::plan::Plan;
use crate::state::State;
use crate::time::Timestamp;

pub(super) fn scale_in(state: &mut State, now: Timestamp, config: &Config, wanted: &Wanted, plan: &mut Plan) {
    let desired = wanted.desired;
    let deadline = now + config.drain_timeout;
    for token in excess(state, now, desired) {
        let Some(instance) = state.by_token(&token) else { continue };
        let reason = wanted.excess.reason(desired);
        plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::ScaleIn, reason));
    }
}

/// What would be drained now, so that no more than `desired` are left: in this order.
pub(crate) fn excess(state: &State, now: Timestamp, desired: u32) -> Vec<LaunchToken> {
    let is_launching = |it: &&Instance| it.phase_kind() == PhaseKind::Launching && it.is_on_its_way(now);
    // What EC2 has not accepted yet cannot be drained. Nothing else goes in its place: it will, once it boots.
    let launching = match desired {
        0 => 0,
        _ => state.instances.iter().filter(is_launching).filter(|it| it.replaces.is_none() && !it.is_for_drill).count(),
    };
    let excess = state.counts(now).capacity_without_drill().saturating_sub(desired) as usize;
    let excess = excess.saturating_sub(launching);
    if excess == 0 {
        return Vec::new();
    }
    let replacement_of = |old: &Instance| {
        let replaces = |it: &&Instance| it.replaces.is_some() && it.replaces == old.id && it.is_on_its_way(now);
        state.instances.iter().find(replaces).filter(|_| old.is_capacity())
    };
    let can_be_drained = |it: &&Instance| it.phase_kind() == PhaseKind::Booting || it.is_capacity();
    // Those of a drill end with it.
    let candidates = || state.instances.iter().filter(|it| !it.is_for_drill).filter(can_be_drained);
    let goes_with_another =
        |it: &Instance| candidates().any(|old| replacement_of(old).is_some_and(|by| by.token == it.token));
    let mut alone: Vec<&Instance> = candidates().filter(|it| !goes_with_another(it)).collect();
    alone.sort_by_key(|instance| cost(instance));
    let chosen = alone.into_iter().take(excess);
    // The old one first, then its replacement.
    chosen.flat_map(|it| std::iter::once(it).chain(replacement_of(it))).map(|it| it.token.clone()).collect()
}

/// What is lost with it, the least first: what was never ready, then what is not ready now, then what EC2 recommends
/// against or has scheduled an event for, then the fewest jobs, then the youngest. An unknown number of jobs counts as
/// many, unless no agent can have begun one.
fn cost(instance: &Instance) -> impl Ord + use<> {
    let is_untouched = !instance.agent.registered && !instance.adopted;
    let jobs = instance.agent.active_jobs.unwrap_or(if is_untouched { 0 } else { u32::MAX });
    (
        instance.is_capacity(),
        instance.ready_at.is_some(),
        instance.ec2.rebalance.is_none() && instance.ec2.scheduled.is_none(),
        jobs,
        Reverse(instance.planned_at),
    )
}
