//! The ways in which a worker without the shim goes: gracefully, idle, or killed; asked, cancelled, or on EC2's notice.

use std::time::Duration;

use spillway_proto::v1::session_response::Command;
use spillway_proto::v1::{AgentPhase, CancelDrain, Drain, NoticeKind};

use crate::stage::Stage;

const LONG: Duration = Duration::from_secs(300);

fn ready(worker: &str) -> Stage {
    let mut stage = Stage::new(worker);
    stage.configure("", "shim = false");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    stage
}

#[test]
fn a_graceful_worker_finishes_its_jobs_and_takes_no_more() {
    let stage = ready("worker.js");
    stage.add_jobs(&[6000, 6000]);
    stage.wait("the jobs to run", |stage| stage.active() == 2);
    stage.coordinator.drain("d1", LONG);
    stage.wait("draining", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Draining);
    // Without the shim it takes jobs until PM2 has sent the signal.
    stage.wait("the signal", |stage| stage.worker_said().contains("closing"));
    stage.add_jobs(&[1, 1]);
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    let drained = stage.coordinator.drained().unwrap_or_default();
    assert!(
        drained.clean && drained.command_id == "d1" && drained.jobs_left == Some(0),
        "{drained:?}\n{}",
        stage.story()
    );
    assert_eq!(drained.jobs_finished, 2, "{drained:?}\n{}", stage.story());
    assert_eq!((stage.completed(), stage.active()), (2, 0), "{}", stage.story());
    assert_eq!(stage.redis(&["LLEN", "bull:q:wait"]), "2", "a job was taken while draining");
    assert_eq!(stage.worker_pids(), [0; 0], "something of the worker is left");
    let results = stage.coordinator.results();
    assert!(results.len() == 1 && results[0].accepted && results[0].command_id == "d1", "{results:?}");
    assert_eq!(stage.coordinator.last_beat().phase(), AgentPhase::Drained);
}

