//! A child process that ends with its test, however that ends: by `Drop`, and by the kernel where the test is killed.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Lines of a log that a failure shows.
const TAIL: usize = 60;

/// A running program whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A command that the kernel kills when the thread that started it ends: a test's own.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    // SAFETY: prctl is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a command that must succeed printed.
pub fn run(command: &mut Command) -> String {
    let out = output(command);
    assert!(out.status.success(), "{command:?}: {}\n{}{}", out.status, text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Process {
    /// Starts a command of [`command`]'s in a process group of its own; what it prints is appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let open = || OpenOptions::new().create(true).append(true).open(log).expect("a log");
        let child = command.process_group(0).stdout(open()).stderr(open()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        Process { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// The same with an input that this process writes to.
    pub fn start_fed(name: &str, command: &mut Command, log: &Path) -> (Process, ChildStdin) {
        let mut process = Process::start(name, command.stdin(Stdio::piped()), log);
        let input = process.child.stdin.take().expect("a pipe");
        (process, input)
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: kill has no memory effects; the child is reaped by us only, so the pid is still its own.
        let sent = unsafe { libc::kill(self.pid(), signal) };
        assert_eq!(sent, 0, "{} is gone", self.name);
    }

    /// None while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// Waits for its end, at most so long.
    pub async fn end_within(&mut self, patience: Duration) -> ExitStatus {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < until, "{} has not ended within {patience:?}\n{}", self.name, self.tail());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// All that it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of it.
    pub fn tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        format!("--- {}\n{}\n", self.name, lines[lines.len().saturating_sub(TAIL)..].join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
