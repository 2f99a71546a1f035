//! No job is lost, whatever takes the instance away: an unmodified worker, its jobs finished or handed back, and run by
//! another worker in their first attempt and without a stall.

use std::time::Duration;

use spillway_proto::v1::session_response::Command;
use spillway_proto::v1::{AgentPhase, Drained, NoticeKind, Rehearse};

use crate::stage::Stage;

const LONG: Duration = Duration::from_secs(300);

/// Ready, with the shim in each of its worker's processes.
fn ready(worker: &str, rest: &str, processes: u32) -> Stage {
    let mut stage = Stage::new(worker);
    if processes > 1 {
        stage.processes(processes);
    }
    stage.configure("", rest);
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready with the shim", |stage| {
        let beat = stage.coordinator.last_beat();
        beat.phase() == AgentPhase::Ready && beat.shims == processes
    });
    stage
}

fn drained(stage: &Stage) -> Drained {
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    assert_eq!(stage.worker_pids(), [0; 0], "something of the worker is left\n{}", stage.story());
    stage.coordinator.drained().unwrap_or_default()
}

/// Jobs finished, handed back, left.
fn counts(drained: &Drained) -> (u32, u32, Option<u32>) {
    (drained.jobs_finished, drained.jobs_handed_back, drained.jobs_left)
}

#[test]
fn a_scale_in_takes_no_new_job_and_finishes_the_current_ones() {
    // A worker that would die of the signal: the fence alone keeps its jobs.
    let mut stage = ready("deaf.js", "", 1);
    stage.add_jobs(&[6000, 6000]);
    stage.wait("the jobs to run", |stage| stage.active() == 2);
    stage.coordinator.drain("d1", LONG);
    stage.wait("the fence", |stage| stage.coordinator.last_beat().fenced);
    stage.add_jobs(&[1, 1]);
    let drained = drained(&stage);
    assert!(drained.clean && !drained.killed, "{drained:?}\n{}", stage.story());
    assert_eq!(counts(&drained), (2, 0, Some(0)), "{}", stage.story());
    assert_eq!(stage.redis(&["LLEN", "bull:q:wait"]), "2", "a job was taken while fenced");
    stage.start_primary();
    stage.no_job_was_lost(4);
}

#[test]
fn a_notice_hands_back_in_process_what_cannot_finish() {
    let stage = ready("deaf.js", "[drain]\nmargin = \"4s\"", 2);
    stage.add_jobs(&[3000, 600_000, 600_000, 600_000]);
    stage.wait("the jobs to run", |stage| stage.active() == 4);
    stage.interrupt_in(15);
    stage.wait("the fence", |stage| stage.coordinator.last_beat().fenced);
    stage.wait("the job that can finish", |stage| stage.completed() == 1);
    let drained = drained(&stage);
    assert_eq!(counts(&drained), (1, 3, Some(0)), "{drained:?}\n{}", stage.story());
    assert!(stage.log("agent.log").contains("a worker process handed its jobs back"), "{}", stage.story());
    assert_eq!(stage.redis(&["LLEN", "bull:q:wait"]), "3", "{}", stage.story());
    for id in 2..=4 {
        assert_eq!(
            stage.redis(&["HMGET", &format!("bull:q:{id}"), "atm", "stc"]),
            "",
            "an attempt or a stall is spent"
        );
    }
}

#[test]
fn a_notice_that_leaves_no_time_hands_back_all_the_same() {
    for seconds in [0, 2] {
        let mut stage = ready("deaf.js", "", 1);
        stage.add_jobs(&[20_000, 20_000]);
        stage.wait("the jobs to run", |stage| stage.active() == 2);
        stage.interrupt_in(seconds);
        let drained = drained(&stage);
        assert_eq!(counts(&drained), (0, 2, Some(0)), "{seconds} s: {drained:?}\n{}", stage.story());
        stage.start_primary();
        stage.no_job_was_lost(2);
        assert_eq!((stage.ran_on(1).as_str(), stage.ran_on(2).as_str()), ("primary", "primary"));
    }
}

