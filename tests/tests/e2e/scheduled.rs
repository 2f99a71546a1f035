//! Events that EC2 schedules for an instance: shown while they are far, answered by a replacement and a drain well
//! before they begin, and forgotten when EC2 cancels them. No job is cut off.

use std::time::Duration;

use serde_json::{Value, json};
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage};

const HOUR: Duration = Duration::from_secs(3600);
/// Less than a job takes, and enough to hand it back.
const TIME: Duration = Duration::from_secs(14);

/// The kinds of the notices that `status` shows of the instance.
fn shown(stage: &Stage, id: &str) -> Vec<Value> {
    let status = stage.coordinator().status();
    let instances = status["instances"].as_array().expect("a list").iter();
    let notices = instances.filter(|it| it["id"] == *id).flat_map(|it| it["notices"].as_array().expect("a list"));
    notices.map(|it| it["action"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_with_a_scheduled_event_works_until_its_replacement_is_ready() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 14, 4.0);
    let first = stage.until_ready(1).await.remove(0);

    stage.emulator().schedule(&first, "instance-retirement", 24 * HOUR).expect("an event");
    stage.until("the event is shown", || shown(&stage, &first) == [json!("instance-retirement")]).await;
    let far =
        format!("EC2 has scheduled instance-retirement of {first} in 23 h 59 min: it is replaced, then drained, in");
    stage.until("nothing is done yet, and why", || stage.coordinator().explained(&far)).await;
    stage.emulator().cancel_schedule(&first).expect("it is cancelled");
    stage.until("it is forgotten", || shown(&stage, &first).is_empty()).await;

    // A boot and a drain take 32 min here, and the replacement is begun two hours before.
    stage.emulator().schedule(&first, "instance-retirement", HOUR).expect("an event");
    let second = stage.until_replaced(&first).await;
    let begun = format!("EC2 has scheduled instance-retirement of {first} in 59 min");
    assert!(stage.coordinator().explained(&begun), "{}", stage.diagnosis().await);
    let ready = format!("and the replacement {second} is ready");
    assert!(stage.coordinator().explained(&ready), "{}", stage.diagnosis().await);
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 14).await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 2, "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(14);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_leaves_no_time_for_a_replacement_still_cuts_no_job_off() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 5, 16.0);
    let first = stage.until_ready(1).await.remove(0);
    stage.until("it runs a job", || !jobs::active(&stage.redis).is_empty()).await;
    let begins_ms =
        stage.emulator().schedule(&first, "system-reboot", TIME).expect("an event").maintenance[0].not_before_ms;
    stage.until("the instance is terminated", || stage.instance(&first).ending_ms.is_some()).await;
    let ended_in_time = stage.instance(&first).ending_ms.is_some_and(|at| at < begins_ms);
    assert!(ended_in_time, "{}", stage.diagnosis().await);
    assert!(stage.coordinator().explained("EC2 has scheduled system-reboot in "), "{}", stage.diagnosis().await);
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 5).await;
    assert_eq!(jobs::failed(&stage.redis), 0);
    // A job that was cut off is run again, too: BullMQ's stall check finds it.
    let status = stage.coordinator().status();
    assert!(status["jobs_handed_back_total"].as_u64() > Some(0), "{status}\n{}", stage.diagnosis().await);
    let stalls = jobs::stalls(&stage.redis);
    assert!(stalls.is_empty(), "BullMQ found {stalls:?}\n{}", stage.diagnosis().await);
    stage.until_zero().await;
}
