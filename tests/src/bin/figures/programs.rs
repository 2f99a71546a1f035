//! Sizes of the programs, and the coordinator's start.

use std::fs;
use std::time::Duration;

use spillway_tests::coordinator::spillway;
use spillway_tests::process::Process;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{binaries, jobs, ports};
use tokio::time::Instant;

use crate::{say, spread};

const STARTS: usize = 15;

pub(crate) fn sizes() {
    for file in [binaries::spillway(), binaries::agent()] {
        let bytes = fs::metadata(&file).expect("a program").len();
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        say(&format!("size of {name}"), &format!("{:.2} MB", bytes as f64 / 1e6));
    }
}

/// From exec to the first tick: until its plan is in the ledger.
pub(crate) async fn coordinator_start() {
    let stage = Stage::without_coordinator(Setup::default()).await;
    jobs::add(&stage.redis, 1, 1.0);
    let mut samples = Vec::new();
    for number in 0..STARTS {
        let _: u64 = stage.redis.ask(&["DEL", "spillway:pool:spillway:plans", "spillway:pool:spillway:leader"]);
        let mut run = spillway(&stage.environment);
        run.arg("run").env("SPILLWAY_GRPC_LISTEN", format!("127.0.0.1:{}", ports::free()));
        run.env("SPILLWAY_HTTP_LISTEN", format!("127.0.0.1:{}", ports::free()));
        run.env("SPILLWAY_STATE_DIRECTORY", stage.directory.path().join("state"));
        let log = stage.directory.path().join(format!("start-{number}.log"));
        let began = Instant::now();
        let mut process = Process::start("coordinator", &mut run, &log);
        while stage.redis.ask::<u64>(&["XLEN", "spillway:pool:spillway:plans"]) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        samples.push(began.elapsed().as_secs_f64() * 1000.0);
        process.signal(libc::SIGTERM);
        process.end_within(Duration::from_secs(10)).await;
    }
    say("coordinator, start to first tick", &spread(samples, "ms"));
}
