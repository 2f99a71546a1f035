//! An instance goes without costing a job: by an operator's word, which can be taken back, and by EC2's, when the
//! interrupted one is no capacity any more and is replaced. A pool that is held does nothing until it is resumed.

use std::time::Duration;

use spillway_proto::v1;
use spillway_tests::jobs;
use spillway_tests::process::text;
use spillway_tests::world::{Setup, World, in_phase};

/// Waits until an instance works, by Redis' word, on a job of so many seconds that has long to go, and gives both.
async fn busy(world: &World, seconds: f64) -> (String, String) {
    world
        .until_pool("an instance works on a job that has long to go", |pool| {
            let active = jobs::active(&world.redis);
            active.into_iter().find_map(|id| {
                let job = jobs::job(&world.redis, &id);
                let by = job.by.clone().filter(|_| job.has_long_to_go(&world.redis, seconds))?;
                in_phase(pool, "ready").any(|instance| instance.id == by).then_some((by, id))
            })
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_drain_lets_the_job_finish_and_the_instance_is_replaced() {
    let world = World::start(Setup::default()).await;
    jobs::add(&world.redis, 6, 5.0);
    let (id, job) = busy(&world, 5.0).await;
    let said = world.coordinator().json(&["drain", &id, "--reason", "a new image"]);
    let promised = format!("{id} takes no new job; it is terminated once its jobs are finished");
    assert_eq!(said["message"], promised.as_str());
    world.until_pool("it drains", |pool| in_phase(pool, "draining").find(|it| it.id == id).map(drop)).await;
    world.until("it is terminated", || world.instance(&id).ending_ms.is_some()).await;
    let finished = jobs::job(&world.redis, &job).finished_ms.expect("the job was finished first");
    assert!(Some(finished) <= world.instance(&id).ending_ms, "{}", world.story().await);
    assert!(world.coordinator().explained("requested by an operator: a new image"), "{}", world.story().await);
    world.until("another works off the rest", || jobs::completed(&world.redis) == 6).await;
    world.until_zero().await;
    assert_eq!(world.instances().len(), 2, "{}", world.story().await);
    world.assert_each_ran_once(6);

    let again = world.coordinator().command(&["drain", &id]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("only a booting or ready instance can be drained"), "{}", text(&again.stderr));
    let unknown = world.coordinator().command(&["drain", "i-0"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no instance i-0 here"), "{}", text(&unknown.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_is_taken_back_leaves_the_instance_at_work() {
    let world = World::start(Setup::default()).await;
    jobs::add(&world.redis, 6, 5.0);
    let (id, _) = busy(&world, 5.0).await;
    // Held, so that no replacement is launched meanwhile.
    world.coordinator().json(&["hold", "--reason", "a look at it"]);
    world.coordinator().json(&["drain", &id]);
    world
        .until_pool("the agent drains", |pool| {
            let drains =
                |it: &v1::Instance| it.heartbeat.as_ref().is_some_and(|beat| beat.phase() == v1::AgentPhase::Draining);
            in_phase(pool, "draining").find(|it| it.id == id && drains(it)).map(drop)
        })
        .await;
    let completed_before = jobs::completed(&world.redis);
    let said = world.coordinator().json(&["drain", &id, "--cancel"]);
    assert_eq!(said["message"], format!("{id} goes back to work").as_str());
    world.until_ready(1).await;
    world.coordinator().json(&["resume"]);
    world.until("it works on", || jobs::completed(&world.redis) >= completed_before + 3).await;
    world.until("all jobs are completed", || jobs::completed(&world.redis) == 6).await;
    world.until_zero().await;
    assert_eq!(world.instances().len(), 1, "{}", world.story().await);
    world.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_pool_launches_nothing_until_it_is_resumed() {
    let world = World::start(Setup::default()).await;
    jobs::add(&world.redis, 6, 1.0);
    world.coordinator().json(&["hold", "--reason", "moving house"]);
    world.throughout(Duration::from_secs(10), "nothing is launched", || world.acts() == 0).await;
    let status = world.coordinator().status();
    assert_eq!((&status["held"], &status["hold_reason"]), (&true.into(), &"moving house".into()), "{status}");
    assert_eq!(status["desired"], 1, "it says what it would want");
    assert!(world.coordinator().explained("an operator holds the pool (moving house)"), "{}", world.story().await);
    world.coordinator().json(&["resume"]);
    world.until_ready(1).await;
    world.until_zero().await;
    world.assert_each_ran_once(6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interruption_in_the_middle_of_a_job_costs_no_job_and_the_instance_is_replaced() {
    let setup = Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "3".to_owned())], ..Setup::default() };
    let world = World::start(setup).await;
    jobs::add(&world.redis, 40, 2.0);
    world.until_ready(2).await;
    let (id, job) = busy(&world, 2.0).await;
    world.emulator().interrupt(&id, Duration::from_secs(20)).expect("a notice");
    world
        .until_pool("it is counted out", |pool| {
            in_phase(pool, "draining").find(|it| it.id == id && !it.notices.is_empty()).map(drop)
        })
        .await;
    let demand = world.coordinator().pool().await.backlog.map_or(0, |backlog| backlog.demand);
    assert!(demand > 0, "the flood must last for a replacement to be wanted");
    world.until("it is replaced", || world.instances().len() == 3).await;
    world.until("it is gone", || world.instance(&id).ending_ms.is_some()).await;
    let finished = jobs::job(&world.redis, &job).finished_ms.expect("the job was finished first");
    assert!(Some(finished) <= world.instance(&id).ending_ms, "{}", world.story().await);
    world.until("all jobs are completed", || jobs::completed(&world.redis) == 40).await;
    world.until_zero().await;
    assert!(world.coordinator().explained("EC2 reclaims the instance in"), "{}", world.story().await);
    assert_eq!(world.instances().len(), 3, "{}", world.story().await);
    world.assert_each_ran_once(40);
}
