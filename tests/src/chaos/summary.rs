//! The summary of a run, as a table.

use std::collections::BTreeMap;
use std::fmt;

use super::faults::What;
use super::journal::Again;

#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub seed: u64,
    pub rounds: u32,
    /// Faults injected, by kind.
    pub injected: BTreeMap<String, u32>,
    /// Lost by EC2 and by the proxies.
    pub answers_lost: u32,
    pub launches: usize,
    /// How often early ends held launches after the last fault, and an operator lifted that.
    pub resumed: u32,
    pub peak_billing: usize,
    pub over_the_cap: usize,
    /// Instances beyond the first of their launch token.
    pub double_launches: usize,
    pub foreign_touched: usize,
    pub most_calls_a_minute: usize,
    pub most_acts_a_minute: usize,
    pub terminated_with_jobs: u32,
    pub instances_left: usize,
    pub processes_left: usize,
    pub added: u64,
    pub completed: u64,
    pub failed: u64,
    /// Jobs for which BullMQ counts more than one attempt.
    pub attempts_spent: u64,
    /// How often BullMQ's stall check found a job.
    pub stalls: usize,
    pub runs_on_instances: usize,
    pub again: Again,
    /// The violated invariant, its round, and logs, plans and calls.
    pub violation: Option<(String, u32, String)>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { seed, rounds, again, .. } = self;
        writeln!(f, "| chaos, seed {seed} | |\n|---|---|")?;
        writeln!(f, "| rounds | {rounds} |")?;
        for (what, count) in &self.injected {
            writeln!(f, "| {what} | {count} |")?;
        }
        writeln!(f, "| answers lost | {} |", self.answers_lost)?;
        writeln!(f, "| launches | {} |", self.launches)?;
        writeln!(f, "| resumed by an operator | {} |", self.resumed)?;
        let (billed, over) = (self.peak_billing, self.over_the_cap);
        writeln!(f, "| most billable instances at once, over the cap | {billed}, {over} |")?;
        writeln!(
            f,
            "| launched twice, instances of others touched | {}, {} |",
            self.double_launches, self.foreign_touched
        )?;
        writeln!(
            f,
            "| most EC2 calls in a minute | {} ({} launches and terminations) |",
            self.most_calls_a_minute, self.most_acts_a_minute
        )?;
        writeln!(
            f,
            "| terminated by Spillway with an active job, after a kill or a notice | {} |",
            self.terminated_with_jobs
        )?;
        writeln!(f, "| instances, processes left | {}, {} |", self.instances_left, self.processes_left)?;
        writeln!(f, "| jobs added, completed, failed | {}, {}, {} |", self.added, self.completed, self.failed)?;
        writeln!(f, "| runs on instances | {} |", self.runs_on_instances)?;
        writeln!(f, "| attempts spent, stalls found by BullMQ | {}, {} |", self.attempts_spent, self.stalls)?;
        writeln!(f, "| jobs started again, by the fault that hit the earlier run | {} |", by_cause(&again.begun))?;
        writeln!(f, "| of these found by BullMQ's stall check | {} |", by_cause(&again.stalled))?;
        writeln!(f, "| of these running in two places at once, or completed twice | {} |", by_cause(&again.at_once))?;
        write!(f, "| of these without a fault that explains it | {} |", again.unexplained.len())?;
        if let Some((what, round, diagnosis)) = &self.violation {
            write!(
                f,
                "\n\nVIOLATION in round {round} of seed {seed}: {what}\n{diagnosis}\nVIOLATION in round {round} of seed {seed}: {what}"
            )?;
        }
        Ok(())
    }
}

fn by_cause(counts: &BTreeMap<Option<What>, u32>) -> String {
    let total: u32 = counts.values().sum();
    let words = |cause: &Option<What>| match cause {
        None => "no fault",
        Some(What::Notice) => "notice",
        Some(What::Unannounced) => "instance ended without notice",
        Some(What::AgentKilled) => "agent killed",
        Some(What::WorkerKilled) => "worker killed",
        Some(What::Pm2Killed) => "PM2 killed",
    };
    let parts: Vec<String> = counts.iter().map(|(cause, count)| format!("{}: {count}", words(cause))).collect();
    if parts.is_empty() { "0".to_owned() } else { format!("{total} ({})", parts.join(", ")) }
}
