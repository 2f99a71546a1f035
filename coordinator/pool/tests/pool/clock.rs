//! Wall clocks that are set, here or on another machine.

use std::time::Duration;

use spillway_brain::{AgentPhase, Phase, Timestamp};
use spillway_pool::{Command, Effect, FromAgent, Happening, Input, Saved, SavedState, Wish};

use crate::support::{Stage, id, report};

const TWO_HOURS: i64 = 7_200_000;

fn steps(effects: &[Effect]) -> Vec<(i64, bool)> {
    let step = |effect: &Effect| match effect {
        Effect::Happened(Happening::ClockStepped { by_ms, is_elsewhen }) => Some((*by_ms, *is_elsewhen)),
        _ => None,
    };
    effects.iter().filter_map(step).collect()
}

fn deadline(stage: &Stage) -> Timestamp {
    match stage.pool.state().instance(&id()).expect("it is known").phase {
        Phase::Draining { deadline, .. } => deadline,
        ref other => panic!("{other:?}"),
    }
}

/// Its instance drains, and has a job.
fn draining() -> Stage {
    let mut stage = Stage::with_ready_instance();
    stage.tell(Input::Operator(3, Wish::Hold { reason: String::new() }));
    stage.tell(Input::Operator(3, Wish::Drain { id: id(), reason: String::new() }));
    stage.effects_and_saves();
    stage
}

#[test]
fn a_clock_that_is_set_is_said_once_and_leaves_every_deadline_as_far_away_as_it_was() {
    for by in [TWO_HOURS, -TWO_HOURS] {
        let mut stage = draining();
        let (before, left) = (deadline(&stage), stage.pool.time(stage.now()).until(deadline(&stage)));
        stage.seconds += 1;
        stage.ahead_ms = by;
        let mut effects = stage.effects_and_saves();
        assert_eq!(steps(&effects), [(by, false)]);
        let is_change = |it: &Effect| matches!(it, Effect::Happened(Happening::PhaseChanged { .. }));
        assert!(!effects.iter().any(is_change), "no phase has changed: {effects:?}");
        assert_eq!(deadline(&stage).offset_from(before), by);
        assert_eq!(stage.pool.time(stage.now()).until(deadline(&stage)), left - Duration::from_secs(1));
        assert!(stage.pool.knows_queues(stage.now()) && stage.pool.knows_instances(stage.now()));
        stage.seconds += 1;
        stage.tell(Input::FromAgent(id(), FromAgent::Reported(report(AgentPhase::Draining))));
        effects = stage.effects_and_saves();
        assert!(steps(&effects).is_empty(), "said once");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::Terminate { .. })), "{effects:?}");
    }
}

/// What is being saved is not changed: the step is followed once the save is answered, and the plan is then undone or
/// not as ever.
#[test]
fn a_clock_that_is_set_during_a_save_is_followed_after_it() {
    for is_saved in [true, false] {
        let mut stage = Stage::leading();
        stage.floods();
        stage.ahead_ms = TWO_HOURS;
        stage.tell(Input::FromAgent(id(), FromAgent::Registered));
        assert!(steps(&stage.effects()).is_empty());
        let saved = match is_saved {
            true => Saved::Until(stage.now().up + Duration::from_secs(15)),
            false => Saved::Failed { problem: "no".to_owned() },
        };
        stage.tell(Input::Saved(saved));
        assert_eq!(stage.pool.state().instances().count(), usize::from(is_saved));
        assert_eq!(steps(&stage.effects()), [(TWO_HOURS, false)]);
        let launching = stage.pool.state().instances().next().and_then(|it| it.phase_deadline());
        let left = launching.map(|deadline| stage.pool.time(stage.now()).until(deadline));
        assert_eq!(left, Some(Duration::from_secs(120)), "launched then, or by the next tick");
    }
}

#[test]
fn what_was_asked_before_the_clock_was_set_is_as_old_as_it_is() {
    let mut stage = Stage::with_ready_instance();
    let asked_at = stage.now().up;
    stage.seconds += 2;
    stage.ahead_ms = -TWO_HOURS;
    stage.tell(Input::Listed { asked_at, answer: Ok(Vec::new()) });
    let listed_at = stage.pool.state().listed_at().expect("listed");
    assert_eq!(stage.pool.time(stage.now()).since(listed_at), Duration::from_secs(2));
    assert!(!stage.pool.state().instance(&id()).expect("it is known").is_gone(), "one list is no proof");
}

/// The agent's clock, or the coordinator's, is hours off: how long the notice has left is known all the same.
#[test]
fn a_notice_is_taken_by_how_long_it_has_left() {
    for off in [TWO_HOURS, -TWO_HOURS, 0] {
        let mut stage = Stage::with_ready_instance();
        let at = (stage.now().wall + Duration::from_secs(100)).stepped(off);
        let notice = FromAgent::Notice { at, left: Some(Duration::from_secs(100)), is_rehearsal: false };
        stage.tell(Input::FromAgent(id(), notice));
        let drains = stage.effects_and_saves();
        let left = drains.iter().find_map(|effect| match effect {
            Effect::Command { command: Command::Drain { left, .. }, .. } => Some(*left),
            _ => None,
        });
        assert_eq!(left, Some(Duration::from_secs(100)), "{off}");
    }
}

/// Saved by a coordinator whose clock was two hours behind this one's, or by this one before its clock was set.
#[test]
fn a_ledger_of_another_clock_is_read_by_this_ones() {
    let before = draining();
    let left = before.pool.time(before.now()).until(deadline(&before));
    let mut stage = Stage::new();
    stage.seconds = before.seconds;
    stage.ahead_ms = TWO_HOURS;
    stage.effects();
    stage.tell(Input::Lead { epoch: 9 });
    let state = Box::new(before.pool.state().clone());
    stage.tell(Input::Loaded {
        epoch: 9,
        saved: Some(SavedState { state, epoch: 7, ahead_ms: TWO_HOURS }),
        plans: vec![],
    });
    assert_eq!(steps(&stage.effects()), [(TWO_HOURS, true)]);
    assert_eq!(stage.pool.time(stage.now()).until(deadline(&stage)), left);
}
