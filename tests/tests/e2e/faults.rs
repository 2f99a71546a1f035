//! Failures of Redis and EC2 do no harm: without Redis or a listing nothing is launched or terminated, and health names
//! the failing part; EC2's refusals are backed off by class, shown, and never followed by a storm of calls; an
//! unanswered call and out-of-date listings never yield a second instance.

use std::time::Duration;

use spillway_emulator::{Call, InstanceState, Lose, Refuse};
use spillway_tests::coordinator::ServingStatus::{NotServing, Serving};
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage};

/// More than any test lets EC2 refuse.
const ALWAYS: u32 = 1_000_000;

fn refuse(stage: &Stage, action: &str, code: &str) {
    let fault = Refuse { action: action.to_owned(), code: code.to_owned(), calls: ALWAYS, message: None };
    stage.emulator().refuse(fault).expect("a fault");
}

async fn until_health(stage: &Stage, service: &str, serves: bool) {
    let wanted = if serves { Serving } else { NotServing };
    let what = format!("{service} is {wanted:?}");
    stage.until_async(&what, async || stage.coordinator().try_health(service).await == Some(wanted)).await;
}

/// An instance runs jobs, more jobs have just come, and then Redis is away for longer than every duration after which
/// something could happen: the steps' (3 s), idle (4 s), the lease (15 s); not the lost agent's (`boot_timeout`, 90 s).
async fn nothing_happens_without_redis(
    stage: &mut Stage,
    leave: impl FnOnce(&mut Stage),
    back: impl FnOnce(&mut Stage),
) {
    stage.start_primary().await;
    jobs::add(&stage.redis, 10, 2.0);
    stage.until_ready(1).await;
    jobs::add(&stage.redis, 25, 2.0);
    leave(stage);
    let acts = stage.acts();
    until_health(stage, "spillway.queue", false).await;
    until_health(stage, "", false).await;
    stage.throughout(Duration::from_secs(20), "nothing is launched or terminated", || stage.acts() == acts).await;
    let coordinator = stage.coordinator();
    assert_eq!(coordinator.health("spillway.queue").await, NotServing);
    assert_eq!(coordinator.health("spillway.cloud").await, Serving, "EC2 is there all the time");
    let status = coordinator.status();
    let problem = status["observation_problem"].as_str().unwrap_or_default();
    assert!(problem.contains("does not answer"), "{status}");
    back(stage);
    until_health(stage, "spillway.queue", true).await;
    until_health(stage, "spillway.leader", true).await;
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 35).await;
    stage.until_zero().await;
    assert_eq!(jobs::failed(&stage.redis), 0);
    assert!(stage.instances().len() >= 2, "scaling did not continue: {}", stage.diagnosis().await);
    assert!(stage.coordinator().explained("no scaling until"), "{}", stage.diagnosis().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_nothing_happens_and_then_it_goes_on() {
    let mut stage = Stage::start(Setup::default()).await;
    nothing_happens_without_redis(&mut stage, |stage| stage.redis.freeze(), |stage| stage.redis.go_on()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_dead_nothing_happens_and_then_it_goes_on() {
    let redis = vec!["--appendonly", "yes", "--appendfsync", "always"];
    let mut stage = Stage::start(Setup { redis, ..Setup::default() }).await;
    nothing_happens_without_redis(&mut stage, |stage| stage.redis.kill(), |stage| stage.redis.restart()).await;
}

/// Gaps between calls in ms.
fn gaps(calls: &[Call]) -> Vec<u64> {
    calls.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_capacity_launches_are_spaced_out_and_come_when_there_is_some() {
    let environment = vec![("SPILLWAY_POOL_CAPACITY_BACKOFF", "3s".to_owned())];
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    refuse(&stage, "RunInstances", "InsufficientInstanceCapacity");
    jobs::add(&stage.redis, 6, 1.0);
    stage.until("three launches are refused", || stage.calls("RunInstances").len() >= 3).await;
    let coordinator = stage.coordinator();
    assert!(coordinator.explained("no capacity: InsufficientInstanceCapacity"), "{}", stage.diagnosis().await);
    let calls = stage.calls("RunInstances");
    let gaps = gaps(&calls);
    assert!(gaps[0] >= 3_000 && gaps[1] >= 6_000, "the back-off is kept, and doubled: {gaps:?}");
    let tokens: std::collections::BTreeSet<_> = calls.iter().map(|call| call.client_token.clone()).collect();
    assert_eq!(tokens.len(), calls.len(), "a distinct attempt has a token of its own");
    stage.emulator().clear_faults();
    stage.until_ready(1).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 1);
    stage.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_launch_is_asked_again_ever_more_slowly_with_the_same_token() {
    let stage = Stage::start(Setup::default()).await;
    refuse(&stage, "RunInstances", "RequestLimitExceeded");
    jobs::add(&stage.redis, 6, 1.0);
    stage.until("four launches are refused", || stage.calls("RunInstances").len() >= 4).await;
    stage
        .until("it is said", || {
            stage.coordinator().explained("EC2 answered RequestLimitExceeded: the launch is retried in")
        })
        .await;
    let calls = stage.calls("RunInstances");
    let gaps = gaps(&calls);
    assert!(gaps[0] >= 2_000 && gaps[1] >= 4_000 && gaps[2] >= 8_000, "doubled each time: {gaps:?}");
    stage.emulator().clear_faults();
    stage.until_ready(1).await;
    stage.until_zero().await;
    let calls = stage.calls("RunInstances");
    assert!(calls.iter().all(|call| call.client_token == calls[0].client_token), "one intent, one token: {calls:?}");
    assert_eq!(stage.instances().len(), 1);
    stage.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_ec2s_list_nothing_happens() {
    let stage = Stage::start(Setup::default()).await;
    until_health(&stage, "spillway.cloud", true).await;
    refuse(&stage, "DescribeInstances", "InternalError");
    until_health(&stage, "spillway.cloud", false).await;
    jobs::add(&stage.redis, 6, 1.0);
    until_health(&stage, "spillway.queue", true).await;
    stage.throughout(Duration::from_secs(8), "nothing is launched", || stage.acts() == 0).await;
    assert_eq!(stage.coordinator().health("spillway.cloud").await, NotServing);
    assert_eq!(stage.coordinator().health("spillway.queue").await, Serving);
    let problem = stage.coordinator().status()["listing_problem"].clone();
    assert!(problem.as_str().is_some_and(|problem| problem.contains("InternalError")), "{problem}");
    let refused = stage.calls("DescribeInstances").iter().filter(|call| call.code == "InternalError").count();
    assert!(refused <= 6, "no storm of calls: {refused} refused in about 10 s");
    stage.emulator().clear_faults();
    until_health(&stage, "spillway.cloud", true).await;
    stage.until_ready(1).await;
    stage.until_zero().await;
    stage.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_does_not_launch_twice() {
    let stage = Stage::start(Setup::default()).await;
    stage.emulator().lose(Lose { action: "RunInstances".to_owned(), calls: 1 }).expect("a fault");
    jobs::add(&stage.redis, 6, 1.0);
    stage.until_ready(1).await;
    stage.until_zero().await;
    let calls = stage.calls("RunInstances");
    assert!(calls[0].lost && calls.iter().all(|call| call.client_token == calls[0].client_token), "{calls:?}");
    assert_eq!(stage.instances().len(), 1);
    stage.assert_each_ran_once(6);
}

/// EC2's listings lag: a new instance is not in them yet, and one that ended still is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_lists_neither_launch_twice_nor_forget_an_instance() {
    let stage = Stage::start(Setup::default()).await;
    stage.emulator().stale(Duration::from_secs(6)).expect("a fault");
    jobs::add(&stage.redis, 16, 1.0);
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 16).await;
    let ended = |state| matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated);
    stage.until("all instances are ended", || stage.instances().iter().all(|record| ended(record.state))).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 2, "{}", stage.diagnosis().await);
    assert_eq!(stage.calls("TerminateInstances").len(), 2, "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(16);
}
