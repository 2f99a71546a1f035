//! What fails outside does no harm: without Redis or EC2's list nothing is launched or terminated and health says which
//! part does not serve; EC2's refusals are backed off by class, shown, and never answered with a storm of calls; a lost
//! answer and stale lists never yield a second instance.

use std::time::Duration;

use spillway_emulator::{Call, InstanceState, Lose, Refuse};
use spillway_tests::coordinator::ServingStatus::{NotServing, Serving};
use spillway_tests::jobs;
use spillway_tests::world::{Setup, World};

/// More than any test lets EC2 refuse.
const ALWAYS: u32 = 1_000_000;

fn refuse(world: &World, action: &str, code: &str) {
    let fault = Refuse { action: action.to_owned(), code: code.to_owned(), calls: ALWAYS, message: None };
    world.emulator().refuse(fault).expect("a fault");
}

async fn until_health(world: &World, service: &str, serves: bool) {
    let wanted = if serves { Serving } else { NotServing };
    let what = format!("{service} is {wanted:?}");
    world.until_async(&what, async || world.coordinator().try_health(service).await == Some(wanted)).await;
}

/// An instance works, more of the flood has just come, and then Redis is away for longer than every span that could make
/// something happen: the steps' (3 s), idle (4 s), the lease (15 s), the lost agent (90 s is `boot_timeout`, so not that).
async fn nothing_happens_without_redis(
    world: &mut World,
    leave: impl FnOnce(&mut World),
    back: impl FnOnce(&mut World),
) {
    world.start_primary().await;
    jobs::add(&world.redis, 10, 2.0);
    world.until_ready(1).await;
    jobs::add(&world.redis, 25, 2.0);
    leave(world);
    let acts = world.acts();
    until_health(world, "spillway.queue", false).await;
    until_health(world, "", false).await;
    world.throughout(Duration::from_secs(20), "nothing is launched or terminated", || world.acts() == acts).await;
    let coordinator = world.coordinator();
    assert_eq!(coordinator.health("spillway.queue").await, NotServing);
    assert_eq!(coordinator.health("spillway.cloud").await, Serving, "EC2 is there all the time");
    let status = coordinator.status();
    let problem = status["observation_problem"].as_str().unwrap_or_default();
    assert!(problem.contains("does not answer"), "{status}");
    back(world);
    until_health(world, "spillway.queue", true).await;
    until_health(world, "spillway.leader", true).await;
    world.until("all jobs are completed", || jobs::completed(&world.redis) == 35).await;
    world.until_zero().await;
    assert_eq!(jobs::failed(&world.redis), 0);
    assert!(world.instances().len() >= 2, "the flood goes on to be worked off: {}", world.story().await);
    assert!(world.coordinator().explained("no scaling until"), "{}", world.story().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_hangs_nothing_happens_and_then_it_goes_on() {
    let mut world = World::start(Setup::default()).await;
    nothing_happens_without_redis(&mut world, |world| world.redis.freeze(), |world| world.redis.go_on()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_redis_is_dead_nothing_happens_and_then_it_goes_on() {
    let redis = vec!["--appendonly", "yes", "--appendfsync", "always"];
    let mut world = World::start(Setup { redis, ..Setup::default() }).await;
    nothing_happens_without_redis(&mut world, |world| world.redis.kill(), |world| world.redis.restart()).await;
}

/// Gaps between calls in ms.
fn gaps(calls: &[Call]) -> Vec<u64> {
    calls.windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_capacity_launches_are_spaced_out_and_come_when_there_is_some() {
    let environment = vec![("SPILLWAY_POOL_CAPACITY_BACKOFF", "3s".to_owned())];
    let world = World::start(Setup { environment, ..Setup::default() }).await;
    refuse(&world, "RunInstances", "InsufficientInstanceCapacity");
    jobs::add(&world.redis, 6, 1.0);
    world.until("three launches are refused", || world.calls("RunInstances").len() >= 3).await;
    let coordinator = world.coordinator();
    assert!(coordinator.explained("no capacity: InsufficientInstanceCapacity"), "{}", world.story().await);
    let calls = world.calls("RunInstances");
    let gaps = gaps(&calls);
    assert!(gaps[0] >= 3_000 && gaps[1] >= 6_000, "the back-off is kept, and doubled: {gaps:?}");
    let tokens: std::collections::BTreeSet<_> = calls.iter().map(|call| call.client_token.clone()).collect();
    assert_eq!(tokens.len(), calls.len(), "a distinct attempt has a token of its own");
    world.emulator().clear_faults();
    world.until_ready(1).await;
    world.until_zero().await;
    assert_eq!(world.instances().len(), 1);
    world.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_launch_is_asked_again_ever_more_slowly_with_the_same_token() {
    let world = World::start(Setup::default()).await;
    refuse(&world, "RunInstances", "RequestLimitExceeded");
    jobs::add(&world.redis, 6, 1.0);
    world.until("four launches are refused", || world.calls("RunInstances").len() >= 4).await;
    world
        .until("it is said", || {
            world.coordinator().explained("EC2 answered RequestLimitExceeded: the launch is retried in")
        })
        .await;
    let calls = world.calls("RunInstances");
    let gaps = gaps(&calls);
    assert!(gaps[0] >= 2_000 && gaps[1] >= 4_000 && gaps[2] >= 8_000, "doubled each time: {gaps:?}");
    world.emulator().clear_faults();
    world.until_ready(1).await;
    world.until_zero().await;
    let calls = world.calls("RunInstances");
    assert!(calls.iter().all(|call| call.client_token == calls[0].client_token), "one intent, one token: {calls:?}");
    assert_eq!(world.instances().len(), 1);
    world.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_launch_that_is_not_allowed_is_not_tried_again_until_a_person_resumes() {
    let world = World::start(Setup::default()).await;
    refuse(&world, "RunInstances", "UnauthorizedOperation");
    jobs::add(&world.redis, 6, 1.0);
    world.until("a launch is refused", || !world.calls("RunInstances").is_empty()).await;
    world.until("an alert", || world.coordinator().explained("Launching is stopped: fix it")).await;
    world.emulator().clear_faults();
    let once = || world.calls("RunInstances").len() == 1;
    world.throughout(Duration::from_secs(15), "no launch although EC2 would allow it now", once).await;
    assert!(world.coordinator().explained("EC2 refused a launch (UnauthorizedOperation"), "{}", world.story().await);
    let alerts = world.coordinator().explain();
    let alerts = alerts.iter().flat_map(|plan| plan["decisions"].as_array().cloned().unwrap_or_default());
    assert_eq!(alerts.filter(|decision| decision["kind"] == "alert").count(), 1, "raised once");
    world.coordinator().json(&["resume"]);
    world.until_ready(1).await;
    world.until_zero().await;
    assert_eq!(world.instances().len(), 1);
    world.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_ec2s_list_nothing_happens() {
    let world = World::start(Setup::default()).await;
    until_health(&world, "spillway.cloud", true).await;
    refuse(&world, "DescribeInstances", "InternalError");
    until_health(&world, "spillway.cloud", false).await;
    jobs::add(&world.redis, 6, 1.0);
    until_health(&world, "spillway.queue", true).await;
    world.throughout(Duration::from_secs(8), "nothing is launched", || world.acts() == 0).await;
    assert_eq!(world.coordinator().health("spillway.cloud").await, NotServing);
    assert_eq!(world.coordinator().health("spillway.queue").await, Serving);
    let problem = world.coordinator().status()["listing_problem"].clone();
    assert!(problem.as_str().is_some_and(|problem| problem.contains("InternalError")), "{problem}");
    let refused = world.calls("DescribeInstances").iter().filter(|call| call.code == "InternalError").count();
    assert!(refused <= 6, "no storm of calls: {refused} refused in about 10 s");
    world.emulator().clear_faults();
    until_health(&world, "spillway.cloud", true).await;
    world.until_ready(1).await;
    world.until_zero().await;
    world.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_does_not_launch_twice() {
    let world = World::start(Setup::default()).await;
    world.emulator().lose(Lose { action: "RunInstances".to_owned(), calls: 1 }).expect("a fault");
    jobs::add(&world.redis, 6, 1.0);
    world.until_ready(1).await;
    world.until_zero().await;
    let calls = world.calls("RunInstances");
    assert!(calls[0].lost && calls.iter().all(|call| call.client_token == calls[0].client_token), "{calls:?}");
    assert_eq!(world.instances().len(), 1);
    world.assert_each_ran_once(6);
}

/// EC2's lists lag: a new instance is not in them yet, and one that ended still is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_lists_neither_launch_twice_nor_forget_an_instance() {
    let world = World::start(Setup::default()).await;
    world.emulator().stale(Duration::from_secs(6)).expect("a fault");
    jobs::add(&world.redis, 16, 1.0);
    world.until("all jobs are completed", || jobs::completed(&world.redis) == 16).await;
    let ended = |state| matches!(state, InstanceState::ShuttingDown | InstanceState::Terminated);
    world.until("all are ended", || world.instances().iter().all(|record| ended(record.state))).await;
    world.until_zero().await;
    assert_eq!(world.instances().len(), 2, "{}", world.story().await);
    assert_eq!(world.calls("TerminateInstances").len(), 2, "{}", world.story().await);
    world.assert_each_ran_once(16);
}
