//! How many instances there should be, and what is done about it: the policy (`steps` or `wait`), then an operator's
//! drill, scale-in, rebalance recommendations and scale-out with the guards above every policy.

mod cannot_help;
pub(crate) mod drill;
pub(crate) mod early_ends;
mod new_image;
pub(crate) mod rebalance;
pub(crate) mod scale_in;
mod scale_out;
mod steps;
mod turns;
mod wait;
mod wanted;

use crate::config::Config;
use crate::floor::Applies;
use crate::note::Note;
use crate::or_empty;
use crate::plan::Plan;
use crate::state::State;
use crate::time::Timestamp;
use wanted::{Excess, Wanted};

/// Only called while queues and EC2 are both seen.
pub(crate) fn decide(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    // A ledger that knows no desired capacity takes what it finds: capacity falls only by the idle rule.
    let found = state.instances.iter().filter(|instance| instance.may_bill()).count();
    let before =
        state.by_policy.or(state.desired).unwrap_or(u32::try_from(found).unwrap_or(u32::MAX)).min(config.max_instances);
    let by_forecast = config.wait.as_ref().filter(|_| !config.retired).and_then(|policy| {
        let wanted = wait::desired(state, now, config, policy);
        plan.notes.extend(wanted.is_none().then_some(Note::NothingMeasured));
        wanted
    });
    let by_steps = by_forecast.is_none() && !config.retired;
    let mut wanted = match by_forecast {
        Some(wanted) => wanted,
        None if config.retired => {
            Wanted { desired: 0, floor: 0, excess: Excess::PoolRetired, late: None, note: Note::PoolRetired }
        }
        None => steps::desired(&config.policy, &state.sustain, before),
    };
    let asked = with_floor(state, now, config, &mut wanted, plan);
    wanted.desired = asked.min(config.max_instances);
    state.desired = Some(wanted.desired);
    let by_policy = state.by_policy.unwrap_or(wanted.desired);
    let kept = steps::kept_by_little(&config.policy, &state.sustain, by_policy);
    plan.notes.extend(kept.filter(|_| by_steps));
    plan.notes.extend(state.backlog.as_ref().and_then(|(backlog, _)| cannot_help::paused(backlog)));
    plan.notes.extend(state.backlog.as_ref().and_then(|(backlog, _)| cannot_help::rate_limited(backlog)));
    if let Some(reason) = state.hold.clone() {
        drill::launch(state, now, config, plan);
        drill::settle(state, now, config, wanted.desired, plan);
        plan.notes.push(Note::Held { reason: or_empty::some(reason) });
        return;
    }
    scale_in::scale_in(state, now, config, &wanted, plan);
    rebalance::drain_recommended(state, now, config, plan);
    // What tries a new image may just have been drained: then a drill does not wait for it.
    drill::launch(state, now, config, plan);
    drill::settle(state, now, config, wanted.desired, plan);
    scale_out::scale_out(state, now, config, &wanted, plan);
    if asked > config.max_instances {
        scale_out::note_cap(state, now, config, plan);
    }
    rebalance::launch_replacements(state, now, config, plan);
}

/// No fewer than a schedule asks for; what is asked for together.
fn with_floor(state: &mut State, now: Timestamp, config: &Config, wanted: &mut Wanted, plan: &mut Plan) -> u32 {
    let by_policy = wanted.desired.min(config.max_instances);
    let was_more = state.by_policy.is_some();
    let floor = state.floor(now, config).filter(|_| !config.retired);
    let more = floor.filter(|floor| floor.instances.min(config.max_instances) > by_policy);
    state.by_policy = more.map(|_| by_policy);
    let Some(Applies { instances, begins_in, left }) = more else {
        if was_more && matches!(wanted.excess, Excess::Lowered) {
            wanted.excess = Excess::FloorEnded;
        }
        plan.notes.push(wanted.note.clone());
        return wanted.desired;
    };
    // What the policy could spare is not spared.
    plan.notes.extend(Some(wanted.note.clone()).filter(|note| !matches!(note, Note::SpareCounting { .. })));
    plan.notes.push(Note::Floor { instances, begins_in, left });
    wanted.floor = instances.min(config.max_instances);
    wanted.desired.max(instances)
}
