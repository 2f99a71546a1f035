//! The programs of the last release with those of today. `.ci/run` builds the release, and names the directory of its programs in
//! `SPILLWAY_OLD_PROGRAMS`; without it these tests print `NOT RUN`, and `recorded` stands in for them.

use std::path::PathBuf;
use std::time::Duration;

use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{binaries, jobs};

use super::end;

const JOBS: u32 = 14;

/// A program of the last release.
fn old(name: &str) -> Option<PathBuf> {
    let Some(directory) = std::env::var_os("SPILLWAY_OLD_PROGRAMS") else {
        println!("NOT RUN: SPILLWAY_OLD_PROGRAMS names no directory with the programs of a release");
        return None;
    };
    let program = PathBuf::from(directory).join(name);
    assert!(program.is_file(), "SPILLWAY_OLD_PROGRAMS: {} is not there", program.display());
    Some(program)
}

/// A flood, with all that a coordinator asks of an agent.
async fn works_off_a_flood(stage: &Stage) {
    jobs::add(&stage.redis, JOBS, 2.0);
    let first = stage.until_ready(1).await.remove(0);
    let coordinator = stage.coordinator();
    coordinator.json(&["drain", &first]);
    let is_draining = || coordinator.status()["instances"][0]["heartbeat"]["phase"] == "draining";
    stage.until("the agent drains", is_draining).await;
    coordinator.json(&["drain", "--cancel", &first]);
    let is_back = || coordinator.status()["instances"][0]["phase"] == "ready";
    stage.until("the agent takes jobs again", is_back).await;
    stage.emulator().interrupt(&first, Duration::from_secs(20)).expect("it runs");
    stage.until("the notice is answered", || stage.instances().len() == 2).await;
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == u64::from(JOBS)).await;
    stage.until_zero().await;
    assert_eq!(jobs::failed(&stage.redis), 0, "{}", stage.diagnosis().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_of_the_last_release_works_with_this_coordinator() {
    let Some(agent) = old("spillway-agent") else { return };
    works_off_a_flood(&Stage::start(Setup { agent_program: Some(agent), ..Setup::default() }).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_agent_works_with_the_coordinator_of_the_last_release() {
    let Some(coordinator) = old("spillway") else { return };
    let setup = Setup { coordinator_program: Some(coordinator), ..Setup::default() };
    works_off_a_flood(&Stage::start(setup).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_of_the_last_release_is_upgraded_under_its_agents() {
    let (Some(coordinator), Some(agent)) = (old("spillway"), old("spillway-agent")) else { return };
    let programs = Setup { coordinator_program: Some(coordinator), agent_program: Some(agent), ..Setup::default() };
    let mut stage = Stage::start(programs).await;
    jobs::add(&stage.redis, JOBS, 3.0);
    let ready = stage.until_ready(1).await;
    end(&mut stage).await;
    stage.coordinator_program = binaries::spillway();
    stage.start_coordinator().await;
    assert_eq!(stage.until_ready(1).await, ready, "the same instance");
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == u64::from(JOBS)).await;
    stage.until_zero().await;
    assert_eq!((stage.calls("RunInstances").len(), stage.calls("TerminateInstances").len()), (1, 1));
    stage.assert_each_ran_once(JOBS.into());
}
