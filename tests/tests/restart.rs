//! A coordinator may stop or die at any time: its instances run on, its successor takes them over from the ledger and
//! doubles nothing; of two at once only one acts.

use std::time::Duration;

use spillway_tests::coordinator::{Coordinator, ServingStatus};
use spillway_tests::world::{Setup, World};
use spillway_tests::{jobs, ports};

/// A job that outlasts the test keeps the queue from being idle: nothing is scaled in meanwhile.
async fn with_one_ready() -> (World, String) {
    let idle = ("SPILLWAY_POOL_POLICY_IDLE", "10m".to_owned());
    let world = World::start(Setup { environment: vec![idle], ..Setup::default() }).await;
    jobs::add(&world.redis, 5, 0.5);
    let id = world.until_ready(1).await.remove(0);
    (world, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_it_leaves_its_instances_running_and_the_next_one_takes_them_over() {
    let (mut world, id) = with_one_ready().await;
    let acts = world.acts();
    let mut first = world.coordinator.take().expect("it runs");
    first.process.signal(libc::SIGTERM);
    // The unit's TimeoutStopSec; a hang would be killed there.
    let status = first.process.end_within(Duration::from_secs(5)).await;
    assert!(status.success(), "{status}\n{}", first.process.tail());
    assert_eq!((world.billing(), world.acts()), (1, acts), "it ended something as it stopped");
    world.start_coordinator().await;
    // The lease was given back, so it leads at once; the agent comes back to it and the instance is ready as before.
    assert_eq!(world.until_ready(1).await, [id]);
    assert_eq!(world.acts(), acts, "{}", world.story().await);
    assert_eq!(world.coordinator().pool().await.desired, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_it_is_succeeded_once_its_lease_has_run_out() {
    let (mut world, id) = with_one_ready().await;
    let acts = world.acts();
    world.coordinator.take().expect("it runs").process.kill();
    world.start_coordinator().await;
    assert_eq!(world.coordinator().health("spillway.leader").await, ServingStatus::NotServing);
    assert_eq!(world.until_ready(1).await, [id]);
    assert_eq!((world.billing(), world.acts()), (1, acts), "{}", world.story().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_coordinators_only_one_acts() {
    let world = World::start(Setup::default()).await;
    let standby = Coordinator::start(world.directory.path(), &world.environment, ports::free()).await;
    jobs::add(&world.redis, 5, 1.0);
    world.until_ready(1).await;
    assert_eq!(world.coordinator().health("spillway.leader").await, ServingStatus::Serving);
    assert_eq!(standby.health("spillway.leader").await, ServingStatus::NotServing);
    assert_eq!(world.calls("RunInstances").len(), 1, "{}", world.story().await);
    let refused = standby.command(&["hold"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not the leader"));
    world.until_zero().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_vanishes_is_taken_again_and_nothing_is_forgotten() {
    let (world, id) = with_one_ready().await;
    let acts = world.acts();
    // As after a Redis that came back without its data: the ledger's tick is refused, the lease is free.
    let removed: u64 = world.redis.ask(&["DEL", "spillway:leader", "spillway:pool:spillway:state"]);
    assert_eq!(removed, 2);
    let is_back = || world.redis.ask::<u64>(&["EXISTS", "spillway:leader", "spillway:pool:spillway:state"]) == 2;
    world.until("lease and ledger are back", is_back).await;
    assert_eq!(world.until_ready(1).await, [id]);
    assert_eq!(world.acts(), acts, "{}", world.story().await);
    // It still acts.
    jobs::add(&world.redis, 20, 1.0);
    world.until_ready(2).await;
    assert_eq!(world.calls("RunInstances").len(), 2, "{}", world.story().await);
}
