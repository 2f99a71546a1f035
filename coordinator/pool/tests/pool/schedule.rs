//! When it looks, and what makes a tick due.

use std::time::Duration;

use spillway_brain::{AgentPhase, RefusalClass};
use spillway_pool::{Effect, FromAgent, Input, Refused, Wish};

use crate::support::{Stage, id, report, save_in};

fn lists(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::List))
}

fn observes(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Observe { .. }))
}

#[test]
fn the_queues_are_looked_at_each_interval_and_one_look_at_a_time() {
    let mut stage = Stage::new();
    assert!(observes(&stage.effects()));
    assert_eq!(stage.pool.next_deadline(stage.now()), Duration::from_secs(10));
    assert!(!observes(&stage.after(10)), "the first has not come back");
    stage.tell(Input::Observed(Err("no".to_owned())));
    assert!(!observes(&stage.after(9)));
    assert!(observes(&stage.after(1)));
}

#[test]
fn a_list_that_fails_is_asked_for_less_and_less_often() {
    let waits = |class: RefusalClass| {
        let mut stage = Stage::new();
        stage.effects();
        let mut waits = Vec::new();
        for _ in 0..6 {
            let refused = Refused { class, code: "No".to_owned(), detail: "no".to_owned() };
            stage.tell(Input::Listed { asked_at: stage.now().up, answer: Err(refused) });
            let began = stage.seconds;
            while !lists(&stage.after(1)) {}
            waits.push(stage.seconds - began);
        }
        waits
    };
    assert_eq!(waits(RefusalClass::Retry), [30, 60, 60, 60, 60, 60]);
    for class in RefusalClass::ALL.into_iter().filter(|class| class.needs_a_person()) {
        assert_eq!(waits(class), [30, 60, 120, 240, 300, 300], "{class:?}");
    }
}

/// What made EC2 refuse is mended: nobody waits for up to five minutes until that is seen.
#[test]
fn a_resume_lists_at_once_and_forgets_the_back_off() {
    let mut stage = Stage::leading();
    // After how many seconds it lists, at most so many.
    let lists_after = |stage: &mut Stage, most: u64| {
        (1..=most).find(|_| {
            stage.seconds += 1;
            lists(&stage.effects_and_saves())
        })
    };
    let fails = |stage: &mut Stage| {
        let refused = Refused { class: RefusalClass::Permission, code: "No".to_owned(), detail: "no".to_owned() };
        stage.tell(Input::Listed { asked_at: stage.now().up, answer: Err(refused) });
    };
    assert_eq!(lists_after(&mut stage, 15), Some(15));
    for wait in [30, 60, 120, 240] {
        fails(&mut stage);
        assert_eq!(lists_after(&mut stage, 300), Some(wait));
    }
    fails(&mut stage);
    assert_eq!(lists_after(&mut stage, 60), None);
    stage.tell(Input::Operator(1, Wish::Resume { by: String::new() }));
    assert!(lists(&stage.effects_and_saves()));
    fails(&mut stage);
    assert_eq!(lists_after(&mut stage, 300), Some(30), "as after a first failure");
}

#[test]
fn after_an_action_ec2_is_listed_at_once() {
    let mut stage = Stage::leading();
    stage.floods();
    assert!(!lists(&stage.saves()));
    stage.tell(Input::TerminateAnswered { id: id(), answer: Ok(()) });
    assert!(lists(&stage.saves()));
}

#[test]
fn a_heartbeat_that_says_nothing_new_makes_no_tick_and_news_does() {
    let mut stage = Stage::with_ready_instance();
    stage.tell(Input::FromAgent(id(), FromAgent::Reported(report(AgentPhase::Ready))));
    assert!(stage.effects().is_empty());
    stage.tell(Input::FromAgent(id(), FromAgent::Reported(report(AgentPhase::Proving))));
    save_in(stage.effects());
}

#[test]
fn a_notice_makes_a_tick_at_once_and_its_repetition_none() {
    let mut stage = Stage::with_ready_instance();
    let notice =
        || Input::FromAgent(id(), FromAgent::Notice { at: Stage::new().now().wall, left: None, is_rehearsal: false });
    stage.tell(notice());
    let plan = save_in(stage.effects()).plan.expect("a plan");
    assert!(plan.decisions.iter().any(|planned| planned.decision.kind() == "drain"));
    stage.saves();
    stage.tell(notice());
    assert!(stage.effects().is_empty());
}

#[test]
fn a_clock_that_is_set_back_stops_no_look() {
    let mut stage = Stage::new();
    stage.effects();
    stage.sees(0, Vec::new());
    let mut now = stage.now();
    now.up += Duration::from_secs(15);
    now.wall = spillway_brain::Timestamp(0);
    let effects: Vec<Effect> = std::iter::from_fn(|| stage.pool.poll(now)).collect();
    assert!(observes(&effects) && lists(&effects));
}

#[test]
fn each_observation_is_recorded_once_and_every_decision() {
    let mut stage = Stage::leading();
    stage.seconds += 1;
    stage.sees(0, Vec::new());
    assert!(save_in(stage.effects()).is_recorded, "an observation");
    stage.saves();
    stage.seconds += 1;
    stage.tell(Input::Listed { asked_at: stage.now().up, answer: Ok(Vec::new()) });
    assert!(!save_in(stage.effects()).is_recorded, "the same observation");
    stage.saves();
    let times = stage.pool.history().last().map(|entry| entry.times);
    assert!(times.is_some_and(|times| times >= 2), "the same plan is one entry: {times:?}");
}
