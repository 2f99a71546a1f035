//! Scheduled instances: there by the time, whatever waits, and gone after it.

use std::time::Duration;

use spillway_tests::jobs;
use spillway_tests::process::text;
use spillway_tests::stage::{Setup, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_there_while_it_is_scheduled_and_nothing_waits() {
    // Each minute, for two: always.
    let floor = "[{ cron = \"* * * * *\", for = \"2m\", instances = 1 }]";
    let environment = vec![("SPILLWAY_POOL_POLICY_FLOOR", floor.to_owned())];
    let mut stage = Stage::without_coordinator(Setup { environment, ..Setup::default() }).await;
    jobs::add(&stage.redis, 1, 0.1);
    stage.start_coordinator().await;
    stage.until_ready(1).await;
    stage.until("the job has run", || jobs::completed(&stage.redis) == 1).await;
    let explained = || text(&stage.coordinator().command(&["explain", "--limit", "100"]).stdout);
    let said = explained();
    assert!(said.contains("1 instance scheduled, 0 ready, 0 starting"), "{said}");
    // Longer than what idleness takes.
    stage.throughout(Duration::from_secs(8), "it is kept", || stage.billing() == 1).await;
    assert!(explained().contains("1 instance scheduled for "), "{}", explained());

    // Another start, by settings without it.
    stage.coordinator = None;
    stage.environment.remove("SPILLWAY_POOL_POLICY_FLOOR");
    stage.start_coordinator().await;
    stage.until_zero().await;
    let said = text(&stage.coordinator().command(&["explain", "--limit", "100"]).stdout);
    assert!(said.contains("the schedule that asked for it has ended; 0 instances desired"), "{said}");
}
