//! Processes of the demo: each ends with the demo, however that ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// A process that runs beside the demo.
#[derive(Debug)]
pub(super) struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// A command in a process group of its own, so that a terminal's Ctrl-C reaches only the demo, which then ends it in
/// order; if the demo is killed the kernel ends it.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.process_group(0).kill_on_drop(true).stdin(Stdio::null());
    // SAFETY: prctl is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command
}

/// Starts a process whose output goes to `log`.
pub(super) fn start(name: &'static str, command: &mut Command, log: PathBuf) -> anyhow::Result<Running> {
    let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    command.stdout(file.try_clone()?).stderr(file);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    Ok(Running { name, child, log })
}

/// Runs a command to its end; its output is shown when it fails.
pub(super) async fn finish(what: &str, command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().await.with_context(|| format!("cannot {what}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("could not {what} ({}):\n{}", output.status, String::from_utf8_lossy(&said).trim());
}

impl Running {
    /// An error once it has ended by itself.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status})", self.name),
        }
    }

    /// Asks it to end, and ends it when it does not.
    pub(super) async fn end(&mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            // SAFETY: kill has no memory effects; the child is not reaped yet, so the pid is its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
            if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
                // SAFETY: as above; the group is the child's own.
                unsafe { libc::kill(-pid, libc::SIGKILL) };
            }
        }
        let _ = self.child.wait().await;
    }

    /// The end of what it printed.
    pub(super) fn log_tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        format!("--- {}\n{}\n", self.name, all[all.len().saturating_sub(lines)..].join("\n"))
    }
}
