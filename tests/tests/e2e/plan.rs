//! What the plan promises, with the plan's environment alone: few jobs launch nothing, 5 sustained jobs launch one
//! instance, 15 two and never more, and a job that runs when the queue becomes empty is finished before its instance is
//! terminated.

use std::time::Duration;

use spillway_tests::stage::{Setup, Stage, in_phase};
use spillway_tests::{jobs, wait};

/// What "for five minutes" is shortened to, in the harness.
const SUSTAINED_MS: u64 = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_jobs_launch_nothing_and_a_fifth_that_stays_launches_exactly_one() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 4, 1.0);
    stage
        .until_pool("four jobs are observed", |pool| pool.backlog.as_ref().filter(|seen| seen.demand == 4).map(drop))
        .await;
    stage.throughout(Duration::from_millis(3 * SUSTAINED_MS), "four jobs launch nothing", || stage.acts() == 0).await;
    assert!(
        stage.coordinator().explained("4 jobs ready to run: below the next step (5), so 0 instances desired as before")
    );
    assert_eq!(stage.coordinator().status()["desired"], 0);

    jobs::add(&stage.redis, 1, 1.0);
    let fifth = jobs::job(&stage.redis, "5");
    stage.until_ready(1).await;
    stage.until_zero().await;
    let launches = stage.calls("RunInstances");
    assert_eq!((launches.len(), stage.instances().len()), (1, 1), "{}", stage.diagnosis().await);
    let waited = launches[0].at_ms.saturating_sub(fifth.added_ms);
    assert!(waited >= SUSTAINED_MS, "launched {waited} ms after the fifth job: not sustained");
    stage.assert_each_ran_once(5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifteen_jobs_launch_exactly_two_although_more_are_allowed() {
    let setup = Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "4".to_owned())], ..Setup::default() };
    let stage = Stage::start(setup).await;
    jobs::add(&stage.redis, 20, 1.0);
    let mut peak = 0;
    wait::until(
        "all jobs are completed",
        async || stage.diagnosis().await,
        async || {
            peak = peak.max(stage.billing());
            (jobs::completed(&stage.redis) == 20).then_some(())
        },
    )
    .await;
    stage.until_zero().await;
    assert_eq!((peak, stage.calls("RunInstances").len(), stage.instances().len()), (2, 2, 2));
    stage.assert_each_ran_once(20);
    let by: Vec<Option<String>> = (1..=20).map(|id| jobs::job(&stage.redis, &id.to_string()).by).collect();
    for record in stage.instances() {
        assert!(by.contains(&Some(record.id.clone())), "{} ran no job: {by:?}", record.id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cap_is_never_exceeded() {
    let setup = Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "1".to_owned())], ..Setup::default() };
    let stage = Stage::start(setup).await;
    jobs::add(&stage.redis, 16, 1.0);
    wait::until(
        "all jobs are completed",
        async || stage.diagnosis().await,
        async || {
            assert!(stage.billing() <= 1, "{}", stage.diagnosis().await);
            (jobs::completed(&stage.redis) == 16).then_some(())
        },
    )
    .await;
    stage.until_zero().await;
    assert_eq!(stage.calls("RunInstances").len(), 1);
    stage.assert_each_ran_once(16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_when_the_queue_turns_empty_is_finished_before_its_instance_goes() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 4, 0.2);
    jobs::add(&stage.redis, 1, 15.0);
    let (ready, long) = (stage.until_ready(1).await, "5");
    let id = stage
        .until_pool("it drains", |pool| in_phase(pool, "draining").next().map(|instance| instance.id.clone()))
        .await;
    assert_eq!(ready, std::slice::from_ref(&id));
    assert_eq!(jobs::active(&stage.redis), [long], "the drain must begin while the job runs");
    assert_eq!(jobs::job(&stage.redis, long).by.as_deref(), Some(id.as_str()));
    stage.until_zero().await;
    let finished = jobs::job(&stage.redis, long).finished_ms.expect("the job was finished");
    let ended = stage.instance(&id).ending_ms.expect("the instance was terminated");
    assert!(finished <= ended, "finished at {finished}, the instance ended at {ended}");
    assert_eq!(stage.instances().len(), 1);
    stage.assert_each_ran_once(5);
}
