//! A job takes down each instance that runs it: the jobs behind it run all the same, BullMQ fails it in the end, and
//! instances are not launched for it for ever.

use std::time::Duration;

use spillway_tests::process::end_of;
use spillway_tests::stage::{Setup, Stage, in_phase};
use spillway_tests::{QUEUE, jobs};

const OTHERS: u32 = 12;

/// Waits until the job runs on another instance than `last`, and takes that down without a notice; its id.
async fn takes_its_instance_down(stage: &Stage, job: &str, last: &str) -> String {
    let id = stage
        .until_pool("the job runs on an instance", |pool| {
            let by =
                jobs::active(&stage.redis).iter().any(|id| id == job).then(|| jobs::job(&stage.redis, job).by)??;
            (by != last && in_phase(pool, "ready").any(|it| it.id == by)).then_some(by)
        })
        .await;
    stage.emulator().interrupt(&id, Duration::ZERO).expect("an end");
    id
}

fn field(stage: &Stage, job: &str, name: &str) -> Option<u32> {
    stage.redis.ask(&["HGET", &format!("bull:{QUEUE}:{job}"), name])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_takes_its_instance_down_each_time_lets_the_others_run_and_is_failed_by_bullmq() {
    let environment = vec![("EC2_SPOT_MAX_COUNT", "1".to_owned()), ("SPILLWAY_POOL_POLICY_IDLE", "60s".to_owned())];
    let mut stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    jobs::add(&stage.redis, 1, 300.0);
    // Enough to do while it is seen that nobody renews the lock of the first.
    jobs::add(&stage.redis, OTHERS, 4.0);
    let job = "1";

    // The first end may be anybody's fault: the job is in front again, and nothing is spent.
    let first = takes_its_instance_down(&stage, job, "").await;
    let second = takes_its_instance_down(&stage, job, &first).await;
    assert_eq!(field(&stage, job, "stc"), None);
    assert!(jobs::completed(&stage.redis) + 2 < u64::from(OTHERS), "the others still wait");
    let told = format!(
        "job 1 of queue {QUEUE} was running on 2 instances that ended without notice, the last of them {second}"
    );
    stage.until("a person is told", || stage.coordinator().explained(&told)).await;
    assert_eq!((field(&stage, job, "stc"), field(&stage, job, "atm")), (Some(1), None), "a stall is spent, no attempt");

    // From the second on it is behind the others.
    stage.until("the others are completed", || jobs::completed(&stage.redis) == u64::from(OTHERS)).await;
    takes_its_instance_down(&stage, job, &second).await;
    let left = "It has stalled before, so it is left to BullMQ's stall check";
    stage.until("it is left to BullMQ", || stage.coordinator().explained(left)).await;
    assert!(jobs::active(&stage.redis).contains(&job.to_owned()) && jobs::failed(&stage.redis) == 0);
    let log = stage.coordinator().process.log();
    assert!(log.contains("3 instances in a row ended without notice or took no job"), "{}", end_of(&log));

    stage.start_primary().await;
    stage.until("BullMQ fails it", || jobs::failed(&stage.redis) == 1).await;
    assert_eq!(jobs::failed_ids(&stage.redis), [job]);
    let why: String = stage.redis.ask(&["HGET", &format!("bull:{QUEUE}:{job}"), "failedReason"]);
    assert!(why.contains("stalled"), "{why}");
    assert_eq!(stage.calls("RunInstances").len(), 3, "{}", stage.diagnosis().await);
}
