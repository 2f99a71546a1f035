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
    assert!(stage.coordinator.last_beat().queues.iter().all(|queue| queue.limiter_max == Some(1)), "{}", stage.story());
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

/// Without the shim Redis alone tells, and connections are listed each 15 s only: a job that runs meanwhile hides that
/// the worker waits again once it has ended.
#[test]
fn the_end_of_a_long_job_is_no_gap_in_the_proof() {
    let mut stage = Stage::new("worker.js");
    stage.configure("", "shim = false");
    started(&mut stage);
    ready(&stage);
    let since = stage.coordinator.beats().len();
    stage.add_jobs(&[18_000, 18_000]);
    stage.wait("the jobs", |stage| stage.completed() == 2);
    std::thread::sleep(Duration::from_secs(12));
    let beats = stage.coordinator.beats().split_off(since);
    let is_proven = |beat: &Heartbeat| beat.worker.as_ref().is_some_and(|worker| worker.proven);
    let gaps: Vec<_> = beats.iter().filter(|beat| !is_proven(beat)).collect();
    assert!(beats.len() > 10 && gaps.is_empty(), "{gaps:#?}\n{}", stage.story());
}

#[test]
fn a_worker_that_was_drained_is_stopped_and_never_called_unprotected() {
    let mut stage = Stage::new("worker.js");
    started(&mut stage);
    ready(&stage);
    stage.add_jobs(&[3000]);
    stage.wait("the job", |stage| stage.active() == 1);
    stage.coordinator.drain("d1", Duration::from_secs(60));
    stage.wait("drained", |stage| stage.coordinator.drained().is_some());
    // Until its processes have been missed by every check.
    std::thread::sleep(Duration::from_secs(6));
    let beats = stage.coordinator.beats();
    let words = |beat: &Heartbeat| beat.worker.clone().unwrap_or_default().missing;
    for beat in &beats {
        assert!(beat.unprotected.is_empty(), "{:?}: {:?}\n{}", beat.phase(), beat.unprotected, stage.story());
        let expected = match beat.phase() {
            AgentPhase::Draining => "the worker is draining",
            AgentPhase::Drained => "the worker has stopped",
            _ => continue,
        };
        assert_eq!((words(beat).as_str(), beat.problem.as_str()), (expected, ""), "{}", stage.story());
    }
    assert!(beats.iter().filter(|beat| beat.phase() == AgentPhase::Drained).count() > 1, "{}", stage.story());
}

/// Bun takes the preload of a bunfig.toml instead of its environment's, if it is started as `bun run FILE`.
#[test]
fn a_preload_that_takes_the_shims_place_is_named() {
    let mut stage = Stage::new("bun");
    stage.environment("INTERPRETER", "none");
    stage.environment("ARGS", "run worker.js");
    std::fs::write(stage.path("app/bunfig.toml"), "preload = [\"./nothing.js\"]\n").expect("bunfig.toml");
    std::fs::write(stage.path("app/nothing.js"), "").expect("nothing.js");
    started(&mut stage);
    ready(&stage);
    stage.wait("the reason", |stage| {
        let words = stage.coordinator.last_beat().unprotected.join("; ");
        words.contains("the shim is not loaded: process ") && words.contains("loads the preload of ")
    });
    assert!(stage.log("agent.log").contains("a process of the worker runs without the shim"), "{}", stage.story());
}

/// What bun reads from the very file counts, and a line that says nothing to the agent is no reason to refuse.
#[test]
fn the_applications_env_file_is_read_as_bun_reads_it() {
    let mut stage = Stage::new("url.js");
    let file = format!(
        "TODO rotate\nTLS_KEY=\"-----BEGIN KEY-----\nMIIEow==\n-----END KEY-----\"\nREDIS_PORT={}\n\
         export REDIS_HOST = 127.0.0.1 # the shared one\nREDIS_URL=redis://${{REDIS_HOST}}:${{REDIS_PORT}}?db=3\nÜBER=1\n",
        stage.redis_port
    );
    std::fs::write(stage.path("app/.env"), file).expect(".env");
    started(&mut stage);
    let worker = ready(&stage);
    assert_eq!(worker.by, "name", "{}", stage.story());
    assert_eq!(stage.redis(&["-n", "3", "EXISTS", "bull:q:meta"]), "1");
}
