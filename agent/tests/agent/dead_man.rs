//! An instance that nobody looks after powers itself off: not while a job runs, and not while its coordinator is there.

use std::time::Duration;

use spillway_proto::v1::AgentPhase;

use crate::stage::Stage;

fn ready(top: &'static str) -> Stage {
    let mut stage = Stage::new("deaf.js");
    stage.top = top;
    stage.configure("", "");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready with the shim", |stage| {
        let beat = stage.coordinator.last_beat();
        beat.phase() == AgentPhase::Ready && beat.shims == 1
    });
    stage
}

#[test]
fn without_a_coordinator_it_finishes_its_job_and_powers_off() {
    let mut stage = ready("orphan_after = \"3s\"");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(stage.log("powered-off"), "", "its coordinator is there");
    stage.add_jobs(&[9000]);
    stage.wait("the job to run", |stage| stage.active() == 1);
    stage.coordinator.vanish();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!((stage.log("powered-off").as_str(), stage.active()), ("", 1), "a job runs\n{}", stage.story());
    stage.wait("the power to go off", |stage| stage.log("powered-off") == "poweroff\n");
    assert_eq!((stage.completed(), stage.active()), (1, 0), "{}", stage.story());
    assert_eq!(stage.worker_pids(), [0; 0], "something of the worker is left");
}

#[test]
fn a_coordinator_that_comes_back_in_time_finds_it_at_work() {
    // The agent backs off between its attempts to reconnect: the last one before the coordinator is back may be
    // followed by a wait of several seconds.
    let mut stage = ready("orphan_after = \"20s\"");
    stage.coordinator.vanish();
    std::thread::sleep(Duration::from_secs(5));
    stage.coordinator.appear();
    let sessions = |stage: &Stage| stage.coordinator.heard(|heard| heard.sessions);
    stage.wait("the agent to be back", |stage| sessions(stage) == 2);
    std::thread::sleep(Duration::from_secs(18));
    assert_eq!(stage.log("powered-off"), "", "{}", stage.story());
    stage.add_jobs(&[1]);
    stage.wait("the worker to work", |stage| stage.completed() == 1);
}

#[test]
fn too_old_it_powers_off_although_its_coordinator_is_there() {
    // Launched long ago, by its identity document.
    let mut stage = Stage::new("deaf.js");
    stage.top = "max_life = \"1h\"";
    stage.configure("", "");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("the power to go off", |stage| stage.log("powered-off") == "poweroff\n");
}
