//! `spillway drill`: instances are launched for a queue in which nothing waits, each is ready once, and all are ended
//! again; what fails is said with its cause, and a coordinator that is killed meanwhile goes on with it.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use spillway_emulator::InstanceState;
use spillway_tests::coordinator::spillway;
use spillway_tests::process::{Process, output, text};
use spillway_tests::stage::{Setup, Stage, in_phase};
use spillway_tests::{QUEUE, app, jobs};

const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// With a queue that is there, and in which nothing waits.
async fn quiet(setup: Setup) -> Stage {
    let mut stage = Stage::without_coordinator(setup).await;
    let _: u64 = stage.redis.ask(&["HSET", &format!("bull:{QUEUE}:meta"), "opts.maxLenEvents", "10000"]);
    stage.start_coordinator().await;
    stage.until_pool("the queue and EC2 are seen", |pool| pool.desired).await;
    stage
}

/// What `spillway drill` prints with these arguments.
async fn drill(stage: &Stage, arguments: &[&str]) -> Output {
    let mut command = spillway(&stage.environment);
    command.arg("drill").args(arguments).env("SPILLWAY_SERVER", stage.coordinator().server());
    tokio::task::spawn_blocking(move || output(&mut command)).await.expect("the command")
}

/// The same as a process that goes on while the test does something else.
fn started(stage: &Stage, arguments: &[&str]) -> Process {
    let mut command = spillway(&stage.environment);
    command.arg("drill").args(arguments).env("SPILLWAY_SERVER", stage.coordinator().server());
    Process::start("drill", &mut command, &stage.directory.path().join("drill.log"))
}

