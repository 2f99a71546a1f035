//! What is written down: the record of plans in the ledger, and the lines of the log.

use std::time::Duration;

use spillway_brain::{AgentPhase, Ec2State, LaunchAnswer, PhaseKind, RefusalClass, Report, StateReason, Step};
use spillway_pool::{Effect, FromAgent, Happening, Input};

use crate::support::{Stage, config, id, listed, report};

/// What is logged, and how many plans are recorded.
fn said(effects: Vec<Effect>) -> (Vec<Happening>, usize) {
    let recorded = effects.iter().filter(|effect| matches!(effect, Effect::Save(save) if save.is_recorded)).count();
    let said = effects.into_iter().filter_map(|effect| match effect {
        Effect::Happened(happening) => Some(happening),
        _ => None,
    });
    (said.collect(), recorded)
}

impl Stage {
    fn says(&mut self) -> Vec<Happening> {
        said(self.effects_and_saves()).0
    }
}

#[test]
fn each_observation_has_one_record_whatever_else_makes_for_ticks() {
    let mut brain = config();
    brain.interval = Duration::from_secs(1);
    let mut stage = Stage::leading_with(brain);
    let mut recorded = 0;
    for _ in 0..60 {
        stage.seconds += 1;
        stage.sees(0, Vec::new());
        recorded += said(stage.effects_and_saves()).1;
        // Something else happens in between: nothing new to record.
        stage.tell(Input::Listed { asked_at: stage.now().up, answer: Ok(Vec::new()) });
        recorded += said(stage.effects_and_saves()).1;
    }
    assert_eq!(recorded, 60);
}

/// Ticks that follow each other faster than the interval are no reason to record nothing.
#[test]
fn what_cannot_be_observed_is_recorded_once_in_an_interval() {
    let mut stage = Stage::leading();
    let mut recorded = 0;
    for _ in 0..60 {
        stage.seconds += 1;
        stage.tell(Input::Observed(Err("Redis does not answer".to_owned())));
        recorded += said(stage.effects_and_saves()).1;
    }
    assert_eq!(recorded, 6, "one in ten seconds");
}

#[test]
fn an_instances_life_has_one_line_for_each_change_and_nothing_each_tick() {
    let mut stage = Stage::leading();
    stage.effects();
    let token = stage.floods();
    let (happenings, _) = said(stage.saves());
    assert!(
        matches!(&happenings[..], [Happening::DesiredChanged { from: 0, to: 1, reason }] if reason.contains("1 job")),
        "{happenings:?}"
    );
    stage.seconds += 2;
    stage.tell(Input::LaunchAnswered { token: token.clone(), answer: LaunchAnswer::Accepted { id: id() } });
    let booting = stage.says();
    assert!(matches!(&booting[..], [Happening::PhaseChanged { phase: PhaseKind::Booting, .. }]), "{booting:?}");
    stage.seconds += 45;
    stage.sees(1, vec![listed(token.clone(), Ec2State::Running)]);
    stage.tell(Input::FromAgent(id(), FromAgent::Registered));
    stage.tell(Input::FromAgent(id(), FromAgent::Reported(report(AgentPhase::Ready))));
    let ready = stage.says();
    assert!(
        matches!(&ready[..], [Happening::PhaseChanged { id, phase: PhaseKind::Ready, after: Some(after), .. }]
            if id == "i-1" && after.as_secs() == 45),
        "{ready:?}"
    );
    for _ in 0..30 {
        stage.seconds += 10;
        stage.sees(1, vec![listed(token.clone(), Ec2State::Running)]);
        stage.tell(Input::FromAgent(id(), FromAgent::Reported(report(AgentPhase::Ready))));
        assert_eq!(stage.says(), [], "nothing each tick");
    }
    let mut gone = listed(token, Ec2State::Terminated);
    gone.state_reason = Some(StateReason::new("Server.SpotInstanceTermination", ""));
    stage.sees(1, vec![gone]);
    let gone = stage.says();
    assert!(
        matches!(&gone[..], [Happening::PhaseChanged { phase: PhaseKind::Gone, after: Some(after), reason, .. }, ..]
            if after.as_secs() == 345 && reason.contains("Server.SpotInstanceTermination")),
        "{gone:?}"
    );
}

