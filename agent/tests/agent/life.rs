//! Coordinators that come and go, and agents that do.

use spillway_proto::v1::{AgentPhase, StepState};

use crate::coordinator::Coordinator;
use crate::stage::Stage;

#[test]
fn boots_without_a_coordinator_and_tells_it_all_later() {
    let mut stage = Stage::new("worker.js");
    stage.start_agent();
    stage.wait("the boot", |stage| !stage.worker_pids().is_empty());
    stage.wait("the proof", |stage| {
        std::fs::read_to_string(stage.path("agent.log")).is_ok_and(|log| log.contains("to=\"AGENT_PHASE_READY\""))
    });
    stage.start_coordinator();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    let states: Vec<_> = stage.coordinator.steps().iter().map(|step| (step.index, step.state())).collect();
    let whole: Vec<_> = (0..4).flat_map(|i| [(i, StepState::Running), (i, StepState::Succeeded)]).collect();
    assert_eq!(states, whole, "{}", stage.story());

    stage.coordinator.vanish();
    stage.start_coordinator();
    stage.wait("the next session", |stage| stage.coordinator.heard(|heard| heard.sessions) == 2);
    stage.wait("the latest of each step", |stage| stage.coordinator.steps().len() == whole.len() + 4);
    assert_eq!(stage.coordinator.heard(|heard| heard.registrations.len()), 1, "the token was good");

    stage.coordinator.vanish();
    stage.coordinator.forget_tokens();
    stage.start_coordinator();
    stage.wait("a registration anew", |stage| stage.coordinator.heard(|heard| heard.sessions) == 3);
    assert_eq!(stage.coordinator.heard(|heard| heard.registrations.len()), 2);
    let beats = stage.coordinator.beats().len();
    stage.wait("ready still", |stage| stage.coordinator.beats().len() > beats);
    assert_eq!(stage.coordinator.last_beat().phase(), AgentPhase::Ready);
}

#[test]
fn a_restarted_agent_leaves_the_worker_alone() {
    let mut stage = Stage::new("worker.js");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    let worker = stage.worker_pids();
    assert!(stage.stop_agent(), "{}", stage.story());
    stage.wait("the farewell", |stage| stage.coordinator.said_farewell());
    assert_eq!(stage.worker_pids(), worker, "the worker goes on");

    let beats = stage.coordinator.beats().len();
    stage.start_agent();
    stage.wait("ready again", |stage| {
        stage.coordinator.beats().split_off(beats).last().is_some_and(|beat| beat.phase() == AgentPhase::Ready)
    });
    assert_eq!(stage.worker_pids(), worker, "the worker was started again\n{}", stage.story());
    let registrations = stage.coordinator.heard(|heard| heard.registrations.len());
    assert_eq!(registrations, 2, "no token outlives the agent: it proves itself anew");
    stage.coordinator.drain("d1", std::time::Duration::from_secs(300));
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
}

#[test]
fn an_agent_that_leaves_in_the_middle_of_a_step_leaves_nothing_of_it() {
    let mut stage = Stage::new("worker.js");
    stage.configure("steps = [{ name = \"slow\", run = \"echo $$ > pid; trap '' TERM; sleep 600\" }]", "");
    stage.coordinator = Coordinator::start();
    stage.configure("steps = [{ name = \"slow\", run = \"echo $$ > pid; trap '' TERM; sleep 600\" }]", "");
    stage.start_agent();
    let pid = |stage: &Stage| std::fs::read_to_string(stage.path("app/pid")).unwrap_or_default().trim().to_owned();
    stage.wait("the step", |stage| !pid(stage).is_empty());
    assert!(stage.stop_agent(), "{}", stage.story());
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid(&stage))).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "the step still runs: {stat}");
}