/// The object that is printed last.
fn json(said: &str) -> Value {
    let line = said.lines().rev().find(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn none_is_left(stage: &Stage, launched: usize) {
    let instances = stage.instances();
    assert_eq!(instances.len(), launched, "{instances:?}");
    assert!(instances.iter().all(|it| it.state == InstanceState::Terminated), "{instances:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_in_an_empty_queue_launches_one_proves_it_and_ends_it() {
    let stage = quiet(Setup::default()).await;
    let rejected = drill(&stage, &["--instances", "3", "--json"]).await;
    let (answer, said) = (json(&text(&rejected.stdout)), text(&rejected.stderr));
    assert_eq!((rejected.status.code(), answer["ok"].as_bool()), (Some(1), Some(false)), "{answer}{said}");
    let cause = answer["cause"].as_str().unwrap_or_default();
    assert!(cause.contains("at the cap: 0 of max_instances 2") && cause.contains("ask for --instances 2"), "{cause}");

    let out = drill(&stage, &["--reason", "a new image"]).await;
    let said = text(&out.stdout);
    assert!(out.status.success(), "{said}{}{}", text(&out.stderr), stage.diagnosis().await);
    for step in ["accepted by EC2", "running", "registered", "ready", "draining", "drained", "terminated"] {
        assert_eq!(said.matches(&format!("\n  {step} ")).count(), 1, "{step} in {said}");
    }
    for part in ["boot step pull", "boot step install", "boot step start", "60 s billed; the price is not known"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(said.ends_with("1 of 1 ready\n"), "{said}");
    stage.until("the emulator has ended it", || stage.billing() == 0).await;
    none_is_left(&stage, 1);
    let coordinator = stage.coordinator();
    assert!(coordinator.explained("a drill of 1 instance, requested by an operator: a new image, by "));
    assert!(coordinator.explained("the drill is over: its worker was ready"));
    let status = coordinator.status();
    let of = &status["drill"];
    assert_eq!((of["number"].as_u64(), of["reason"].as_str()), (Some(1), Some("a new image")), "{of:#}");
    assert!(of["ended_at"].is_string() && of["instances"][0]["outcome"] == "ready", "{of:#}");
    assert_eq!((status["desired"].as_u64(), status["launched_total"].as_u64()), (Some(0), Some(1)), "{status:#}");
    let log = coordinator.process.log();
    assert!(log.contains("drill begun") && log.contains("drill over: each instance was ready"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_of_an_image_whose_boot_fails_exits_with_1_and_the_words_of_the_step() {
    let package = app::file("package.json").replace("5.81.5", "5.81.4");
    let stage = quiet(Setup { files: vec![("package.json", package)], ..Setup::default() }).await;
    let out = drill(&stage, &["--json"]).await;
    let (answer, said) = (json(&text(&out.stdout)), text(&out.stderr));
    assert_eq!((out.status.code(), answer["ok"].as_bool()), (Some(1), Some(false)), "{answer:#}{said}");
    assert_eq!((answer["ready"].as_u64(), answer["failed"].as_u64()), (Some(0), Some(1)), "{answer:#}");
    let instance = &answer["instances"][0];
    assert!(instance["cause"].as_str().is_some_and(|cause| cause.starts_with("boot failed: ")), "{answer:#}");
    assert!(said.contains("1 instance of 1 did not become ready: ") && said.contains("boot failed: "), "{said}");
    let steps = instance["boot_steps"].as_array().expect("a list");
    let install = steps.iter().find(|step| step["name"] == "install").unwrap_or_else(|| panic!("{answer:#}"));
    assert_eq!(install["state"], "failed", "{install:#}");
    assert!(install["output_tail"].as_str().is_some_and(|tail| tail.contains("lockfile is frozen")), "{install:#}");
    stage.until("the emulator has ended it", || stage.billing() == 0).await;
    none_is_left(&stage, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drill_goes_on_through_a_killed_coordinator_and_is_followed_through_it() {
    let mut stage = quiet(Setup::default()).await;
    let mut following = started(&stage, &["--instances", "2", "--json"]);
    // The image has not run here yet: the second instance waits for the first, also through the kill.
    stage.until_pool("the first instance boots", |pool| (in_phase(pool, "booting").count() == 1).then_some(())).await;
    let pool = stage.coordinator().pool().await;
    assert!(pool.instances.iter().all(|instance| instance.for_drill), "{pool:?}");
    let mut first = stage.coordinator.take().expect("it runs");
    first.process.signal(libc::SIGKILL);
    first.process.end_within(ENDS_WITHIN).await;
    stage.start_coordinator().await;
    let status = following.end_within(ENDS_WITHIN).await;
    let answer = json(&following.log());
    assert_eq!((status.code(), answer["ok"].as_bool()), (Some(0), Some(true)), "{answer:#}{}", stage.diagnosis().await);
    assert_eq!(answer["ready"], 2, "{answer:#}");
    stage.until("the emulator has ended them", || stage.billing() == 0).await;
    none_is_left(&stage, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demand_that_comes_meanwhile_keeps_its_instance_and_control_c_ends_nothing_but_the_command() {
    let environment = vec![("EC2_SPOT_MAX_COUNT", "1".to_owned())];
    let stage = quiet(Setup { environment, ..Setup::default() }).await;
    let mut following = started(&stage, &[]);
    stage.until_booting().await;
    following.signal(libc::SIGINT);
    let status = following.end_within(ENDS_WITHIN).await;
    assert_eq!(status.code(), Some(1));
    let said = following.log();
    assert!(said.contains("drill 1 of pool spillway goes on, and ends its instances by itself"), "{said}");
    // Those that it takes last longer than it takes until the demand is sustained.
    jobs::add(&stage.redis, 12, 10.0);
    let stays = |pool: &spillway_proto::v1::Pool| {
        let drill = pool.drill.clone().filter(|drill| drill.ended_at.is_some())?;
        Some(drill.instances[0].clone())
    };
    let kept = stage.until_pool("the drill is over", stays).await;
    // Where it was ready before the demand was sustained, its drain is cancelled instead of booting another.
    let is_kept =
        ["demand came, and the policy wants it (1 desired)", "its drain was cancelled"].contains(&&*kept.stays);
    assert!(kept.outcome == "ready" && is_kept, "{kept:?}");
    stage.until_ready(1).await;
    assert_eq!(stage.calls("RunInstances").len(), 1);
    let is_marked = stage.coordinator().pool().await.instances.iter().any(|instance| instance.for_drill);
    assert!(!is_marked, "it is an ordinary instance");
}