#[test]
fn a_boot_that_failed_has_a_line_with_the_end_of_its_workers_log() {
    let mut brain = config();
    brain.keep_failed_boots = Duration::from_secs(600);
    let mut stage = Stage::leading_with(brain);
    let token = stage.floods();
    stage.effects();
    stage.seconds += 2;
    stage.tell(Input::LaunchAnswered { token: token.clone(), answer: LaunchAnswer::Accepted { id: id() } });
    stage.tell(Input::FromAgent(id(), FromAgent::Registered));
    let log = "Error: boom\n    at worker.js:1:7".to_owned();
    let proving = Report { worker_log: Some(log.clone()), ..report(AgentPhase::Proving) };
    stage.tell(Input::FromAgent(id(), FromAgent::Reported(proving)));
    stage.effects();
    stage.tell(Input::FromAgent(id(), FromAgent::Reported(report(AgentPhase::Failed))));
    stage.sees(1, vec![listed(token.clone(), Ec2State::Running)]);
    let said = stage.says();
    let failed = Happening::BootFailed { id: "i-1".to_owned(), log };
    let kept = Happening::Kept { id: "i-1".to_owned(), over: Duration::from_secs(600) };
    assert_eq!(said[1..], [failed, kept], "{said:?}");
    stage.seconds += 10;
    stage.sees(1, vec![listed(token, Ec2State::Running)]);
    assert_eq!(stage.says(), [], "once");
}

#[test]
fn adoptions_windows_and_back_offs_have_a_line() {
    let mut brain = config();
    brain.policy.steps = vec![Step { jobs: 1, over: Duration::from_secs(60), instances: 2 }];
    let mut stage = Stage::leading_with(brain);
    stage.sees(1, Vec::new());
    let window = stage.says();
    assert!(matches!(&window[..], [Happening::WindowBegan { jobs: 1, instances: 2, .. }]), "{window:?}");
    for _ in 0..5 {
        stage.seconds += 10;
        stage.sees(1, Vec::new());
        assert_eq!(stage.says(), []);
    }
    stage.seconds += 10;
    stage.sees(1, Vec::new());
    let effects = stage.effects_and_saves();
    let token = effects.iter().find_map(|effect| match effect {
        Effect::Launch { token } => Some(token.clone()),
        _ => None,
    });
    let answer =
        LaunchAnswer::Refused { class: RefusalClass::Capacity, code: "NoRoom".to_owned(), message: "none".to_owned() };
    stage.tell(Input::LaunchAnswered { token: token.expect("a launch"), answer });
    let refused = stage.says();
    let wait = refused.iter().find_map(|it| match it {
        Happening::BackOffBegan { code, wait: Some(wait), .. } if code == "NoRoom" => Some(*wait),
        _ => None,
    });
    assert_eq!(wait, Some(Duration::from_secs(180)), "{refused:?}");
    stage.seconds += 181;
    stage.sees(0, Vec::new());
    let over = stage.says();
    assert!(matches!(&over[..], [Happening::BackOffEnded { code }] if code == "NoRoom"), "{over:?}");
    let stranger = listed(spillway_brain::LaunchToken("other-1".to_owned()), Ec2State::Running);
    stage.sees(0, vec![stranger]);
    let adopted = stage.says();
    assert!(matches!(&adopted[..], [Happening::Adopted { id, .. }] if id == "i-1"), "{adopted:?}");
}

/// What was undone never happened; it is told when it does.
#[test]
fn what_was_not_saved_is_not_told() {
    let mut stage = Stage::leading();
    stage.floods();
    stage.tell(Input::Saved(spillway_pool::Saved::Failed { problem: "Redis does not answer".to_owned() }));
    let (happenings, _) = said(stage.effects());
    assert!(matches!(&happenings[..], [Happening::LedgerUnwritable { .. }]), "{happenings:?}");
    stage.floods();
    let (happenings, _) = said(stage.saves());
    assert!(matches!(&happenings[..], [Happening::DesiredChanged { .. }]), "{happenings:?}");
}
