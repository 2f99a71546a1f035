//! Steps of a boot in the reader's words.

use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::in_words;

use crate::times::{since, span};

/// One line of the boot flight-recorder; a failed step with the end of its output.
pub fn step_line(step: &v1::BootStep, now: SystemTime) -> String {
    let took = step.took.as_ref().map(|took| in_words(span(took)));
    let again = if step.attempt > 1 { format!(" (attempt {})", step.attempt) } else { String::new() };
    let place = format!("{}/{} {:<10}", step.index + 1, step.count, step.name);
    match step.state() {
        v1::StepState::Succeeded => format!("{place} done in {}{again}", took.unwrap_or_default()),
        v1::StepState::Failed | v1::StepState::Retrying => {
            let last = step.output_tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let next = if step.state() == v1::StepState::Failed { "FAILED" } else { "failed, retried" };
            format!("{place} {next}{again}: {}: {last}", step.problem)
        }
        v1::StepState::Running => {
            let running = step.started_at.as_ref().map_or(Duration::ZERO, |at| since(Some(at), now));
            format!("{place} running for {}{again}: {}", in_words(running), step.command)
        }
        v1::StepState::Unspecified => place,
    }
}
