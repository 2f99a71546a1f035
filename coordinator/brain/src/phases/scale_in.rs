//! Scale-in: when more is there than wanted, the cheapest to lose are drained first.

use std::cmp::Reverse;

use super::draining;
use crate::Timestamp;
use crate::config::Config;
use crate::decision::{Note, Plan, Reason};
use crate::instance::{DrainCause, Instance, Phase};
use crate::state::State;

pub(crate) fn scale_in(state: &mut State, now: Timestamp, config: &Config, desired: u32, plan: &mut Plan) {
    let counts = state.counts(now);
    let idle = plan.notes.iter().any(|note| matches!(note, Note::Idle { .. }));
    let excess = counts.capacity_to_be().saturating_sub(desired);
    if excess == 0 {
        return;
    }
    let mut candidates: Vec<&mut Instance> = state
        .instances
        .iter_mut()
        .filter(|instance| instance.is_capacity() || matches!(instance.phase, Phase::Booting { .. }))
        .collect();
    // A replacement and the one it is for are both there as long as nothing is in excess.
    let replacements = candidates.iter().filter(|it| it.replaces.is_some() && !it.is_capacity()).count();
    // Not yet ready, then what EC2 recommends against, then the fewest jobs, then the youngest. What is not known is
    // taken for many.
    candidates.sort_by_key(|instance| {
        let jobs = instance.active_jobs.unwrap_or(u32::MAX);
        (
            instance.is_capacity(),
            instance.replaces.is_none(),
            instance.rebalance.is_none(),
            jobs,
            Reverse(instance.planned_at),
        )
    });
    let deadline = now + config.drain_timeout;
    for instance in candidates.into_iter().take(excess as usize + replacements) {
        let reason = Reason::ScaleIn { desired, idle };
        plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::ScaleIn, reason));
    }
}
