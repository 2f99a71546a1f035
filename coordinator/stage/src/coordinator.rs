//! `spillway run` as a process of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Process, command};

/// The environment of a coordinator.
pub type Environment = BTreeMap<String, String>;

/// `spillway` with this environment and PATH: neither settings nor credentials of the machine's reach it.
pub fn spillway(program: &Path, environment: &Environment) -> Command {
    let mut spillway = command(program);
    spillway.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(environment);
    spillway
}

/// The CA that a coordinator with TLS makes, where it works in this directory and keeps its state there.
pub fn ca_file(directory: &Path) -> PathBuf {
    directory.join("state/tls/ca.pem")
}

/// Starts the daemon with a command of [`spillway`]'s; it listens on these ports, and works in `directory`, where it
/// keeps its state too unless the command says otherwise.
pub fn start(spillway: Command, directory: &Path, grpc_port: u16, http_port: u16) -> anyhow::Result<Process> {
    start_at(spillway, directory, ("127.0.0.1", grpc_port), http_port)
}

/// The same, with the address on which it listens for agents.
pub fn start_at(
    mut spillway: Command,
    directory: &Path,
    (grpc_host, grpc_port): (&str, u16),
    http_port: u16,
) -> anyhow::Result<Process> {
    spillway.arg("run").current_dir(directory);
    if !spillway.get_envs().any(|(name, _)| name == "SPILLWAY_STATE_DIRECTORY") {
        spillway.env("SPILLWAY_STATE_DIRECTORY", directory.join("state"));
    }
    spillway.env("SPILLWAY_GRPC_LISTEN", format!("{grpc_host}:{grpc_port}"));
    spillway.env("SPILLWAY_HTTP_LISTEN", format!("127.0.0.1:{http_port}"));
    Process::start("coordinator", &mut spillway, &directory.join(format!("coordinator-{http_port}.log")))
}
