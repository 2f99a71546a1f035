//! What must hold after each tick, whatever happened: checked in debug builds, so in every test, and in the simulator
//! when it is built with `--profile sim`. The numbers are those of the architecture page.

use crate::capacity::rebalance::HOUR;
use crate::config::Config;
use crate::instance::Instance;
use crate::phase::PhaseKind;
use crate::plan::{Decision, Plan, Planned};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// Nothing in release builds.
pub(super) fn check(state: &State, now: Timestamp, config: &Config, plan: &Plan, is_blind: bool) {
    if !cfg!(debug_assertions) {
        return;
    }
    let launches = plan.decisions.iter().filter(|planned| is_new_launch(planned)).count();
    if launches > 0 {
        let counts = state.counts(now);
        let cap = if config.interrupted_counts { config.max_instances } else { config.max_instances.saturating_mul(2) };
        debug_assert!(counts.billing <= cap, "invariant 1: {} may bill, the cap is {cap}", counts.billing);
        debug_assert!(state.hold.is_none(), "a launch while the pool is held");
        debug_assert!(launches <= config.launches_per_tick as usize, "invariant 10: {launches} launches in a tick");
    }
    let alive: Vec<&Instance> = state.instances.iter().filter(|instance| !instance.is_gone()).collect();
    for (position, instance) in alive.iter().enumerate() {
        // Of those that it launched itself: a copy that somebody launched with our tags is adopted under the same
        // token. What EC2 calls them is EC2's word, and proves nothing about us.
        let is_same = |other: &&Instance| !other.adopted && !instance.adopted && other.token == instance.token;
        debug_assert!(!alive[..position].iter().any(is_same), "invariant 2: {} launched twice", instance.name());
    }
    // A ledger may hold what a larger cap allowed; nothing is decided on it while blind.
    let is_within = state.desired.is_none_or(|desired| desired <= config.max_instances);
    debug_assert!(is_blind || is_within, "desired is above the cap");
    let replaced = state.instances.iter().filter(|it| it.replaces.is_some() && it.is_on_its_way(now)).count();
    debug_assert!(replaced <= 1, "{replaced} are replaced at a time");
    if plan.decisions.iter().any(|planned| is_for_rebalance(&planned.reason)) {
        let in_an_hour = state.rebalances.iter().filter(|at| now.since(**at) < HOUR).count();
        debug_assert!(in_an_hour <= config.rebalance_limit as usize, "{in_an_hour} rebalances in an hour");
    }
    for planned in &plan.decisions {
        debug_assert!(!is_blind || is_allowed_blind(planned), "invariant 3: {planned:?} while blind");
        debug_assert!(is_of_its_phase(state, &planned.decision), "{planned:?} in another phase");
    }
}

fn is_new_launch(planned: &Planned) -> bool {
    matches!(planned.decision, Decision::Launch { .. }) && !matches!(planned.reason, Reason::LaunchUnanswered { .. })
}

fn is_for_rebalance(reason: &Reason) -> bool {
    matches!(reason, Reason::Replaces { .. } | Reason::RebalanceRecommended)
}

/// People are told, operators obeyed, and what is known to be dead handed back; what was decided is carried through;
/// and beyond the bound of the unknown those go whose agents say that they hold no job.
fn is_allowed_blind(planned: &Planned) -> bool {
    matches!(planned.decision, Decision::Alert { .. } | Decision::HandBack { .. })
        || matches!(
            planned.reason,
            Reason::OperatorAsked { .. }
                | Reason::TerminateAgain { .. }
                | Reason::NotTerminated { .. }
                | Reason::NoJobByItsAgent { .. }
                | Reason::StoppedUnseen { .. }
        )
}

/// A drain may have been decided by an event, and be overtaken in the tick that gives it out.
fn is_of_its_phase(state: &State, decision: &Decision) -> bool {
    let is_in = |phase: PhaseKind| {
        let mut of = state.instances.iter().filter(|instance| match decision {
            Decision::Launch { token } => instance.token == *token,
            _ => instance.id.as_ref().is_some_and(|id| id.0 == decision.subject()),
        });
        of.any(|instance| instance.phase_kind() == phase)
    };
    match decision {
        Decision::Launch { .. } => is_in(PhaseKind::Launching),
        Decision::Terminate { .. } | Decision::PowerOff { .. } => is_in(PhaseKind::Terminating),
        _ => true,
    }
}
