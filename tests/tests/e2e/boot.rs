//! An instance whose boot fails never counts as capacity, is terminated at its deadline or when its agent reports the
//! failure, and is replaced, until three in a row have failed: then launching stops, and status says so. Its boot steps
//! show why.

use std::time::Duration;

use serde_json::Value;
use spillway_emulator::InstanceState;
use spillway_tests::process::{end_of, text};
use spillway_tests::stage::{Setup, Stage, in_phase};
use spillway_tests::{app, jobs, wait};

use crate::refusals::alerts;

const BOOT_TIMEOUT_MS: u64 = 4_000;
const BREAKER_MS: u64 = 12_000;

/// Waits until so many instances are terminated; none may ever be ready.
async fn until_terminated(stage: &Stage, count: usize) {
    let terminated = || stage.instances().iter().filter(|it| it.state == InstanceState::Terminated).count();
    wait::until(
        &format!("{count} terminated"),
        async || stage.diagnosis().await,
        async || {
            let pool = stage.coordinator().pool().await;
            assert_eq!(in_phase(&pool, "ready").count(), 0, "{}", stage.diagnosis().await);
            assert!(stage.billing() <= 2, "more than max_instances: {}", stage.diagnosis().await);
            (terminated() >= count).then_some(())
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boots_without_an_agent_end_at_the_deadline_and_three_of_them_open_the_breaker() {
    let environment = vec![
        ("SPILLWAY_POOL_BOOT_TIMEOUT", format!("{BOOT_TIMEOUT_MS}ms")),
        ("SPILLWAY_POOL_BREAKER_BACKOFF", format!("{BREAKER_MS}ms")),
    ];
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let stage = Stage::start(Setup { user_data, environment, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    until_terminated(&stage, 3).await;
    let three = || stage.calls("RunInstances").len() == 3;
    stage.throughout(Duration::from_millis(BREAKER_MS / 2), "no fourth launch while the breaker is open", three).await;
    let coordinator = stage.coordinator();
    assert!(coordinator.explained("its agent never registered"), "{}", stage.diagnosis().await);
    assert!(coordinator.explained("3 boots failed in a row: no launch for"), "{}", stage.diagnosis().await);
    assert_eq!(alerts(&stage, ""), 1, "{}", stage.diagnosis().await);

    stage.until("one instance tries when the back-off is over", || stage.calls("RunInstances").len() == 4).await;
    assert!(
        stage.coordinator().explained("boots failed before: one instance is tried first"),
        "{}",
        stage.diagnosis().await
    );
    let records = stage.instances();
    let third_ended = records[2].ending_ms.expect("the instance was terminated");
    let waited = records[3].launch_ms.saturating_sub(third_ended);
    // The breaker opens a tick or two before EC2 has ended the third.
    assert!(waited >= BREAKER_MS - 3_000, "the next try came after {waited} ms");
    for record in &records[..3] {
        let lived = record.ending_ms.expect("the instance was terminated").saturating_sub(record.launch_ms);
        assert!(lived >= BOOT_TIMEOUT_MS, "{} was terminated after {lived} ms", record.id);
    }
}

/// The status of the instance that failed first, once it is gone.
async fn first_gone(stage: &Stage) -> Value {
    until_terminated(stage, 1).await;
    stage.until_pool("the coordinator shows it Gone", |pool| in_phase(pool, "gone").next().map(drop)).await;
    stage.coordinator().status()["instances"][0].clone()
}

fn step<'a>(instance: &'a Value, name: &str) -> &'a Value {
    let steps = instance["boot_steps"].as_array().expect("a list");
    steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name} in {instance:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_crashes_again_and_again_is_never_ready_and_its_instance_is_replaced() {
    let crashes = "console.log('before the crash'); throw new Error('this worker crashes on purpose');\n".to_owned();
    let environment =
        vec![("SPILLWAY_POOL_BOOT_TIMEOUT", "40s".to_owned()), ("SPILLWAY_POOL_KEEP_FAILED_BOOTS", "3s".to_owned())];
    let stage = Stage::start(Setup { files: vec![("worker.js", crashes)], environment, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let instance = first_gone(&stage).await;
    for name in ["pull", "install", "start", "save"] {
        assert_eq!(step(&instance, name)["state"], "succeeded", "{instance:#}");
    }
    let why = instance["phase_reason"].as_str().unwrap_or_default();
    assert!(why.starts_with("terminated: boot "), "our reason comes first: {why}");
    // The cause is wherever an operator looks, also once the instance is gone.
    const CAUSE: &str = "this worker crashes on purpose";
    assert!(why.contains(CAUSE), "{why}");
    let worker_log = instance["worker_log"].as_str().unwrap_or_default();
    assert!(worker_log.contains(CAUSE) && worker_log.len() <= 2048, "{instance:#}");
    let words = |more: &[&str]| text(&stage.coordinator().command(&[&["status"], more].concat()).stdout);
    assert!(words(&[]).contains(CAUSE), "{}", words(&[]));
    assert!(words(&["--all"]).contains("the end of its worker's log:"), "{}", words(&["--all"]));
    let log = stage.coordinator().process.log();
    let says = |parts: &[&str]| log.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(says(&["boot failed: the end of its worker's log", CAUSE]), "{}", end_of(&log));
    assert!(says(&["the instance is kept for a person", "over=\"3 s\""]), "{}", end_of(&log));
    let said = step(&instance, "start")["output_tail"].as_str().unwrap_or_default();
    assert!(said.contains("video-worker"), "PM2's table is not in the step's output: {instance:#}");
    let explained =
        stage.coordinator().explained("boot failed:") || stage.coordinator().explained("boot timed out: not ready");
    assert!(explained, "{}", stage.diagnosis().await);
    stage.until("the instance is replaced", || stage.instances().len() >= 2).await;
    assert_eq!((jobs::completed(&stage.redis), jobs::failed(&stage.redis)), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_step_that_fails_ends_the_instance_and_its_output_is_shown() {
    let package = app::file("package.json").replace("5.81.5", "5.81.4");
    assert!(package.contains("5.81.4"), "package.json must not match the lock file");
    let stage = Stage::start(Setup { files: vec![("package.json", package)], ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let instance = first_gone(&stage).await;
    assert_eq!(step(&instance, "pull")["state"], "succeeded", "{instance:#}");
    let install = step(&instance, "install");
    assert_eq!(install["state"], "failed", "{instance:#}");
    assert_eq!(install["attempt"], 3, "two retries: {install:#}");
    assert!(install["output_tail"].as_str().is_some_and(|said| said.contains("lockfile is frozen")), "{install:#}");
    assert!(stage.coordinator().explained("boot failed: "), "{}", stage.diagnosis().await);
}
