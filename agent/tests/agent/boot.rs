//! From a fresh instance to a proven worker, and the ways in which that fails.

use spillway_proto::v1::{AgentPhase, StepState};

use crate::stage::Stage;

#[test]
fn boots_from_the_repository_and_is_proven_by_name() {
    let mut stage = Stage::new("worker.js");
    let commit = stage.push_commit();
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);

    let steps = stage.coordinator.steps();
    let states: Vec<_> = steps.iter().map(|step| (step.name.as_str(), step.state())).collect();
    let each = |name| [(name, StepState::Running), (name, StepState::Succeeded)];
    assert_eq!(states, ["pull", "install", "start", "save"].map(each).concat(), "{}", stage.story());
    assert!(steps.iter().any(|step| step.output_tail.contains("bullmq")), "no output of bun install");
    assert_eq!(
        stage.coordinator.phases(),
        [AgentPhase::Booting, AgentPhase::Proving, AgentPhase::Ready],
        "{}",
        stage.story()
    );
    // A look at Redis between two of the worker's blocking calls finds it proven, and not fetching.
    stage.wait("the commit that was pulled, and a worker that waits for a job", |stage| {
        let beat = stage.coordinator.last_beat();
        beat.git_commit == commit && beat.worker.is_some_and(|worker| worker.fetching)
    });
    let beat = stage.coordinator.last_beat();
    let worker = beat.worker.clone().unwrap_or_default();
    assert!(worker.proven && worker.by == "name" && worker.processes == 1, "{beat:#?}");
    assert_eq!((worker.restarts, beat.active_jobs, beat.image_id.as_str()), (0, Some(0), "ami-1"), "{beat:#?}");
    assert!(beat.problem.is_empty() && beat.unprotected.is_empty(), "{beat:#?}");
    assert!(beat.redis_round_trip.is_some() && beat.memory_total_bytes > 0, "{beat:#?}");

    let identity = stage.coordinator.heard(|heard| heard.registrations[0].identity.clone()).unwrap_or_default();
    assert_eq!((identity.instance_id.as_str(), identity.instance_type.as_str()), (&*stage.instance_id, "c6i.xlarge"));
    let log = std::fs::read_to_string(stage.path("agent.log")).expect("agent.log");
    assert!(!log.contains(crate::coordinator::JOIN_TOKEN), "the join token is in the log");
}

#[test]
fn a_crash_looping_worker_fails_and_is_never_ready() {
    let mut stage = Stage::new("crash.js");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("failed", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Failed);
    let problem = stage.coordinator.last_beat().problem;
    assert!(problem.starts_with("the worker crash-loops"), "{problem}");
    stage.wait("its worker to be stopped", |stage| stage.worker_pids().is_empty());
}

#[test]
fn a_step_that_times_out_is_killed_and_tried_again() {
    let mut stage = Stage::new("worker.js");
    let line = "echo attempt; test -e once && exit 0; touch once; echo é $$ > pid; sleep 600 & wait";
    stage.configure(&format!("steps = [{{ name = \"slow\", run = {line:?}, timeout = \"2s\", retries = 1 }}]"), "");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("the second attempt", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Proving);
    let steps = stage.coordinator.steps();
    let states: Vec<_> = steps.iter().map(|step| (step.attempt, step.state())).collect();
    let expect =
        [(1, StepState::Running), (1, StepState::Retrying), (2, StepState::Running), (2, StepState::Succeeded)];
    assert_eq!(states, expect, "{}", stage.story());
    assert_eq!((steps[1].problem.as_str(), steps[1].output_tail.as_str()), ("timed out after 2 s", "attempt\n"));
    stage.wait("the reason for not being ready", |stage| {
        stage.coordinator.last_beat().worker.is_some_and(|worker| worker.missing == "pm2 shows no online process")
    });
}

#[test]
fn a_step_without_a_retry_left_fails_the_instance() {
    let mut stage = Stage::new("worker.js");
    stage.configure("steps = [{ name = \"bad\", run = \"echo why >&2; no-such-program\" }]", "");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("failed", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Failed);
    let steps = stage.coordinator.steps();
    let last = steps.last().cloned().unwrap_or_default();
    assert_eq!((last.state(), last.exit_code), (StepState::Failed, Some(127)), "{last:#?}");
    assert!(last.output_tail.starts_with("why\n") && last.problem.contains("not found"), "{last:#?}");
    assert!(
        stage.coordinator.last_beat().problem.contains("boot step bad failed and has no retry left"),
        "{}",
        stage.story()
    );
}