#[test]
fn a_rehearsal_is_a_notice_in_all_but_ec2s_word() {
    let mut stage = ready("deaf.js", "", 1);
    stage.add_jobs(&[20_000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    let at = std::time::UNIX_EPOCH.elapsed().expect("time") + Duration::from_secs(14);
    let deadline = prost_types::Timestamp { seconds: i64::try_from(at.as_secs()).expect("seconds"), nanos: 0 };
    stage.coordinator.command("r1", 1, Command::Rehearse(Rehearse { deadline: Some(deadline), left: None }));
    stage.wait("the notice", |stage| stage.coordinator.notices().len() == 1);
    let notice = stage.coordinator.notices().pop().unwrap_or_default();
    assert_eq!((notice.kind(), notice.action.as_str()), (NoticeKind::Interruption, "rehearsal"));
    assert!(notice.at.is_some_and(|at| (at.seconds - deadline.seconds).abs() <= 1), "{notice:?}");
    assert_eq!(counts(&drained(&stage)), (0, 1, Some(0)), "{}", stage.story());
    stage.start_primary();
    stage.no_job_was_lost(1);
}

#[test]
fn a_blocked_event_loop_is_killed_and_its_job_handed_back_from_outside() {
    let mut stage = ready("blocks.js", "[drain]\nmargin = \"6s\"", 1);
    stage.add_jobs(&[30_000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.interrupt_in(8);
    let drained = drained(&stage);
    assert!(drained.killed, "{drained:?}");
    assert_eq!(counts(&drained), (0, 1, Some(0)), "{drained:?}\n{}", stage.story());
    assert!(stage.log("agent.log").contains("handed back the jobs of the stopped worker"), "{}", stage.story());
    stage.start_primary();
    stage.no_job_was_lost(1);
}

#[test]
fn a_sandboxed_child_dies_before_its_job_is_handed_back() {
    let mut stage = ready("sandboxed.js", "[drain]\nmargin = \"4s\"", 1);
    stage.add_jobs(&[15_000, 15_000]);
    stage.wait("the children", |stage| stage.active() == 2 && stage.worker_pids().len() >= 3);
    stage.interrupt_in(8);
    let drained = drained(&stage);
    assert_eq!(counts(&drained), (0, 2, Some(0)), "{drained:?}\n{}", stage.story());
    stage.start_primary();
    stage.no_job_was_lost(2);
}

#[test]
fn a_worker_that_ignores_signals_is_killed_without_a_job() {
    let mut stage = ready("stubborn.js", "", 1);
    stage.add_jobs(&[3000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.coordinator.drain("d1", LONG);
    let drained = drained(&stage);
    assert!(drained.killed && drained.clean, "{drained:?}\n{}", stage.story());
    assert_eq!(counts(&drained), (1, 0, Some(0)), "{}", stage.story());
    stage.start_primary();
    stage.no_job_was_lost(1);
}

#[test]
fn pm2s_daemon_is_killed_in_the_middle_of_a_drain() {
    let mut stage = ready("deaf.js", "[drain]\nmargin = \"4s\"", 2);
    stage.add_jobs(&[4000, 600_000, 20_000]);
    stage.wait("the jobs to run", |stage| stage.active() == 3);
    stage.interrupt_in(14);
    stage.wait("the fence", |stage| stage.coordinator.last_beat().fenced);
    let daemon = stage.log("pm2/pm2.pid").trim().parse().ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(daemon.expect("PM2's daemon"), rustix::process::Signal::KILL).expect("it is gone");
    let drained = drained(&stage);
    // The worker's processes die with it, or soon after.
    let (finished, handed_back, left) = counts(&drained);
    assert_eq!((finished + handed_back, left), (3, Some(0)), "{drained:?}\n{}", stage.story());
    stage.redis(&["HSET", "bull:q:2", "data", "{\"ms\":1}"]);
    stage.start_primary();
    stage.no_job_was_lost(3);
}

#[test]
fn the_agent_is_killed_and_comes_back_in_the_middle_of_a_drain() {
    let mut stage = ready("deaf.js", "", 1);
    stage.add_jobs(&[15_000, 15_000]);
    stage.wait("the jobs to run", |stage| stage.active() == 2);
    stage.coordinator.drain("d1", LONG);
    stage.wait("the fence", |stage| stage.coordinator.last_beat().fenced);
    stage.kill_agent();
    stage.add_jobs(&[1]);
    stage.start_agent();
    stage.wait("the agent to be back", |stage| stage.coordinator.heard(|heard| heard.sessions) == 2);
    stage.wait("its worker, still fenced", |stage| {
        let beat = stage.coordinator.last_beat();
        beat.shims == 1 && beat.fenced && beat.active_jobs == Some(2)
    });
    // As a coordinator does that sees it go on working.
    stage.coordinator.drain("d2", LONG);
    let drained = drained(&stage);
    assert!(drained.clean && drained.command_id == "d2", "{drained:?}\n{}", stage.story());
    assert_eq!(counts(&drained), (2, 0, Some(0)), "{}", stage.story());
    assert_eq!(stage.redis(&["LLEN", "bull:q:wait"]), "1", "a job was taken while fenced");
    stage.start_primary();
    stage.no_job_was_lost(3);
}

#[test]
fn redis_is_gone_for_ten_seconds_in_the_middle_of_a_drain() {
    let mut stage = ready("deaf.js", "[drain]\nmargin = \"4s\"", 1);
    stage.add_jobs(&[5000, 600_000]);
    stage.wait("the jobs to run", |stage| stage.active() == 2);
    // Away from before the hand-back is due until after the deadline.
    stage.interrupt_in(9);
    stage.wait("the fence", |stage| stage.coordinator.last_beat().fenced);
    stage.freeze_redis(true);
    std::thread::sleep(Duration::from_secs(10));
    stage.freeze_redis(false);
    let drained = drained(&stage);
    assert_eq!(
        (drained.jobs_left, drained.jobs_finished + drained.jobs_handed_back),
        (Some(0), 2),
        "{}",
        stage.story()
    );
    stage.redis(&["HSET", "bull:q:2", "data", "{\"ms\":1}"]);
    stage.start_primary();
    stage.no_job_was_lost(2);
}

#[test]
fn a_cancelled_drain_takes_jobs_again_at_once() {
    let stage = ready("deaf.js", "", 1);
    let pids = stage.worker_pids();
    stage.add_jobs(&[4000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.coordinator.drain("d1", LONG);
    stage.wait("the fence", |stage| stage.coordinator.last_beat().fenced);
    stage.coordinator.command("c1", 1, Command::CancelDrain(spillway_proto::v1::CancelDrain {}));
    stage.wait("ready again", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    assert_eq!(stage.worker_pids(), pids, "the worker was started anew");
    stage.add_jobs(&[1]);
    stage.no_job_was_lost(2);
    assert_eq!(stage.ran_on(2), stage.instance_id);
}

#[test]
fn without_the_shim_a_drain_signals_and_what_is_cut_off_is_handed_back() {
    let mut stage = Stage::new("deaf.js");
    stage.configure("", "shim = false\n[drain]\nmargin = \"4s\"");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    let beat = stage.coordinator.last_beat();
    assert!(beat.shims == 0 && beat.unprotected.iter().any(|words| words.contains("worker.shim is false")), "{beat:?}");
    stage.add_jobs(&[15_000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.interrupt_in(8);
    assert_eq!(counts(&drained(&stage)), (0, 1, Some(0)), "{}", stage.story());
    stage.start_primary();
    stage.no_job_was_lost(1);
}
