//! The boot steps as processes. Owns running one of them and its result; never decides whether it is retried (the
//! machine does).

pub mod account;
pub mod launcher;
pub mod process;

use std::time::{Duration, SystemTime};

use spillway_machine::StepOutcome;
use spillway_words::in_words;
use tokio::sync::watch;

use crate::clock;
use crate::config::Step;
use launcher::Launcher;
use process::{End, Finished};

/// How one attempt at a step went.
#[derive(Debug)]
pub struct Attempt {
    /// When it began.
    pub started_at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Where the process exited.
    pub exit_code: Option<i32>,
    /// The last of its output.
    pub tail: String,
    /// What went wrong; `None` where nothing did.
    pub problem: Option<String>,
}

impl Attempt {
    /// What it means to the machine.
    pub fn outcome(&self) -> StepOutcome {
        if self.problem.is_none() { StepOutcome::Succeeded } else { StepOutcome::Failed }
    }
}

/// Runs the step once. `None` where it was aborted: then nothing of it is left running.
pub async fn attempt(launcher: &Launcher, step: &Step, abort: watch::Receiver<bool>) -> Option<Attempt> {
    let started_at = clock::wall_now();
    let Finished { end, took, tail } = process::run(launcher.shell(&step.run), step.timeout, abort).await;
    let (exit_code, problem) = match end {
        End::Exited(0) => (Some(0), None),
        End::Exited(127) => (Some(127), Some("exit status 127: command not found".to_owned())),
        End::Exited(code) => (Some(code), Some(format!("exit status {code}"))),
        End::Signalled(signal) => (None, Some(format!("killed by signal {signal}"))),
        End::TimedOut => (None, Some(format!("timed out after {}", in_words(step.timeout)))),
        End::NotStarted(error) => (None, Some(format!("cannot start: {error}"))),
        End::Aborted => return None,
    };
    Some(Attempt { started_at, took, exit_code, tail, problem })
}
