//! Without a coordinator instances finish their jobs and power themselves off; a coordinator that comes back later sees
//! them terminated and launches nothing twice.

use spillway_emulator::InstanceState;
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_coordinator_an_instance_ends_itself_once_its_jobs_are_done() {
    let setup = Setup { agent_keys: "orphan_after = \"5s\"", ..Setup::default() };
    let mut stage = Stage::start(setup).await;
    jobs::add(&stage.redis, 8, 3.0);
    let id = stage.until_ready(1).await.remove(0);
    let mut coordinator = stage.coordinator.take().expect("it runs");
    coordinator.process.kill();
    stage.until("the instance ends", || stage.instance(&id).ending_ms.is_some()).await;
    let record = stage.instance(&id);
    assert!(format!("{:?}", record.state_reason).contains("Client.InstanceInitiatedShutdown"), "{record:?}");
    assert_eq!(
        (jobs::completed(&stage.redis), jobs::active(&stage.redis).len()),
        (8, 0),
        "{}",
        stage.diagnosis().await
    );
    stage.until("the instance is terminated", || stage.instance(&id).state == InstanceState::Terminated).await;
    stage.assert_each_ran_once(8);

    stage.start_coordinator().await;
    stage.until_zero().await;
    assert_eq!(stage.instances().len(), 1, "{}", stage.diagnosis().await);
}
