//! Rebalance recommendations: EC2 may reclaim the instance soon, or never. It keeps working and is capacity until its
//! replacement is ready (`launch_replacements`, `drain_replaced`), or is drained at once (`drain_recommended`). One at a time, a few in any hour, and a
//! replacement is not replaced in turn: where all of EC2's pools are recommended against, nothing churns.
//!
//! ```text
//!   recommended ──► replacement launched ──► replacement ready ──► drained
//!        ▲                   │
//!        └─ failed to boot ──┴── interrupted, drained or gone meanwhile: the replacement is an ordinary instance
//! ```

use std::time::Duration;

use super::scale_out;
use crate::config::{Config, OnRebalance};
use crate::id::{InstanceId, LaunchToken};
use crate::instance::Instance;
use crate::note::{Note, WorksOn};
use crate::phase::{DrainCause, PhaseKind};
use crate::phases::{draining, launching};
use crate::plan::{Decision, Plan, Planned};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// What `rebalance_limit` is counted over. A replacement that is itself recommended against within it is not replaced.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Drains a recommended instance once its replacement is ready; forgets the pair where either is no longer what it was.
pub(crate) fn drain_replaced(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    let under_way = |instance: &Instance| Some((instance.token.clone(), instance.replaces.clone()?));
    let pairs: Vec<(LaunchToken, InstanceId)> = state.instances.iter().filter_map(under_way).collect();
    for (token, id) in pairs {
        let Some(by) = state.by_token(&token) else { continue };
        let (is_ready, is_coming) = (by.is_capacity(), by.is_on_its_way(now));
        let (name, was_refused) = (by.name().to_owned(), by.is_gone() && by.id.is_none());
        let Some(instance) = state.by_id(&id).filter(|instance| instance.is_capacity() && (is_ready || is_coming))
        else {
            state.by_token(&token).into_iter().for_each(|by| by.replaces = None);
            if was_refused {
                state.rebalances.pop_back();
            }
            continue;
        };
        if is_ready {
            begin_drain(instance, now, config, Reason::Replaced { by: name }, plan);
            state.by_token(&token).into_iter().for_each(|by| by.replaces = None);
        } else {
            plan.notes.push(Note::RebalanceWaits { id, replacement: name });
        }
    }
}

/// With `rebalance = "fence"`: drains what EC2 recommends to replace, at once. Returning demand does not cancel these drains,
/// since they are what made room for the replacements.
pub(super) fn drain_recommended(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    if config.rebalance != OnRebalance::Fence {
        return;
    }
    for id in due(state, |instance| instance.is_capacity() || instance.phase_kind() == PhaseKind::Booting) {
        if let Some(why) = not_acted_on(state, now, config, &id) {
            plan.notes.push(Note::RebalanceHeld { id, why });
            continue;
        }
        state.rebalances.push_back(now);
        if let Some(instance) = state.by_id(&id) {
            begin_drain(instance, now, config, Reason::RebalanceRecommended, plan);
        }
    }
}

/// With `rebalance = "replace"`: launches a replacement for the instance with the oldest recommendation.
pub(super) fn launch_replacements(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    if config.rebalance != OnRebalance::Replace {
        return;
    }
    let is_replaced = |id: &InstanceId| state.instances.iter().any(|instance| instance.replaces.as_ref() == Some(id));
    let mut waiting = due(state, Instance::is_capacity);
    waiting.retain(|id| !is_replaced(id));
    for id in waiting {
        if let Some(why) = not_replaced(state, now, config, &id) {
            plan.notes.push(Note::RebalanceHeld { id, why });
            continue;
        }
        if let Some(note) = scale_out::launches_blocked(state, now) {
            plan.notes.push(note);
            return;
        }
        if scale_out::launches_left(state, now, config) == 0 {
            return;
        }
        state.rebalances.push_back(now);
        let token = launching::intend(state, now, config);
        if let Some(by) = state.by_token(&token) {
            (by.is_replacement, by.replaces) = (true, Some(id.clone()));
        }
        plan.decisions.push(Planned::new(Decision::Launch { token }, Reason::Replaces { id }));
    }
}

/// Instances whose recommendation has not been acted on, the oldest recommendation first.
fn due(state: &State, can_be: impl Fn(&Instance) -> bool) -> Vec<InstanceId> {
    let due = state.instances.iter().filter(|instance| instance.is_rebalance_due() && can_be(instance));
    let mut due: Vec<_> = due.filter_map(|it| Some((it.ec2.rebalance?.at, it.id.clone()?))).collect();
    due.sort();
    due.into_iter().map(|(_, id)| id).collect()
}

fn begin_drain(instance: &mut Instance, now: Timestamp, config: &Config, reason: Reason, plan: &mut Plan) {
    if let Some(rebalance) = &mut instance.ec2.rebalance {
        rebalance.answered = true;
    }
    plan.decisions.extend(draining::begin(instance, now, now + config.drain_timeout, DrainCause::Rebalance, reason));
}

/// Why a recommendation is not acted on, whichever way is configured.
fn not_acted_on(state: &mut State, now: Timestamp, config: &Config, id: &InstanceId) -> Option<WorksOn> {
    let instance = state.by_id(id)?;
    let rebalance = instance.ec2.rebalance?;
    let recommended_at = rebalance.seen_at.unwrap_or(rebalance.at);
    if instance.is_replacement && recommended_at < instance.planned_at + HOUR {
        return Some(WorksOn::Replacement);
    }
    state.rebalances.retain(|at| now.since(*at) < HOUR);
    let limit = config.rebalance_limit;
    (state.rebalances.len() >= limit as usize).then_some(WorksOn::Limit { limit })
}

/// Why no replacement is launched for a recommended instance.
fn not_replaced(state: &mut State, now: Timestamp, config: &Config, id: &InstanceId) -> Option<WorksOn> {
    let counts = state.counts(now);
    let is_wanted = state.demand().is_some_and(|demand| demand > 0)
        && state.desired.is_some_and(|desired| counts.capacity_to_be() <= desired);
    if !is_wanted {
        return Some(WorksOn::NotWanted);
    }
    if counts.replacements > 0 {
        return Some(WorksOn::OneAtATime);
    }
    not_acted_on(state, now, config, id).or_else(|| {
        let max_instances = config.max_instances;
        (scale_out::room(counts, config) == 0).then_some(WorksOn::AtCap { max_instances })
    })
}
