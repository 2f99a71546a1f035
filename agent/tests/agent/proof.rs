//! Workers that are healthy and do not look so, and workers that look healthy and are not.

use std::time::Duration;

use spillway_proto::v1::{AgentPhase, Heartbeat, WorkerProof};

use crate::stage::Stage;

fn started(stage: &mut Stage) {
    stage.start_coordinator();
    stage.start_agent();
}

fn ready(stage: &Stage) -> WorkerProof {
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    stage.coordinator.last_beat().worker.unwrap_or_default()
}

fn missing(stage: &Stage, words: &str) -> Heartbeat {
    stage.wait(words, |stage| {
        stage.coordinator.last_beat().worker.is_some_and(|worker| !worker.proven && worker.missing.contains(words))
    });
    stage.coordinator.last_beat()
}

/// It never gets a job: the limit was used up before it came.
#[test]
fn a_rate_limited_worker_is_ready_and_says_for_how_long_it_waits() {
    let mut stage = Stage::new("limited.js");
    stage.redis(&["SET", "bull:q:limiter", "1", "PX", "600000"]);
    started(&mut stage);
    stage.wait("the application", |stage| stage.log("agent.log").contains("boot step started step=\"start\""));
    stage.add_jobs(&[1, 1]);
    ready(&stage);
    stage.wait("why it waits", |stage| {
        let worker = stage.coordinator.last_beat().worker.unwrap_or_default();
        worker.proven && worker.waits_for.starts_with("rate limited for 9 min")
    });
    assert_eq!((stage.completed(), stage.active()), (0, 0));
    assert!(stage.coordinator.last_beat().unprotected.is_empty(), "{}", stage.story());
}

#[test]
fn a_worker_that_the_application_paused_is_ready_and_says_so() {
    let mut stage = Stage::new("paused.js");
    started(&mut stage);
    ready(&stage);
    stage.wait("why it waits", |stage| {
        stage.coordinator.last_beat().worker.is_some_and(|worker| worker.waits_for == "paused by the application")
    });
}

#[test]
fn a_long_wait_is_healthy_and_a_process_that_hangs_in_it_is_not() {
    let mut stage = Stage::new("patient.js");
    started(&mut stage);
    ready(&stage);
    let since = stage.coordinator.beats().len();
    // Longer than BullMQ's default wait, and than the agent's list of connections is kept.
    std::thread::sleep(Duration::from_secs(20));
    let beats = stage.coordinator.beats().split_off(since);
    let is_proven = |beat: &Heartbeat| beat.worker.as_ref().is_some_and(|worker| worker.proven);
    assert!(beats.len() > 3 && beats.iter().all(is_proven), "{}", stage.story());
    let signal = |signal| {
        for pid in stage.worker_pids().into_iter().filter_map(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, signal).expect("the worker");
        }
    };
    signal(rustix::process::Signal::STOP);
    missing(&stage, "the worker's processes do not answer");
    signal(rustix::process::Signal::CONT);
    stage.wait("the proof", |stage| is_proven(&stage.coordinator.last_beat()));
    assert_eq!(stage.coordinator.last_beat().phase(), AgentPhase::Ready, "{}", stage.story());
}

#[test]
fn without_client_list_the_workers_own_word_is_enough() {
    let mut stage = Stage::new("worker.js");
    stage.redis(&["ACL", "SETUSER", "default", "-client"]);
    started(&mut stage);
    let worker = ready(&stage);
    assert_eq!((worker.by.as_str(), worker.connections), ("shim", 0), "{}", stage.story());
    stage.add_jobs(&[10, 10]);
    stage.no_job_was_lost(2);
}

#[test]
fn a_worker_of_another_queue_or_database_is_not_ready_and_both_are_named() {
    for (name, value, words) in [
        (
            "QUEUE",
            "vidoe",
            "the worker works queue \"vidoe\" (prefix bull), and worker.queues and worker.prefix say \"q\"",
        ),
        ("DB", "1", "the worker is connected to another Redis or database at 127.0.0.1:"),
    ] {
        let mut stage = Stage::new("elsewhere.js");
        stage.environment(name, value);
        started(&mut stage);
        let beat = missing(&stage, words);
        assert_eq!(beat.phase(), AgentPhase::Proving, "{}", stage.story());
        let queue = if name == "QUEUE" { value } else { "q" };
        let told: Vec<_> = beat.queues.iter().map(|it| (it.queue.as_str(), it.prefix.as_str())).collect();
        assert_eq!(told, [(queue, "bull")]);
    }
}

#[test]
fn a_worker_that_throws_at_its_start_tells_why_without_its_secrets() {
    let mut stage = Stage::new("throws.js");
    stage.environment("DB_PASSWORD", "swordfish");
    started(&mut stage);
    stage.wait("failed", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Failed);
    let beat = stage.coordinator.last_beat();
    assert!(beat.problem.starts_with("the worker crash-loops: error: cannot log in as *** "), "{}", stage.story());
    let log = beat.worker.unwrap_or_default().log_tail;
    assert!(log.contains("throws.js") && log.len() <= 2048, "{log}");
    assert!(!log.contains("swordfish") && !log.contains('\u{1b}'), "{log}");
    assert!(!stage.log("agent.log").contains("swordfish"), "a secret is in the log");
}

#[test]
fn a_shim_that_is_lost_on_the_way_is_explained() {
    let mut stage = Stage::new("node.cjs");
    stage.environment("INTERPRETER", "node");
    stage.environment("APP_ENV", "{ \"NODE_OPTIONS\": \"--max-old-space-size=4096\" }");
    started(&mut stage);
    stage.wait("the reason", |stage| {
        let words = stage.coordinator.last_beat().unprotected.join("; ");
        words.contains("the shim is not loaded: NODE_OPTIONS of process ")
            && words.contains("(worker) does not pass it on: it is \"--max-old-space-size=4096\" there")
    });
    assert!(stage.log("agent.log").contains("a process of the worker runs without the shim"), "{}", stage.story());

    // By the same file, but passed on.
    let mut stage = Stage::new("node.cjs");
    stage.environment("INTERPRETER", "node");
    started(&mut stage);
    ready(&stage);
    assert!(stage.coordinator.last_beat().unprotected.is_empty(), "{}", stage.story());
}
