//! The plan's promise, with the plan's environment alone: few jobs launch nothing, 5 that stay launch one instance, 15
//! launch two and never more, and a job that runs when the queue turns empty is finished before its instance goes.

use std::time::Duration;

use spillway_tests::world::{Setup, World, in_phase};
use spillway_tests::{jobs, wait};

/// What "for five minutes" is shortened to, in the harness.
const SUSTAINED_MS: u64 = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_jobs_launch_nothing_and_a_fifth_that_stays_launches_exactly_one() {
    let world = World::start(Setup::default()).await;
    jobs::add(&world.redis, 4, 1.0);
    world
        .until_pool("four jobs are seen", |pool| pool.backlog.as_ref().filter(|seen| seen.demand == 4).map(drop))
        .await;
    world.throughout(Duration::from_millis(3 * SUSTAINED_MS), "four jobs launch nothing", || world.acts() == 0).await;
    assert!(
        world.coordinator().explained("4 jobs ready to run: below the next step (5), so 0 instances desired as before")
    );
    assert_eq!(world.coordinator().status()["desired"], 0);

    jobs::add(&world.redis, 1, 1.0);
    let fifth = jobs::job(&world.redis, "5");
    world.until_ready(1).await;
    world.until_zero().await;
    let launches = world.calls("RunInstances");
    assert_eq!((launches.len(), world.instances().len()), (1, 1), "{}", world.story().await);
    let waited = launches[0].at_ms.saturating_sub(fifth.added_ms);
    assert!(waited >= SUSTAINED_MS, "launched {waited} ms after the fifth job: not sustained");
    world.assert_each_ran_once(5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifteen_jobs_launch_exactly_two_although_more_are_allowed() {
    let setup = Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "4".to_owned())], ..Setup::default() };
    let world = World::start(setup).await;
    jobs::add(&world.redis, 20, 1.0);
    let mut peak = 0;
    wait::until(
        "all jobs are completed",
        async || world.story().await,
        async || {
            peak = peak.max(world.billing());
            (jobs::completed(&world.redis) == 20).then_some(())
        },
    )
    .await;
    world.until_zero().await;
    assert_eq!((peak, world.calls("RunInstances").len(), world.instances().len()), (2, 2, 2));
    world.assert_each_ran_once(20);
    let by: Vec<Option<String>> = (1..=20).map(|id| jobs::job(&world.redis, &id.to_string()).by).collect();
    for record in world.instances() {
        assert!(by.contains(&Some(record.id.clone())), "{} did no job: {by:?}", record.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cap_is_never_exceeded() {
    let setup = Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "1".to_owned())], ..Setup::default() };
    let world = World::start(setup).await;
    jobs::add(&world.redis, 16, 1.0);
    wait::until(
        "all jobs are completed",
        async || world.story().await,
        async || {
            assert!(world.billing() <= 1, "{}", world.story().await);
            (jobs::completed(&world.redis) == 16).then_some(())
        },
    )
    .await;
    world.until_zero().await;
    assert_eq!(world.calls("RunInstances").len(), 1);
    world.assert_each_ran_once(16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_when_the_queue_turns_empty_is_finished_before_its_instance_goes() {
    let world = World::start(Setup::default()).await;
    jobs::add(&world.redis, 4, 0.2);
    jobs::add(&world.redis, 1, 15.0);
    let (ready, long) = (world.until_ready(1).await, "5");
    let id = world
        .until_pool("it drains", |pool| in_phase(pool, "draining").next().map(|instance| instance.id.clone()))
        .await;
    assert_eq!(ready, std::slice::from_ref(&id));
    assert_eq!(jobs::active(&world.redis), [long], "the drain must begin while the job runs");
    assert_eq!(jobs::job(&world.redis, long).by.as_deref(), Some(id.as_str()));
    world.until_zero().await;
    let finished = jobs::job(&world.redis, long).finished_ms.expect("the job was finished");
    let ended = world.instance(&id).ending_ms.expect("the instance was terminated");
    assert!(finished <= ended, "finished at {finished}, the instance ended at {ended}");
    assert_eq!(world.instances().len(), 1);
    world.assert_each_ran_once(5);
}
