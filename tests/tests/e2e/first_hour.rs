//! What EC2 interrupts in its first hour is left to EC2, which does not bill it then: neither the coordinator nor the
//! agent ends it before its time. Its worker is stopped at once, and it is replaced.

use std::time::Duration;

use spillway_emulator::InstanceRecord;
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage, in_phase};

const NOTICE: Duration = Duration::from_secs(25);

/// By EC2 itself, at the time of its notice or later.
fn ended_by_ec2(record: &InstanceRecord) -> bool {
    let reason = record.state_reason.as_ref().map(|reason| reason.code.as_str());
    let notice_ms = record.notice.map(|notice| notice.at_ms);
    reason == Some("Server.SpotInstanceTermination") && record.ending_ms >= notice_ms && record.billed_seconds == 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ec2_interrupts_in_its_first_hour_is_drained_at_once_and_not_terminated_by_us() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 8, 3.0);
    let id = stage.until_ready(1).await.remove(0);
    stage.emulator().interrupt(&id, NOTICE).expect("a notice");
    let is_left = format!("{id} is left to EC2, which reclaims it in its first hour");
    stage.until("its worker is stopped, and it is left to EC2", || stage.coordinator().explained(&is_left)).await;
    assert!(stage.instance(&id).ending_ms.is_none(), "{}", stage.diagnosis().await);
    let waits = |pool: &_| in_phase(pool, "draining").any(|it| it.id == id);
    assert!(waits(&stage.coordinator().pool().await), "{}", stage.diagnosis().await);
    stage.until("EC2 ends it", || stage.instance(&id).ending_ms.is_some()).await;
    assert!(ended_by_ec2(&stage.instance(&id)), "{:?}", stage.instance(&id));
    assert_eq!(stage.calls("TerminateInstances").len(), 0, "{}", stage.diagnosis().await);
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 8).await;
    stage.until_zero().await;
    assert_eq!((stage.instances().len(), jobs::failed(&stage.redis)), (2, 0), "{}", stage.diagnosis().await);
    stage.assert_each_ran_once(8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_its_agent_power_it_off_where_no_coordinator_is_left() {
    let setup = Setup { agent_keys: "orphan_after = \"3s\"", ..Setup::default() };
    let mut stage = Stage::start(setup).await;
    jobs::add(&stage.redis, 5, 1.0);
    let id = stage.until_ready(1).await.remove(0);
    stage.emulator().interrupt(&id, NOTICE).expect("a notice");
    let drained = format!("{id} is left to EC2");
    stage.until("it is drained", || stage.coordinator().explained(&drained)).await;
    let mut coordinator = stage.coordinator.take().expect("it runs");
    coordinator.process.kill();
    stage.until("the instance ends", || stage.instance(&id).ending_ms.is_some()).await;
    assert!(ended_by_ec2(&stage.instance(&id)), "{:?}", stage.instance(&id));

    stage.start_coordinator().await;
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == 5).await;
    stage.until_zero().await;
    assert_eq!(jobs::failed(&stage.redis), 0);
}
