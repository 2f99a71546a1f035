//! What a tick does, in its order: what events decided, each instance by its phase, how many there should be,
//! hand-backs.

use super::unknown::{self, Unknown};
use super::{drill, hand_back, invariants, nothing_taken, strangers, two_agents};
use crate::capacity::{self, early_ends, rebalance};
use crate::config::Config;
use crate::note::Note;
use crate::or_empty;
use crate::phase::{Phase, PhaseKind};
use crate::phases::{booting, draining, gone, launching, ready, terminating};
use crate::plan::{AlertKind, Plan};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

pub(super) fn tick(state: &mut State, now: Timestamp, config: &Config) -> Plan {
    let mut plan = Plan { at: now, ..Plan::default() };
    if !state.leader {
        plan.notes.push(Note::NotLeader);
        summarize(state, &mut plan);
        return plan;
    }
    plan.decisions.append(&mut state.pending);
    plan.notes.extend(state.resumed.take().map(|by| Note::Resumed { by: or_empty::some(by) }));
    let unknown = Unknown::now(state, now, config);
    let is_blind = !unknown.is_nothing();
    unknown::clear(state, &unknown);
    if !is_blind {
        each_instance(state, now, config, &mut plan);
        drill::unanswered(state, now);
        capacity::drill::follow(state, now);
        capacity::decide(state, now, config, &mut plan);
    } else {
        plan.notes.extend(unknown.notes());
        unknown::tick(state, now, config, &unknown, &mut plan);
        drill::unseen(state, now, &unknown, config);
    }
    strangers::notes(state, now, config, &mut plan);
    // What EC2 and the agent have said stays true while EC2 does not answer; without Redis it cannot be done.
    if state.observation_problem.is_none() {
        hand_back::tick(state, now, config, &mut plan);
    }
    plan.decisions.append(&mut state.pending);
    capacity::drill::follow(state, now);
    drill::note(state, &mut plan);
    gone::forget(state);
    summarize(state, &mut plan);
    invariants::check(state, now, config, &plan, is_blind);
    plan
}

/// When a tick is due although nothing happens.
pub(super) fn due_at(state: &State) -> Option<Timestamp> {
    if state.observation_problem.is_some() {
        return None;
    }
    state.instances.iter().filter_map(|instance| instance.owed.hand_back.as_ref()?.due_at()).min()
}

fn summarize(state: &State, plan: &mut Plan) {
    plan.demand = state.demand();
    plan.desired = state.desired;
}

/// Lets every instance act by its phase. Only called while queues and EC2 are both seen.
fn each_instance(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    // By a forecast what is on the way is desired or not from one look to the next: a launch that has begun is seen
    // through while jobs wait.
    let wants_launches = state.hold.is_none()
        && (config.wait.is_some() || state.desired.is_some_and(|desired| desired > 0))
        && (state.demand().is_some_and(|demand| demand > 0) || state.floor(now, config).is_some());
    let mut failed_boots = Vec::new();
    let (mut overdue, mut refused) = (Vec::new(), Vec::new());
    let (led_since, is_held) = (state.led_since, state.hold.is_some());
    for instance in &mut state.instances {
        if let Some(planned) = terminating::stopped_by_ec2(instance, now, config) {
            plan.decisions.push(planned);
            continue;
        }
        plan.decisions.extend(draining::interrupted(instance, now));
        let planned = draining::scheduled(instance, now, config, plan);
        plan.decisions.extend(planned);
        match instance.phase {
            Phase::Launching { .. } => {
                let is_wanted = wants_launches || (instance.is_for_drill && !is_held);
                launching::tick(instance, now, is_wanted, plan);
            }
            Phase::Booting { .. } => {
                failed_boots.extend(booting::tick(instance, now, config, plan).then(|| instance.failed_boot()));
            }
            Phase::Ready => ready::tick(instance, now, config, plan),
            Phase::Draining { .. } => {
                overdue.extend(draining::tick(instance, now, led_since, config, plan));
            }
            Phase::Terminating { .. } => refused.extend(terminating::tick(instance, now, config, plan)),
            Phase::Gone => {}
        }
    }
    two_agents::tick(state, now, config, plan);
    nothing_taken::tick(state, now, config, plan);
    rebalance::drain_replaced(state, now, config, plan);
    early_ends::tick(state, now, config);
    booting::keep_one(state, now, config);
    booting::count_failures(state, now, failed_boots, config);
    alert(state, overdue, refused);
}

/// Drains that are overdue, and instances that EC2 refuses to terminate.
fn alert(state: &mut State, overdue: Vec<Reason>, refused: Vec<Reason>) {
    for reason in overdue {
        state.raise(AlertKind::DrainOverdue, reason);
    }
    if !state.instances.iter().any(|instance| instance.phase_kind() == PhaseKind::Draining) {
        state.alerts.remove(&AlertKind::DrainOverdue);
    }
    for reason in refused {
        state.raise(AlertKind::NotTerminated, reason);
    }
    if state.not_terminated().next().is_none() {
        state.alerts.remove(&AlertKind::NotTerminated);
    }
}
