//! Queues that are unknown for long, and queues that are gone: a person is told, nothing is launched, and no idle
//! instance is billed without end. With the real BullMQ, and whatever it does when somebody takes its keys away.

use spillway_tests::coordinator::ServingStatus::{NotServing, Serving};
use spillway_tests::driver::Driver;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{QUEUE, jobs};

fn idle_after(span: &str) -> Setup {
    Setup { environment: vec![("SPILLWAY_POOL_POLICY_IDLE", span.to_owned())], ..Setup::default() }
}

/// An instance that is ready, and all jobs are done.
async fn with_an_idle_instance(stage: &Stage) {
    jobs::add(&stage.redis, 6, 1.0);
    stage.until_ready(1).await;
    stage.until("the jobs are completed", || jobs::completed(&stage.redis) == 6).await;
}

/// Whatever happened: the next jobs are worked off, by one more instance.
async fn works_again(stage: &Stage, completed: u64) {
    let before = stage.instances().len();
    jobs::add(&stage.redis, 6, 1.0);
    stage.until("new jobs are completed", || jobs::completed(&stage.redis) == completed + 6).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), before + 1, "{}", stage.diagnosis().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_bullmq_obliterates_is_empty() {
    let stage = Stage::start(idle_after("8s")).await;
    for version in [4, 5, 6] {
        with_an_idle_instance(&stage).await;
        Driver::start(&stage.redis.url()).obliterate(version, QUEUE, "bull");
        let keys: Vec<String> = stage.redis.ask(&["KEYS", &format!("bull:{QUEUE}:*")]);
        assert!(keys.iter().all(|key| !key.ends_with(":meta") && !key.ends_with(":id")), "{keys:?}");
        stage.until_zero().await;
        assert_eq!(stage.coordinator().health("spillway.queue").await, Serving);
    }
    let told = format!("queue \"{QUEUE}\" was there and has no key in Redis any more");
    assert!(stage.coordinator().explained(&told), "{}", stage.diagnosis().await);
    let found = stage.coordinator().status()["attention"].to_string();
    let detail = format!(r#"Queue \"{QUEUE}\" was there and has no key"#);
    assert!(found.contains("queue_gone") && found.contains(&detail), "{found}");
    assert!(stage.coordinator().explained("idle: no jobs ready to run"), "{}", stage.diagnosis().await);
    assert_eq!(stage.instances().len(), 3, "{}", stage.diagnosis().await);
    works_again(&stage, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_queue_cannot_be_read_busy_instances_stay_and_those_without_a_job_go() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 6, 1.0);
    jobs::add(&stage.redis, 1, 20.0);
    stage.until_ready(1).await;
    stage.until("only the long job is left", || jobs::completed(&stage.redis) == 6).await;
    let wait = format!("bull:{QUEUE}:wait");
    let _: () = stage.redis.ask(&["SET", &wait, "of another program"]);
    let problem = |stage: &Stage| stage.coordinator().status()["observation_problem"].clone();
    stage.until("the queue is unknown", || problem(&stage).to_string().contains("WRONGTYPE")).await;
    assert_eq!(stage.coordinator().health("spillway.queue").await, NotServing);
    let launches = stage.calls("RunInstances").len();
    stage.until("a person is told", || stage.coordinator().explained("the queues have been unknown for")).await;
    stage
        .until("the long job is completed", || {
            let is_done = jobs::completed(&stage.redis) == 7;
            assert!(is_done || stage.billing() == 1, "the busy instance was taken away");
            is_done
        })
        .await;
    stage.until("no instance bills", || stage.billing() == 0).await;
    let coordinator = stage.coordinator();
    assert!(coordinator.explained("its agent has reported no job for "), "{}", stage.diagnosis().await);
    assert_eq!(stage.calls("RunInstances").len(), launches, "{}", stage.diagnosis().await);
    let _: () = stage.redis.ask(&["DEL", &wait]);
    stage.until("the queue is known again", || problem(&stage).is_null()).await;
    works_again(&stage, 7).await;
}

/// The ledger is in the same Redis. A coordinator that lived through it knows that the queue was there; one that starts
/// afterwards does not, and finds the instance by its tags.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_flushall_the_instances_of_before_do_not_stay() {
    for restarts in [false, true] {
        let mut stage = Stage::start(idle_after("8s")).await;
        with_an_idle_instance(&stage).await;
        if restarts {
            stage.coordinator = None;
        }
        let _: () = stage.redis.ask(&["FLUSHALL"]);
        if restarts {
            stage.start_coordinator().await;
        }
        let told = if restarts { "its agent has reported no job for " } else { "was there and has no key in Redis" };
        stage.until("it is told why", || stage.coordinator().explained(told)).await;
        stage.until("no instance bills", || stage.billing() == 0).await;
        assert_eq!(stage.instances().len(), 1, "{}", stage.diagnosis().await);
        works_again(&stage, 0).await;
    }
}
