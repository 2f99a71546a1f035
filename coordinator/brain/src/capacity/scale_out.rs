//! Scale-out: the guards above every policy, in the order in which a reader would ask, then the launches.

use super::cannot_help::cannot_help;
use super::wanted::Wanted;
use super::{early_ends, new_image};
use crate::config::{Config, OnRebalance};
use crate::instance::Instance;
use crate::note::Note;
use crate::phases::{draining, launching};
use crate::plan::{Decision, Plan, Planned};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::state::{Counts, State};
use crate::time::Timestamp;

pub(super) fn scale_out(state: &mut State, now: Timestamp, config: &Config, wanted: &Wanted, plan: &mut Plan) {
    let desired = wanted.desired;
    let counts = state.counts(now);
    if counts.on_the_way > 0 {
        let deadlines = state.instances.iter().filter(|instance| instance.is_on_its_way(now));
        let next = deadlines.filter_map(|instance| instance.phase_deadline()).min();
        let next_deadline = next.map_or_else(Default::default, |deadline| now.until(deadline));
        plan.notes.push(Note::OnTheWay { count: counts.on_the_way, next_deadline });
    }
    let mut need = desired.saturating_sub(counts.capacity_to_be());
    // A schedule does not ask what waits.
    let by_floor = wanted.floor.saturating_sub(counts.capacity_to_be());
    if need > by_floor
        && let Some(note) = state.backlog.as_ref().and_then(|(backlog, _)| cannot_help(backlog, desired))
    {
        plan.notes.push(note);
        need = by_floor;
    }
    if need == 0 {
        return;
    }
    let demand = state.demand().unwrap_or(0);
    let need = need - cancel_drains(state, now, config, need, (demand, desired), plan);
    if let Some(note) = launches_blocked(state, now) {
        plan.notes.push(note);
        return;
    }
    let on_trial = early_ends::on_trial(state, now);
    let allowed = state.breaker.allows(now, counts.on_the_way).min(state.early_ends.allows(now, on_trial));
    if state.breaker.open_until.is_some() {
        plan.notes.push(Note::BreakerTries);
    }
    if state.early_ends.open_until().is_some() {
        plan.notes.push(Note::EarlyEnds { ends: state.early_ends.count(), left: None });
    }
    let room = room(counts, config);
    if room < need.min(allowed) {
        plan.notes.push(at_cap(counts, config));
    }
    let launches = need.min(room).min(allowed).min(launches_left(state, now, config));
    for nth in 0..new_image::allows(state, now, launches, plan) {
        let token = launching::intend(state, now, config);
        let (ready, on_the_way) = (counts.ready, counts.on_the_way);
        let reason = match wanted.late.clone() {
            _ if nth < by_floor => Reason::Floor { instances: wanted.floor, ready, on_the_way },
            Some(late) => Reason::StartsLate { late, ready, on_the_way },
            None => Reason::BelowDesired { demand, desired, ready, on_the_way },
        };
        plan.decisions.push(Planned::new(Decision::Launch { token }, reason));
    }
}

/// More instances are wanted than `max_instances` lets: said where they would be launched if it were higher.
pub(super) fn note_cap(state: &State, now: Timestamp, config: &Config, plan: &mut Plan) {
    let counts = state.counts(now);
    let is_said = plan.notes.iter().any(|note| matches!(note, Note::AtCap { .. }));
    if !is_said && room(counts, config) == 0 {
        plan.notes.push(at_cap(counts, config));
    }
}

pub(super) fn at_cap(counts: Counts, config: &Config) -> Note {
    Note::AtCap { max_instances: config.max_instances, billing: counts.billing, not_ours: counts.not_ours }
}

/// Launches that `max_instances` has room for. Where interrupted instances do not count, twice that is a second cap.
pub(super) fn room(counts: Counts, config: &Config) -> u32 {
    let cap = config.max_instances;
    if config.interrupted_counts {
        return cap.saturating_sub(counts.billing);
    }
    cap.saturating_sub(counts.billing - counts.interrupted).min(cap.saturating_mul(2).saturating_sub(counts.billing))
}

/// Launches that `launches_per_tick` leaves for now. Ticks follow whatever happens, so those of the last interval
/// count.
pub(super) fn launches_left(state: &State, now: Timestamp, config: &Config) -> u32 {
    let is_recent = |at: Timestamp| at <= now && now.since(at) < config.interval;
    let begun = state.instances.iter().filter(|instance| !instance.adopted && is_recent(instance.planned_at));
    config.launches_per_tick.saturating_sub(u32::try_from(begun.count()).unwrap_or(u32::MAX))
}

/// Why nothing may be launched now, whatever it is for: EC2 refused, or the breaker is open.
pub(super) fn launches_blocked(state: &State, now: Timestamp) -> Option<Note> {
    let boots = || {
        let failures = state.breaker.failures;
        match state.breaker.open_until? {
            until if now < until => {
                Some(Note::BreakerOpen { failures, left: now.until(until), never_ran: state.never_ran() })
            }
            _ => (state.breaker.allows(now, state.counts(now).on_the_way) == 0).then_some(Note::BreakerTries),
        }
    };
    let early_ends = || {
        let left = Some(now.until(state.early_ends.open_until()?)).filter(|left| !left.is_zero());
        let is_shut = state.early_ends.allows(now, early_ends::on_trial(state, now)) == 0;
        is_shut.then_some(Note::EarlyEnds { ends: state.early_ends.count(), left })
    };
    refused(state, now).or_else(boots).or_else(early_ends)
}

/// Cancels up to `need` scale-in drains: an instance that already works beats one that must boot. How many.
fn cancel_drains(
    state: &mut State,
    now: Timestamp,
    config: &Config,
    need: u32,
    (demand, desired): (u64, u32),
    plan: &mut Plan,
) -> u32 {
    let mut cancelled = 0;
    for instance in state.instances.iter_mut() {
        if cancelled < need && can_cancel(instance, now, config) {
            let decision = draining::cancel(instance, now, config, Reason::DemandReturned { demand, desired });
            cancelled += u32::from(decision.is_some());
            plan.decisions.extend(decision);
        }
    }
    cancelled
}

/// It is drained for scale-in alone, and can go on.
pub(super) fn can_cancel(instance: &Instance, now: Timestamp, config: &Config) -> bool {
    let is_alive = !instance.is_silent(now, config.heartbeat_timeout);
    // It would only be drained again.
    let is_unwanted = config.rebalance == OnRebalance::Fence && instance.is_rebalance_due()
        || instance.scheduled_and_due(now, config).is_some();
    let can_be = instance.is_draining_for_scale_in() && instance.drain_can_be_cancelled();
    can_be && is_alive && !is_unwanted
}

/// The refusal that holds launches back for longest.
fn refused(state: &State, now: Timestamp) -> Option<Note> {
    let refusal = state.refusals().filter(|refusal| refusal.holds(now)).max_by_key(|refusal| refusal.until)?;
    let Refusal { class, code, message, after_accept, .. } = refusal.clone();
    Some(Note::BackOff { class, code, message, left: refusal.left(now), after_accept })
}
