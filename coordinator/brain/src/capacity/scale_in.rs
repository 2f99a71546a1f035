//! Scale-in: when there is more capacity than desired, the cheapest to lose are drained first.

use std::cmp::Reverse;

use super::steps::Wanted;
use crate::config::Config;
use crate::instance::Instance;
use crate::phase::{DrainCause, PhaseKind};
use crate::phases::draining;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

pub(super) fn scale_in(state: &mut State, now: Timestamp, config: &Config, wanted: &Wanted, plan: &mut Plan) {
    let counts = state.counts(now);
    let (desired, idle) = (wanted.desired, wanted.is_idle);
    let excess = counts.capacity_to_be().saturating_sub(desired);
    if excess == 0 {
        return;
    }
    let mut candidates: Vec<&mut Instance> = state
        .instances
        .iter_mut()
        .filter(|instance| instance.phase_kind() == PhaseKind::Booting || instance.is_capacity())
        .collect();
    // A replacement that is still starting is not counted as excess (`capacity_to_be`), but goes with the instance it is for.
    let replacements = candidates.iter().filter(|it| it.replaces.is_some() && !it.is_capacity()).count();
    // Not yet ready, then what EC2 recommends against, then the fewest jobs, then the youngest. An unknown
    // number of jobs counts as many.
    candidates.sort_by_key(|instance| {
        let jobs = instance.agent.active_jobs.unwrap_or(u32::MAX);
        (
            instance.is_capacity(),
            instance.replaces.is_none(),
            instance.ec2.rebalance.is_none(),
            jobs,
            Reverse(instance.planned_at),
        )
    });
    let deadline = now + config.drain_timeout;
    for instance in candidates.into_iter().take(excess as usize + replacements) {
        let reason = if config.retired { Reason::PoolRetired } else { Reason::ScaleIn { desired, idle } };
        plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::ScaleIn, reason));
    }
}
