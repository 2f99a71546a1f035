//! Saved before done; undone where that failed, or came too late.

use std::time::Duration;

use spillway_brain::{AgentPhase, Decision, Ec2State, Report};
use spillway_pool::{Effect, FromAgent, Input, Save, Saved, Wish};

use crate::support::{Stage, acts, id, listed, report, save_in};

#[test]
fn a_plan_is_carried_out_only_after_its_save() {
    let mut stage = Stage::leading();
    stage.sees(1, Vec::new());
    let effects = stage.effects();
    assert!(acts(&effects).is_empty());
    let save = save_in(effects);
    assert_eq!((save.epoch, save.is_recorded), (7, true));
    assert_eq!(stage.pool.state().instances().count(), 1, "what is saved knows the intent");
    assert!(stage.effects().is_empty(), "nothing more until the answer");
    stage.tell(Input::Saved(Saved::Until(Duration::from_secs(15))));
    assert_eq!(acts(&stage.effects()), ["launch"]);
    assert!(stage.effects().is_empty(), "once");
}

#[test]
fn a_tick_that_was_not_saved_is_undone_and_made_again() {
    let mut stage = Stage::leading();
    let before = stage.pool.state().clone();
    let token = stage.floods();
    stage.tell(Input::Saved(Saved::Failed { problem: "Redis does not answer".to_owned() }));
    assert!(acts(&stage.effects()).is_empty());
    assert_eq!(stage.pool.ledger_problem(), Some("Redis does not answer"));
    assert_eq!(stage.pool.state().instances().count(), before.instances().count());
    assert_eq!(stage.pool.state().demand(), Some(1), "what was observed stays known");
    assert_eq!(stage.floods(), token, "the token was not used up");
    assert_eq!(acts(&stage.saves()), ["launch"]);
    assert_eq!(stage.pool.ledger_problem(), None);
}

#[test]
fn a_ledger_that_fails_slowly_leaves_time_for_what_else_happens() {
    let mut stage = Stage::with_ready_instance();
    let busy = Report { active_jobs: Some(1), ..report(AgentPhase::Ready) };
    stage.tell(Input::FromAgent(id(), FromAgent::Reported(busy)));
    stage.saves();
    let token = stage.pool.state().instances().next().expect("one").token.clone();
    stage.sees(0, vec![listed(token, Ec2State::Terminated)]);
    let attempt = stage.effects_and_saves().into_iter().find_map(|effect| match effect {
        Effect::HandBack(attempt) => Some(attempt),
        _ => None,
    });
    let mut attempt = attempt.expect("a hand-back");
    attempt.left = 1;
    stage.tell(Input::HandedBack(attempt));
    stage.effects_and_saves();
    let plan = save_in(stage.after(5)).plan.expect("a plan");
    assert!(plan.decisions.iter().any(|it| matches!(it.decision, Decision::HandBack { .. })), "{plan:?}");
    stage.seconds += 5;
    stage.tell(Input::Saved(Saved::Failed { problem: "Redis does not answer".to_owned() }));
    let is_save = |effect: &Effect| matches!(effect, Effect::Save(_));
    assert!(!stage.effects().iter().any(is_save), "the hand-back is due since 5 s; messages come first");
    assert!(stage.after(1).iter().any(is_save));
}

#[test]
fn who_stops_saves_once_more_and_answers_who_asked() {
    let mut stage = Stage::leading();
    stage.tell(Input::Operator(1, Wish::Hold { reason: "a drill".to_owned() }));
    stage.tell(Input::Stop);
    let effects = stage.effects();
    assert!(matches!(effects[..], [Effect::Reply { asker: 1, answer: Ok(_) }, Effect::Save(Save { plan: None, .. })]));
    assert_eq!(stage.pool.state().hold(), Some("a drill"));
    stage.seconds += 60;
    stage.tell(Input::Saved(Saved::Until(Duration::from_secs(120))));
    stage.sees(1, Vec::new());
    assert!(stage.effects().is_empty(), "it neither looks nor decides any more");
}

#[test]
fn the_undo_holds_after_hundreds_of_ticks() {
    let mut stage = Stage::leading();
    for _ in 0..300 {
        stage.seconds += 10;
        stage.sees(0, Vec::new());
        stage.saves();
    }
    stage.tell(Input::Operator(1, Wish::Hold { reason: "a drill".to_owned() }));
    let save = save_in(stage.effects());
    assert!(save.plan.is_some());
    let told = stage.pool.state().clone();
    stage.tell(Input::Saved(Saved::Failed { problem: "no".to_owned() }));
    assert_eq!(stage.pool.state().hold(), Some("a drill"));
    assert_eq!(stage.pool.state().backlog(), told.backlog());
    assert_eq!(stage.pool.saved_state(), None);
}

#[test]
fn what_is_saved_can_be_told_again() {
    let mut stage = Stage::leading();
    for _ in 0..100 {
        stage.seconds += 10;
        stage.sees(0, Vec::new());
        save_in(stage.effects());
        let saved = stage.pool.state().clone();
        stage.saves();
        stage.sees(0, Vec::new());
        assert_eq!(stage.pool.saved_state(), Some(saved));
        stage.saves();
    }
}

#[test]
fn nothing_is_done_after_the_lease_under_which_it_was_saved() {
    let mut stage = Stage::leading();
    stage.floods();
    stage.seconds += 15;
    stage.tell(Input::Saved(Saved::Until(Duration::from_secs(15))));
    let effects = stage.effects();
    assert!(acts(&effects).is_empty());
    save_in(effects);
    assert!(stage.pool.ledger_problem().is_some_and(|problem| problem.contains("the lease ran out")));
    stage.tell(Input::Saved(Saved::NotLeader { problem: "another leads".to_owned() }));
    assert!(acts(&stage.effects()).is_empty());
    assert!(!stage.pool.is_leader());
}

#[test]
fn what_comes_in_during_a_save_waits_for_its_answer() {
    let mut stage = Stage::leading();
    stage.floods();
    stage.tell(Input::Operator(1, Wish::Hold { reason: "a drill".to_owned() }));
    assert_eq!(stage.pool.state().hold(), None);
    assert!(stage.effects().is_empty());
    stage.tell(Input::Saved(Saved::Failed { problem: "no".to_owned() }));
    assert_eq!(stage.pool.state().hold(), Some("a drill"), "not lost with the undo");
    assert!(stage.effects().iter().any(|effect| matches!(effect, Effect::Reply { asker: 1, .. })));
}

#[test]
fn at_the_end_only_what_is_known_is_saved() {
    let mut stage = Stage::leading();
    stage.sees(1, Vec::new());
    stage.tell(Input::Stop);
    let effects = stage.effects();
    assert_eq!(effects.len(), 1);
    assert!(save_in(effects).plan.is_none());
    let mut standby = Stage::new();
    standby.tell(Input::Stop);
    assert!(!standby.effects().iter().any(|effect| matches!(effect, Effect::Save(_))));
}
