//! A child process that ends with its test: the one of `spillway-stage`, whose errors fail the test.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{ChildStdin, Command, ExitStatus, Output};
use std::time::Duration;

use spillway_stage::process;
use spillway_words::excerpt;

pub use spillway_stage::process::command;

/// A running program whose output goes to a file.
#[derive(Debug)]
pub struct Process(process::Process);

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The output of a command that must succeed.
pub fn run(command: &mut Command) -> String {
    let out = output(command);
    let said = || excerpt::end("its output", &text(&[out.stdout.as_slice(), &out.stderr].concat()));
    assert!(out.status.success(), "{command:?}: {}\n{}", out.status, said());
    text(&out.stdout)
}

/// The end of a log, for a failure.
pub fn end_of(log: &str) -> String {
    excerpt::end("its log", log)
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Process {
    /// Starts a command made by [`command`]; its output is appended to `log`.
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
        assert!(self.0.signal(signal), "{} has ended already", self.0.name());
    }

    /// Waits for its end, for at most `timeout`.
    pub async fn end_within(&mut self, timeout: Duration) -> ExitStatus {
        let status = self.0.end_within(timeout).await;
        status.unwrap_or_else(|| panic!("{} has not ended within {timeout:?}\n{}", self.0.name(), self.tail()))
    }

    /// The end of its output, for a failure.
    pub fn tail(&self) -> String {
        excerpt::end(self.0.name(), &self.0.log())
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
