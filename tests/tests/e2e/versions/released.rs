//! The programs of the last release with those of today. `.ci/run` builds those of the release (until there is one, of
//! the commit in `.ci/baseline`) and names their directory in `SPILLWAY_OLD_PROGRAMS`; without it these tests print
//! `NOT RUN`, and `recorded` stands in for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_tests::process::output;
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

/// The version that a program says it has: `NAME VERSION`.
fn version(program: &Path) -> String {
    let out = output(Command::new(program).arg("--version"));
    let said = String::from_utf8(out.stdout).expect("text");
    let version = said.split_whitespace().nth(1).unwrap_or_else(|| panic!("{} --version: {said:?}", program.display()));
    version.to_owned()
}

/// `status` tells the versions of the coordinator and of each agent, as these programs tell their own.
async fn versions_are_shown(stage: &Stage, agent: &Path) {
    let (coordinator, agent) = (version(&stage.coordinator_program), version(agent));
    let is_shown = || {
        let status = stage.coordinator().json(&["status"]);
        let instances = status["pools"][0]["instances"].as_array().cloned().unwrap_or_default();
        let live: Vec<&Value> = instances.iter().filter(|instance| instance["phase"] != "gone").collect();
        let of_agents = live.iter().all(|instance| instance["agent_version"] == *agent);
        status["coordinator_version"] == *coordinator && !live.is_empty() && of_agents
    };
    stage.until(&format!("status shows coordinator {coordinator} and agents {agent}"), is_shown).await;
    let text = String::from_utf8(stage.coordinator().command(&["status"]).stdout).expect("text");
    assert!(text.starts_with(&format!("coordinator {coordinator}\n")), "{text}");
    assert!(text.contains(&format!(", agent {agent}\n")), "{text}");
}

/// A flood, with all that a coordinator asks of an agent.
async fn works_off_a_flood(stage: &Stage, agent: &Path) {
    jobs::add(&stage.redis, JOBS, 2.0);
    let first = stage.until_ready(1).await.remove(0);
    versions_are_shown(stage, agent).await;
    if version(&stage.coordinator_program) == version(agent) {
        println!("this coordinator and this agent are of two builds of one version: `status` cannot tell them apart");
    }
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

/// Another program takes the ledger over, and the agent with its jobs.
async fn is_replaced_under_its_agent(setup: Setup, by: PathBuf) {
    let agent = setup.agent_program.clone().unwrap_or_else(binaries::agent);
    let mut stage = Stage::start(setup).await;
    jobs::add(&stage.redis, JOBS, 3.0);
    let ready = stage.until_ready(1).await;
    versions_are_shown(&stage, &agent).await;
    let before = stage.coordinator().status();
    end(&mut stage).await;
    stage.coordinator_program = by;
    stage.start_coordinator().await;
    assert_eq!(stage.until_ready(1).await, ready, "the same instance");
    versions_are_shown(&stage, &agent).await;
    let after = stage.coordinator().status();
    // Adopted by its tags, it would have another time.
    let launched_at = |pool: &Value| pool["instances"][0]["launched_at"].clone();
    assert_eq!(launched_at(&after), launched_at(&before), "the ledger was not read: {after}");
    stage.until("all jobs are completed", || jobs::completed(&stage.redis) == u64::from(JOBS)).await;
    stage.until_zero().await;
    assert_eq!((stage.calls("RunInstances").len(), stage.calls("TerminateInstances").len()), (1, 1));
    stage.assert_each_ran_once(JOBS.into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_of_the_last_release_works_with_this_coordinator() {
    let Some(agent) = old("spillway-agent") else { return };
    let stage = Stage::start(Setup { agent_program: Some(agent.clone()), trusts: true, ..Setup::default() }).await;
    works_off_a_flood(&stage, &agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_agent_works_with_the_coordinator_of_the_last_release() {
    let Some(coordinator) = old("spillway") else { return };
    let setup = Setup { coordinator_program: Some(coordinator), trusts: true, ..Setup::default() };
    works_off_a_flood(&Stage::start(setup).await, &binaries::agent()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_of_the_last_release_is_upgraded_under_its_agents() {
    let (Some(coordinator), Some(agent)) = (old("spillway"), old("spillway-agent")) else { return };
    let (coordinator_program, agent_program) = (Some(coordinator), Some(agent));
    let programs = Setup { coordinator_program, agent_program, trusts: true, ..Setup::default() };
    is_replaced_under_its_agent(programs, binaries::spillway()).await;
}

/// As long as both write the same version of the ledger: a release refuses a newer one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_coordinator_is_downgraded_to_the_last_release_under_its_agents() {
    let Some(coordinator) = old("spillway") else { return };
    is_replaced_under_its_agent(Setup { trusts: true, is_plaintext: true, ..Setup::default() }, coordinator).await;
}
