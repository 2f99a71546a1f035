//! A child process that ends with whoever started it, however that ends: by `Drop`, and by the kernel where it is
//! killed.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::{Instant, sleep};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A running program whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A command in a process group of its own, so that a terminal's Ctrl-C reaches only whoever started it, who then ends
/// it in order. The kernel kills it when the thread that started it ends.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.process_group(0).stdin(Stdio::null());
    // SAFETY: prctl is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command
}

/// Runs a command to its end, and gives what it printed. It is killed where nobody waits for it any more.
///
/// # Errors
///
/// It cannot be started, or fails: then with all that it printed. `what` completes "could not …".
pub async fn finish(what: &str, command: Command) -> anyhow::Result<String> {
    let context = || format!("could not {what}");
    let mut command = tokio::process::Command::from(command);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let child = child.with_context(context)?;
    let mut group = Group(child.id().and_then(|pid| i32::try_from(pid).ok()));
    let output = child.wait_with_output().await.with_context(context)?;
    group.0 = None;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = [output.stdout, output.stderr].concat();
    bail!("could not {what} ({}):\n{}", output.status, String::from_utf8_lossy(&printed).trim());
}

/// The process group of a command that nobody waits for any more: git, for one, has children of its own.
struct Group(Option<i32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // SAFETY: kill has no memory effects; the group's id was its leader's, a child of ours that was just
            // killed.
            unsafe { libc::kill(-pid, libc::SIGKILL) };
        }
    }
}

impl Process {
    /// Starts a command of [`command`]'s; what it prints is appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(log);
        let file = open().with_context(|| format!("cannot write {}", log.display()))?;
        let child = command.stdout(file.try_clone()?).stderr(file).spawn();
        let child = child.with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The same with an input that this process writes to.
    pub fn start_fed(name: &str, command: &mut Command, log: &Path) -> anyhow::Result<(Self, ChildStdin)> {
        let mut process = Self::start(name, command.stdin(Stdio::piped()), log)?;
        let input = process.child.stdin.take().context("it has no input")?;
        Ok((process, input))
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(i32::MAX)
    }

    /// Sends a signal; false where it is gone.
    pub fn signal(&self, signal: i32) -> bool {
        // SAFETY: kill has no memory effects; the child is reaped by us only, so the pid is still its own.
        unsafe { libc::kill(self.pid(), signal) == 0 }
    }

    /// None while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An error once it has ended by itself.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status})\n{}", self.name, self.tail(15)),
        }
    }

    /// Waits for its end; None when it has not ended within `patience`.
    pub async fn end_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            sleep(POLL).await;
        }
        self.ended()
    }

    /// Asks it to end, and kills its group when it does not.
    pub async fn end(&mut self) {
        if self.ended().is_none() {
            self.signal(libc::SIGTERM);
            if self.end_within(GRACE).await.is_none() {
                // SAFETY: kill has no memory effects; the group is the child's own, which is not reaped yet.
                unsafe { libc::kill(-self.pid(), libc::SIGKILL) };
            }
        }
        self.kill();
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// All that it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of it, below a line with its name.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.log();
        let all: Vec<&str> = text.lines().collect();
        format!("--- {}\n{}\n", self.name, all[all.len().saturating_sub(lines)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