#[test]
fn a_worker_that_would_die_of_the_signal_is_left_alone_until_it_is_idle() {
    let stage = ready("deaf.js");
    stage.wait("the warning", |stage| {
        stage.coordinator.last_beat().unprotected.iter().any(|words| words.contains("does not handle SIGINT"))
    });
    stage.add_jobs(&[6000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.coordinator.drain("d1", LONG);
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    let drained = stage.coordinator.drained().unwrap_or_default();
    assert!(drained.clean && drained.jobs_left == Some(0), "{drained:?}\n{}", stage.story());
    assert_eq!((stage.completed(), stage.active()), (1, 0), "{}", stage.story());
    assert_eq!(stage.worker_pids(), [0; 0], "something of the worker is left");
}

#[test]
fn a_deadline_stops_what_is_left_and_says_so() {
    let mut stage = Stage::new("deaf.js");
    stage.configure("", "shim = false\n[drain]\nmargin = \"4s\"");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    stage.add_jobs(&[600_000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.coordinator.drain("d1", Duration::from_secs(8));
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    let drained = stage.coordinator.drained().unwrap_or_default();
    assert!(
        !drained.clean && drained.jobs_handed_back == 1 && drained.jobs_finished == 0,
        "{drained:?}\n{}",
        stage.story()
    );
    assert_eq!(stage.worker_pids(), [0; 0], "something of the worker is left");
}

#[test]
fn a_worker_that_ignores_the_signal_is_killed_in_time() {
    let mut stage = Stage::new("stubborn.js");
    stage.configure("", "shim = false\n[drain]\nmargin = \"4s\"");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    stage.coordinator.drain("d1", Duration::from_secs(8));
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    let drained = stage.coordinator.drained().unwrap_or_default();
    assert!(drained.detail.contains("killed") && drained.jobs_left == Some(0), "{drained:?}\n{}", stage.story());
    assert_eq!(stage.worker_pids(), [0; 0], "something of the worker is left");
}

/// By the coordinator's wall clock the deadline was two hours ago, or is two hours later than it is.
#[test]
fn a_coordinator_whose_clock_is_hours_off_cuts_no_job_off_and_waits_for_none() {
    for (off, left, finished) in [(-7200, 600, 1), (7200, 6, 0)] {
        let stage = ready("worker.js");
        stage.add_jobs(&[if finished == 1 { 4000 } else { 60_000 }]);
        stage.wait("the job to run", |stage| stage.active() == 1);
        let at = std::time::UNIX_EPOCH.elapsed().expect("time").as_secs() as i64 + left + off;
        let deadline = Some(prost_types::Timestamp { seconds: at, nanos: 0 });
        let left = Some(prost_types::Duration { seconds: left, nanos: 0 });
        stage.coordinator.command("d1", 1, Command::Drain(Drain { deadline, left, reason: "test".into() }));
        stage.wait("drained", |stage| stage.coordinator.drained().is_some());
        let drained = stage.coordinator.drained().unwrap_or_default();
        let counts = (drained.jobs_finished, drained.jobs_handed_back, drained.jobs_left);
        assert_eq!(counts, (finished, 1 - finished, Some(0)), "{drained:?}\n{}", stage.story());
    }
}

#[test]
fn a_cancelled_drain_brings_the_worker_back() {
    let stage = ready("worker.js");
    stage.add_jobs(&[5000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.coordinator.drain("d1", LONG);
    stage.wait("draining", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Draining);
    stage.coordinator.command("c1", 1, Command::CancelDrain(CancelDrain {}));
    stage.wait("ready again", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    assert!(stage.coordinator.drained().is_none(), "{}", stage.story());
    assert_eq!((stage.completed(), stage.active()), (1, 0), "{}", stage.story());
    stage.add_jobs(&[1]);
    stage.wait("the worker to work", |stage| stage.completed() == 2);

    stage.coordinator.command("old", 0, Command::CancelDrain(CancelDrain {}));
    stage.wait("the answer", |stage| stage.coordinator.results().iter().any(|result| result.command_id == "old"));
    assert!(stage.coordinator.results().iter().all(|result| result.accepted == (result.command_id != "old")));
}

/// PM2 takes a second or two to start what it stopped: a drain in between waits for that, and stops it after all.
#[test]
fn a_drain_that_comes_while_the_worker_is_started_again_leaves_none_behind() {
    for pause in [0, 300, 900] {
        let stage = ready("worker.js");
        stage.coordinator.drain("d1", LONG);
        stage.wait("drained", |stage| stage.coordinator.drained().is_some());
        stage.coordinator.command("c1", 1, Command::CancelDrain(CancelDrain {}));
        std::thread::sleep(Duration::from_millis(pause));
        stage.coordinator.drain("d2", LONG);
        stage.wait("drained again", |stage| stage.coordinator.drained().is_some_and(|it| it.command_id == "d2"));
        // What came up all the same would be there by then, and would work.
        stage.add_jobs(&[1]);
        std::thread::sleep(Duration::from_secs(4));
        assert_eq!(stage.worker_pids(), [0; 0], "after {pause} ms: a worker was left\n{}", stage.story());
        assert_eq!((stage.completed(), stage.active()), (0, 0), "{}", stage.story());
    }
}

#[test]
fn a_notice_is_told_at_once_and_drains_without_being_asked() {
    let stage = ready("worker.js");
    stage.imds.withdraw_tokens();
    stage.imds.answer("meta-data/events/recommendations/rebalance", r#"{"noticeTime":"2026-11-05T08:22:00Z"}"#);
    stage.wait("the rebalance", |stage| stage.coordinator.notices().len() == 1);
    assert_eq!(stage.coordinator.last_beat().phase(), AgentPhase::Ready, "a rebalance alone drains nothing");
    stage.add_jobs(&[5000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.imds.interrupt("2099-01-01T00:00:00Z");
    stage.wait("draining", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Draining);
    let notice = stage.coordinator.notices().pop().unwrap_or_default();
    assert_eq!((notice.kind(), notice.action.as_str()), (NoticeKind::Interruption, "terminate"));
    stage.coordinator.command("c1", 1, Command::CancelDrain(CancelDrain {}));
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    let drained = stage.coordinator.drained().unwrap_or_default();
    assert!(drained.clean && drained.command_id.is_empty(), "{drained:?}");
    assert_eq!((stage.completed(), stage.active()), (1, 0), "{}", stage.story());
    let results = stage.coordinator.results();
    assert!(results.len() == 1 && !results[0].accepted, "a drain that EC2 wants is not cancelled: {results:?}");
}

#[test]
fn several_processes_with_sandboxed_jobs_finish_side_by_side() {
    let mut stage = Stage::new("sandboxed.js");
    stage.processes(3);
    stage.configure("", "shim = false");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().worker.is_some_and(|worker| worker.connections == 3));
    assert_eq!(stage.worker_pids().len(), 3, "{}", stage.story());
    stage.add_jobs(&[8000; 6]);
    stage.wait("the jobs to run", |stage| stage.active() == 6);
    stage.coordinator.drain("d1", LONG);
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    let drained = stage.coordinator.drained().unwrap_or_default();
    assert!(drained.clean && drained.jobs_left == Some(0), "{drained:?}\n{}", stage.story());
    assert_eq!((stage.completed(), stage.active()), (6, 0), "{}", stage.story());
    assert_eq!(stage.worker_pids(), [0; 0], "something of the worker is left");
}

#[test]
fn a_killed_worker_leaves_no_child_that_goes_on() {
    let mut stage = Stage::new("sandboxed.js");
    stage.configure("", "shim = false\n[drain]\nmargin = \"4s\"");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    stage.add_jobs(&[600_000]);
    stage.wait("the child", |stage| stage.active() == 1 && stage.worker_pids().len() >= 2);
    stage.coordinator.drain("d1", Duration::from_secs(8));
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    let drained = stage.coordinator.drained().unwrap_or_default();
    assert!(!drained.clean && drained.jobs_handed_back == 1 && drained.detail.contains("killed"), "{drained:?}");
    assert_eq!(stage.worker_pids(), [0; 0], "something of the worker is left\n{}", stage.story());
}

#[test]
fn a_short_kill_timeout_is_said_and_no_job_is_given_to_it() {
    let mut stage = Stage::new("worker.js");
    // As in an image where PM2's daemon runs before the agent.
    stage.environment("PM2_KILL_TIMEOUT", "2000");
    stage.configure("", "shim = false");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("the warning", |stage| {
        stage
            .coordinator
            .last_beat()
            .unprotected
            .iter()
            .any(|words| words.contains("pm2 kills the worker and its jobs 2 s after"))
    });
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    stage.add_jobs(&[6000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.coordinator.drain("d1", LONG);
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    let drained = stage.coordinator.drained().unwrap_or_default();
    assert!(drained.clean, "{drained:?}\n{}", stage.story());
    assert_eq!((stage.completed(), stage.active()), (1, 0), "{}", stage.story());
}
