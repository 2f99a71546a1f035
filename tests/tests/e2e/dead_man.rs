//! The coordinator is gone for good: its instances finish what they have and end themselves, and one that comes back late
//! finds them gone and doubles nothing.

use spillway_emulator::InstanceState;
use spillway_tests::jobs;
use spillway_tests::world::{Setup, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_coordinator_an_instance_ends_itself_once_its_jobs_are_done() {
    let setup = Setup { agent_keys: "orphan_after = \"5s\"", ..Setup::default() };
    let mut world = World::start(setup).await;
    jobs::add(&world.redis, 8, 3.0);
    let id = world.until_ready(1).await.remove(0);
    let mut coordinator = world.coordinator.take().expect("it runs");
    coordinator.process.kill();
    world.until("the instance ends", || world.instance(&id).ending_ms.is_some()).await;
    let record = world.instance(&id);
    assert!(format!("{:?}", record.state_reason).contains("Client.InstanceInitiatedShutdown"), "{record:?}");
    assert_eq!((jobs::completed(&world.redis), jobs::active(&world.redis).len()), (8, 0), "{}", world.story().await);
    world.until("it is terminated", || world.instance(&id).state == InstanceState::Terminated).await;
    world.assert_each_ran_once(8);

    world.start_coordinator().await;
    world.until_zero().await;
    assert_eq!(world.instances().len(), 1, "{}", world.story().await);
}
