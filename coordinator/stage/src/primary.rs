//! The machine that always works the queue, and whose workers take back what others let fall.

use std::path::Path;
use std::process::Command;

use crate::process::{Process, command};
use crate::{QUEUE, programs};

/// A script of the application under bun, in a copy of it: nothing of this process' own settings gets in.
pub fn script(copy: &Path, name: &str, redis_url: &str) -> anyhow::Result<Command> {
    let mut bun = command(programs::need("bun")?);
    bun.arg(name).current_dir(copy).env("REDIS_URL", redis_url).env("QUEUE_NAMES", QUEUE);
    bun.env_remove("SPILLWAY_INSTANCE_ID").env_remove("CONCURRENCY").env_remove("QUEUE_PREFIX");
    // bun leaves temporary files behind when it is cut off: here they go with the copy.
    bun.env("TMPDIR", copy).env_remove("BUN_TMPDIR");
    Ok(bun)
}

/// Starts its worker; `copy` is a copy of the application that is ready to run.
pub fn start(copy: &Path, redis_url: &str, log: &Path) -> anyhow::Result<Process> {
    Process::start("primary", &mut script(copy, "worker.js", redis_url)?, log)
}
