//! A child process that ends with its test. The stage's, whose errors fail the test here.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Output};
use std::time::Duration;

use spillway_stage::process;

pub use spillway_stage::process::command;

/// Lines of a log that a failure shows.
const TAIL: usize = 60;

/// A running program whose output goes to a file.
#[derive(Debug)]
pub struct Process(process::Process);

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
    /// Starts a command of [`command`]'s; what it prints is appended to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        process::Process::start(name, command, log).unwrap_or_else(|error| panic!("{error:#}")).into()
    }

    /// The same with an input that this process writes to.
    pub fn start_fed(name: &str, command: &mut Command, log: &Path) -> (Self, ChildStdin) {
        let (process, input) =
            process::Process::start_fed(name, command, log).unwrap_or_else(|error| panic!("{error:#}"));
        (process.into(), input)
    }

    pub fn signal(&self, signal: i32) {
        assert!(self.0.signal(signal), "{} is gone", self.0.name());
    }

    /// Waits for its end, at most so long.
    pub async fn end_within(&mut self, patience: Duration) -> ExitStatus {
        let status = self.0.end_within(patience).await;
        status.unwrap_or_else(|| panic!("{} has not ended within {patience:?}\n{}", self.0.name(), self.tail()))
    }

    /// The end of what it printed.
    pub fn tail(&self) -> String {
        self.0.tail(TAIL)
    }
}

impl From<process::Process> for Process {
    fn from(process: process::Process) -> Self {
        Self(process)
    }
}

impl Deref for Process {
    type Target = process::Process;

    fn deref(&self) -> &process::Process {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut process::Process {
        &mut self.0
    }
}
