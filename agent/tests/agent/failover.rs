//! A fail-over behind one name: the old master lives on as a replica, and answers whoever is still connected to it.

use std::process::{Child, Command};
use std::time::Duration;

use spillway_proto::v1::{AgentPhase, Heartbeat, WorkerProof};

use crate::forward::Forward;
use crate::redis_server;
use crate::stage::Stage;

/// A second server, and a name that leads to the first one.
struct Second {
    server: Child,
    port: u16,
    first: u16,
    name: Forward,
    _directory: tempfile::TempDir,
}

fn ask(port: u16, arguments: &[&str]) -> String {
    let out = Command::new("redis-cli").args(["-p", &port.to_string()]).args(arguments).output().expect("redis-cli");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

impl Second {
    fn of(stage: &Stage) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (server, port) = redis_server::start(directory.path());
        let first = stage.redis_port;
        let second = Self { server, port, first, name: Forward::to(first), _directory: directory };
        second.replicates(port, first);
        stage.wait("the replica", |_| ask(port, &["INFO", "replication"]).contains("master_link_status:up"));
        second
    }

    fn replicates(&self, port: u16, master: u16) {
        assert_eq!(ask(port, &["REPLICAOF", "127.0.0.1", &master.to_string()]), "OK");
    }

    /// The second one is the master, and the first one its replica; no connection is closed.
    fn takes_over(&self) {
        assert_eq!(ask(self.port, &["REPLICAOF", "NO", "ONE"]), "OK");
        self.name.lead_to(self.port);
        self.replicates(self.first, self.port);
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn after_a_failover_the_worker_is_proven_at_the_new_master() {
    let mut stage = Stage::new("failover.js");
    let second = Second::of(&stage);
    std::fs::write(stage.path("app/.env"), format!("REDIS_URL=redis://127.0.0.1:{}\n", second.name.port))
        .expect(".env");
    stage.start_coordinator();
    stage.start_agent();
    stage.wait("ready", |stage| stage.coordinator.last_beat().phase() == AgentPhase::Ready);
    stage.add_jobs(&[10]);
    stage.wait("a job", |stage| stage.completed() == 1);

    second.takes_over();
    stage.redis_port = second.port;
    stage.add_jobs(&[10, 10]);
    stage.no_job_was_lost(3);
    // Its connection is at the new master alone, and connections are listed each 15 s.
    std::thread::sleep(Duration::from_secs(16));
    let since = stage.coordinator.beats().len();
    std::thread::sleep(Duration::from_secs(16));
    let beats = stage.coordinator.beats().split_off(since);
    let is_seen = |worker: &WorkerProof| worker.proven && worker.connections == 1 && worker.by == "name";
    let is_well = |beat: &Heartbeat| beat.phase() == AgentPhase::Ready && beat.worker.as_ref().is_some_and(is_seen);
    assert!(beats.len() > 3 && beats.iter().all(is_well), "{}", stage.story());
}
