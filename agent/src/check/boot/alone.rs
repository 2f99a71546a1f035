//! Whether a boot would disturb somebody: an agent, or a worker. Owns how they are found; ends nobody.

use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::config::{Config, DEFAULT_PATH};
use crate::worker::pm2::Pm2;
use crate::worker::proc;

/// An agent or a worker that lives here must not be disturbed: this is the primary, or a worker.
pub(super) async fn nothing_runs(config: &Config, path: &Path, pm2: &Pm2) -> Result<(), String> {
    const ELSEWHERE: &str =
        "run the boot check on an instance that was launched from the image, and that nothing else uses";
    let socket = config.state_directory.join("worker.sock");
    let listens = timeout(Duration::from_secs(1), UnixStream::connect(socket)).await;
    if matches!(listens, Ok(Ok(_))) || agents(path).next().is_some() {
        return Err(format!("an agent is active here: {ELSEWHERE}"));
    }
    if pm2.daemon().is_none() {
        return Ok(());
    }
    let processes = pm2.list().await.map_err(|error| format!("cannot tell whether a worker runs here: {error}"))?;
    let running: Vec<&str> =
        processes.iter().filter(|process| !process.is_stopped()).map(|process| process.name.as_str()).collect();
    match running.is_empty() {
        true => Ok(()),
        false => Err(format!("PM2 already runs {} here: {ELSEWHERE}", running.join(", "))),
    }
}

/// Agents that run with this configuration: without the shim none of them has a socket.
fn agents(path: &Path) -> impl Iterator<Item = u32> {
    let wanted = path.canonicalize();
    proc::all().filter(move |pid| {
        let arguments = proc::arguments(*pid);
        let is_agent = arguments.first().is_some_and(|it| Path::new(it).file_name() == Some("spillway-agent".as_ref()));
        if !is_agent || !arguments.iter().any(|it| it == "run") {
            return false;
        }
        let at = arguments.iter().position(|it| it == "--config").and_then(|at| arguments.get(at + 1));
        let joined = arguments.iter().find_map(|it| it.strip_prefix("--config="));
        let named = at.map(String::as_str).or(joined).unwrap_or(DEFAULT_PATH);
        wanted.as_ref().is_ok_and(|wanted| Path::new(named).canonicalize().is_ok_and(|it| it == *wanted))
    })
}
