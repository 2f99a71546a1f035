//! What a drill launches, and what becomes of its instances once each was ready or will not be: they are drained,
//! unless the policy asks for them by then or an operator holds the pool.
//!
//! Its instances count as capacity for scale-out, so that demand which comes meanwhile launches none beside them;
//! scale-in counts without them, and leaves them alone.

use super::{early_ends, new_image, scale_out};
use crate::config::Config;
use crate::drill::{Drill, Outcome, Stays};
use crate::id::LaunchToken;
use crate::note::Note;
use crate::or_empty;
use crate::phase::{DrainCause, PhaseKind};
use crate::phases::{draining, launching};
use crate::plan::{Decision, Plan, Planned};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// Launches what is left to be launched. What may not be launched now is given up: an operator waits for it.
pub(super) fn launch(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    let Some(drill) = state.drill.as_ref().filter(|drill| drill.ended_at.is_none()) else { return };
    let (asked, instances) = (drill.asked(), u32::try_from(drill.tried.len()).unwrap_or(u32::MAX));
    let waiting = u32::try_from(drill.tried.iter().filter(|tried| tried.waits()).count()).unwrap_or(u32::MAX);
    if config.retired {
        return state.drill.iter_mut().for_each(|drill| drill.fails(&Note::PoolRetired.to_string(), |_| true));
    }
    if waiting == 0 {
        return;
    }
    let (possible, why) = launchable(state, now, config);
    let begun = waiting.min(possible).min(scale_out::launches_left(state, now, config));
    // Those that an untried image keeps back wait for the one that tries it: they are not given up.
    for _ in 0..new_image::allows(state, now, begun, plan) {
        let token = launching::intend(state, now, config);
        state.by_token(&token).into_iter().for_each(|instance| instance.is_for_drill = true);
        let waits = state.drill.iter_mut().flat_map(|drill| &mut drill.tried).find(|tried| tried.waits());
        waits.into_iter().for_each(|tried| tried.token = Some(token.clone()));
        let reason = Reason::Drill { instances, asked: asked.clone() };
        plan.decisions.push(Planned::new(Decision::Launch { token }, reason));
    }
    let given_up = waiting.saturating_sub(possible) as usize;
    if let (Some(why), Some(drill)) = (why, &mut state.drill) {
        for tried in drill.tried.iter_mut().rev().filter(|tried| tried.waits()).take(given_up) {
            tried.outcome = Some(Outcome::Failed { cause: why.to_string() });
        }
    }
}

/// How many launches the guards above every policy let through now, whatever demand is, and what keeps more back.
pub(crate) fn launchable(state: &State, now: Timestamp, config: &Config) -> (u32, Option<Note>) {
    if let Some(reason) = &state.hold {
        return (0, Some(Note::Held { reason: or_empty::some(reason.clone()) }));
    }
    if let Some(note) = scale_out::launches_blocked(state, now) {
        return (0, Some(note));
    }
    let counts = state.counts(now);
    let tried = state.breaker.allows(now, counts.on_the_way);
    let tried = tried.min(state.early_ends.allows(now, early_ends::on_trial(state, now)));
    let room = scale_out::room(counts, config);
    let note = if tried < room { Note::BreakerTries } else { scale_out::at_cap(counts, config) };
    (room.min(tried), Some(note))
}

/// Takes in what an event or a tick has changed. Only a leader hears the agents.
pub(crate) fn follow(state: &mut State, now: Timestamp) {
    let State { drill, instances, leader: true, .. } = state else { return };
    let Some(drill) = drill.as_mut().filter(|drill| drill.ended_at.is_none()) else { return };
    for tried in &mut drill.tried {
        let Some(token) = &tried.token else { continue };
        let instance = instances.iter_mut().find(|instance| instance.token == *token);
        match instance {
            Some(instance) => {
                tried.follow(now, instance);
                let is_working =
                    matches!(instance.phase_kind(), PhaseKind::Launching | PhaseKind::Booting | PhaseKind::Ready);
                instance.is_for_drill &= is_working && tried.stays.is_none();
            }
            None => tried.is_forgotten(now),
        }
    }
    if drill.tried.iter().all(|tried| tried.is_over()) {
        drill.ended_at = Some(now);
    }
}

/// Once all have an outcome: drains those that still work, or leaves them to the policy.
pub(super) fn settle(state: &mut State, now: Timestamp, config: &Config, desired: u32, plan: &mut Plan) {
    // Others may have been drained by this very tick.
    follow(state, now);
    let is_settled = |drill: &&Drill| drill.ended_at.is_none() && drill.has_all_outcomes();
    if state.drill.as_ref().filter(is_settled).is_none() {
        return;
    }
    let is_held = state.hold.is_some();
    let wanted = desired.saturating_sub(state.counts(now).capacity_without_drill()) as usize;
    for (place, token) in at_work(state).into_iter().enumerate() {
        let stays = match is_held {
            true => Some(Stays::Held),
            false => (place < wanted).then_some(Stays::Wanted { desired }),
        };
        let Some(drill) = &mut state.drill else { return };
        let Some(tried) = drill.tried.iter_mut().find(|tried| tried.token.as_ref() == Some(&token)) else { continue };
        let problem = match &tried.outcome {
            Some(Outcome::Failed { cause }) => Some(cause.clone()),
            _ => None,
        };
        let Some(instance) = state.instances.iter_mut().find(|instance| instance.token == token) else { continue };
        if let Some(why) = stays {
            tried.stays = Some(why);
            instance.is_for_drill = false;
            plan.notes.push(Note::DrillStays { name: instance.name().to_owned(), why });
            continue;
        }
        let launched_at = instance.accepted_at.unwrap_or(instance.planned_at);
        let after = instance.ready_at.map(|at| at.since(launched_at));
        let reason = Reason::DrillOver { after, problem };
        let deadline = now + config.drain_timeout;
        plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::Drill, reason));
        instance.is_for_drill = false;
    }
}

/// Its instances that can be drained: capacity first, as it is kept first.
fn at_work(state: &State) -> Vec<LaunchToken> {
    let can_be_drained = |phase| matches!(phase, PhaseKind::Booting | PhaseKind::Ready);
    let drilled = state.instances.iter().filter(|it| it.is_for_drill && can_be_drained(it.phase_kind()));
    let mut drilled: Vec<_> = drilled.collect();
    drilled.sort_by_key(|instance| !instance.is_capacity());
    drilled.into_iter().map(|instance| instance.token.clone()).collect()
}
