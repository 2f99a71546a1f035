//! An unmodified BullMQ worker that records its runs in Redis (`tests/js/recorded-worker.cjs`): the application of
//! chaos and interruptions, on instances and on the primary.

use std::fs;
use std::os::unix::fs::symlink;

use crate::process::{Process, command};
use crate::stage::Stage;
use crate::{QUEUE, programs};

/// The stream of its records: the start of a run, a tick every 200 ms, and its end.
pub const RUNS: &str = "worker:runs";

const SCRIPT: &str = "recorded-worker.cjs";

/// The application's files: the worker, and PM2's configuration for `bun` or `node`.
pub fn files(runtime: &str) -> Vec<(&'static str, String)> {
    let worker = fs::read_to_string(programs::script(SCRIPT)).expect(SCRIPT);
    let app =
        format!("{{ name: \"worker\", script: \"worker.cjs\", interpreter: \"{runtime}\", exec_mode: \"fork\" }}");
    vec![("worker.cjs", worker), ("ecosystem.config.js", format!("module.exports = {{ apps: [{app}] }};\n"))]
}

/// The boot step in place of an installation: links this version of BullMQ.
pub fn link(bullmq: u32) -> String {
    let modules = programs::script("node_modules").display().to_string();
    format!(
        "mkdir -p node_modules && ln -sfn {modules}/bullmq{bullmq} node_modules/bullmq && ln -sfn {modules}/ioredis \
         node_modules/ioredis"
    )
}

/// Starts the worker as the primary.
pub fn primary(stage: &Stage, bullmq: u32, runtime: &str, concurrency: u32) -> Process {
    let directory = stage.directory.path().join("primary");
    fs::create_dir_all(directory.join("node_modules")).expect("a directory");
    for (name, target) in [("bullmq", format!("bullmq{bullmq}")), ("ioredis", "ioredis".to_owned())] {
        let target = programs::script("node_modules").join(target);
        symlink(target, directory.join("node_modules").join(name)).expect("a link");
    }
    fs::copy(programs::script(SCRIPT), directory.join("worker.cjs")).expect("a copy");
    let mut worker = command(programs::program(runtime));
    worker.arg("worker.cjs").current_dir(&directory).env_remove("SPILLWAY_INSTANCE_ID").env("ON", "primary");
    worker.env("WORKER_REDIS", stage.redis.url()).env("WORKER_QUEUE", QUEUE);
    worker.env("WORKER_CONCURRENCY", concurrency.to_string());
    Process::start("primary", &mut worker, &stage.directory.path().join("primary.log"))
}
