//! What operators are answered, and which agents are let in.

use std::time::Duration;

use spillway_brain::{AgentPhase, Ec2State, InstanceId, NoDrill, Rejection};
use spillway_pool::{Denied, Effect, FromAgent, Granted, Happening, Input, NotAdmitted, Wish};

use crate::support::{Stage, acts, id, listed, report};

fn ask(stage: &mut Stage, wish: Wish) -> Result<Granted, Denied> {
    stage.tell(Input::Operator(3, wish));
    answer(&stage.effects()).expect("an answer")
}

fn answer(effects: &[Effect]) -> Option<Result<Granted, Denied>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Reply { asker: 3, answer } => Some(answer.clone()),
        _ => None,
    })
}

fn drain() -> Wish {
    Wish::Drain { id: id(), reason: "a drill".to_owned() }
}

#[test]
fn a_ready_instance_is_drained_and_a_draining_one_is_not_drained_again() {
    let mut stage = Stage::with_ready_instance();
    // So that no other takes its place.
    ask(&mut stage, Wish::Hold { reason: "a drill".to_owned() }).expect("it leads");
    stage.saves();
    assert_eq!(ask(&mut stage, drain()), Ok(Granted::Drains { id: id() }));
    assert_eq!(acts(&stage.saves()), ["command"]);
    let denied = ask(&mut stage, drain()).expect_err("it drains").to_string();
    assert_eq!(denied, "i-1 is draining: only a booting or ready instance can be drained");
    assert_eq!(
        ask(&mut stage, Wish::CancelDrain { id: id(), by: String::new() }),
        Ok(Granted::WorksAgain { id: id() })
    );
    assert_eq!(acts(&stage.saves()), ["command"]);
    let denied = ask(&mut stage, Wish::CancelDrain { id: id(), by: String::new() }).expect_err("no drain").to_string();
    assert_eq!(denied, "i-1 is booting: it has no drain that can be cancelled");
}

#[test]
fn what_is_not_there_and_whoever_does_not_lead_is_said() {
    let mut stage = Stage::leading();
    assert_eq!(ask(&mut stage, drain()), Err(Rejection::NoSuchInstance { id: id() }.into()));
    assert_eq!(ask(&mut stage, Wish::Hold { reason: String::new() }), Ok(Granted::Held));
    stage.saves();
    assert!(stage.pool.state().hold().is_some());
    let resumed = ask(&mut stage, Wish::Resume { by: String::new() }).expect("granted").to_string();
    assert!(resumed.starts_with("resumed: the hold is lifted"), "{resumed}");
    stage.saves();
    stage.tell(Input::StandBy);
    assert_eq!(ask(&mut stage, Wish::Hold { reason: String::new() }), Err(Denied::NotTheLeader));
    assert!(stage.pool.state().hold().is_none());
}

#[test]
fn a_drill_is_granted_once_and_told_in_the_log_and_its_plan_launches() {
    let mut stage = Stage::leading();
    let drill = || Wish::Drill { instances: 1, by: "root".to_owned(), reason: "a new image".to_owned() };
    stage.tell(Input::Observed(Err("NOPERM".to_owned())));
    stage.effects_and_saves();
    let unknown = ask(&mut stage, drill()).expect_err("the queues are unknown").to_string();
    assert!(unknown.contains("no drill is begun: cannot read the queues (NOPERM)"), "{unknown}");
    stage.sees(0, Vec::new());
    stage.effects_and_saves();
    let granted = ask(&mut stage, drill()).expect("there is room");
    assert!(matches!(granted, Granted::Drills { number: 1, instances: 1, .. }), "{granted:?}");
    let done = stage.saves();
    assert_eq!(acts(&done), ["launch"]);
    let begun = Happening::DrillBegan { instances: 1, asked: "a new image, by root".to_owned() };
    assert!(done.iter().any(|it| matches!(it, Effect::Happened(happened) if *happened == begun)), "{done:?}");
    let rejected = ask(&mut stage, drill()).expect_err("one at a time");
    assert!(matches!(rejected, Denied::Rejected(Rejection::NoDrill(NoDrill::UnderWay { .. }))), "{rejected:?}");
}

#[test]
fn a_rehearsal_is_granted_once_the_agent_has_it() {
    let mut stage = Stage::with_ready_instance();
    let rehearse = || Wish::Rehearse { id: id(), notice: Duration::from_secs(60) };
    for is_delivered in [false, true] {
        stage.tell(Input::Operator(3, rehearse()));
        let mut effects = stage.effects();
        assert!(answer(&effects).is_none());
        let Some(Effect::Rehearse { epoch: 7, rehearsal }) = effects.pop() else { panic!("{effects:?}") };
        stage.tell(Input::Rehearsed { rehearsal, is_delivered });
        let answer = answer(&stage.effects()).expect("an answer");
        let granted = Granted::Rehearses { id: id(), notice: Duration::from_secs(60) };
        assert_eq!(answer, if is_delivered { Ok(granted) } else { Err(Denied::NotConnected { id: id() }) });
    }
    ask(&mut stage, drain()).expect("it is ready");
    stage.saves();
    let denied = ask(&mut stage, rehearse()).expect_err("it drains");
    assert!(matches!(denied, Denied::CannotRehearse { .. }));
}

#[test]
fn only_agents_of_expected_instances_are_let_in_and_only_by_the_leader() {
    let mut stage = Stage::with_ready_instance();
    let stranger = InstanceId("i-2".to_owned());
    assert_eq!(stage.pool.admission().check(&id()), Ok(()));
    assert_eq!(stage.pool.admission().check(&stranger), Err(NotAdmitted::NotExpected));
    let token = stage.pool.state().instances().next().map(|instance| instance.token.clone()).expect("one");
    stage.tell(Input::Listed { asked_at: stage.now().up, answer: Ok(vec![listed(token, Ec2State::Terminated)]) });
    assert_eq!(stage.pool.admission().check(&id()), Err(NotAdmitted::NotExpected), "it is gone");
    stage.saves();
    stage.tell(Input::StandBy);
    assert_eq!(stage.pool.admission().check(&id()), Err(NotAdmitted::NotTheLeader));
}

#[test]
fn what_a_stranger_says_changes_nothing() {
    let mut stage = Stage::leading();
    let before = stage.pool.state().clone();
    stage.tell(Input::FromAgent(id(), FromAgent::Reported(report(AgentPhase::Ready))));
    stage.tell(Input::FromAgent(id(), FromAgent::Notice { at: stage.now().wall, left: None, is_rehearsal: false }));
    assert_eq!(*stage.pool.state(), before);
    assert!(stage.effects().is_empty());
}

#[test]
fn an_instance_with_two_agents_is_drained_at_the_next_tick_and_its_agent_is_still_let_in_to_be_told() {
    let mut stage = Stage::with_ready_instance();
    stage.tell(Input::FromAgent(id(), FromAgent::RegisteredTwice));
    assert!(acts(&stage.saves()).contains(&"command"), "no observation is waited for");
    assert_eq!(stage.pool.admission().check(&id()), Ok(()));
    let denied = ask(&mut stage, Wish::CancelDrain { id: id(), by: String::new() })
        .expect_err("it is not taken back")
        .to_string();
    assert_eq!(denied, "i-1 is draining: it has no drain that can be cancelled");
    stage.tell(Input::FromAgent(id(), FromAgent::RegisteredTwice));
    assert!(!acts(&stage.saves()).contains(&"command"), "once");
}
