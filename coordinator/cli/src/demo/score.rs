//! What the demo came to.

use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

/// The last line of `spillway demo --json`, and what people are told beside it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Score {
    pub jobs_added: u64,
    pub jobs_completed: u64,
    pub jobs_failed: u64,
    /// Jobs that were started again although they had not been handed back, by the workers' own count.
    pub jobs_run_twice: u64,
    pub instances_launched: usize,
    pub instances_terminated: usize,
    /// The most that billed at once, by the emulator's record.
    pub instances_peak: usize,
    pub max_instances: u32,
    /// From the flood until an instance was proven to process jobs; null where none was.
    pub seconds_to_first_ready: Option<f64>,
    pub seconds_total: f64,
    #[serde(skip)]
    pub jobs_handed_back: u64,
    /// Completed jobs by worker.
    #[serde(skip)]
    pub done_on: Vec<(String, u64)>,
    /// From the flood until no job waited any more.
    #[serde(skip)]
    pub worked_off: Option<Duration>,
    /// What it would have cost, in a sentence.
    #[serde(skip)]
    pub cost: Option<String>,
}

impl Score {
    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let by_primary = self.done_on.iter().filter(|(worker, _)| worker == "primary");
        let by_others = self.done_on.iter().filter(|(worker, _)| worker != "primary");
        let by: Vec<String> = by_primary.chain(by_others).map(|(worker, jobs)| format!("{jobs} on {worker}")).collect();
        let by = if by.is_empty() { String::new() } else { format!(": {}", by.join(", ")) };
        let mut lines = vec![format!(
            "{} of {} jobs completed, {} failed{by}",
            self.jobs_completed, self.jobs_added, self.jobs_failed
        )];
        match self.jobs_handed_back {
            0 => {}
            1 => lines.push("1 job handed back when its instance was interrupted, and run again elsewhere".to_owned()),
            jobs => lines.push(format!(
                "{jobs} jobs handed back when their instances were interrupted, and run again elsewhere"
            )),
        }
        if self.jobs_run_twice > 0 {
            lines.push(format!("{} JOBS WERE RUN TWICE", self.jobs_run_twice));
        }
        lines.push(format!(
            "{} instances launched, {} at once at the most ({} allowed), {} terminated",
            self.instances_launched, self.instances_peak, self.max_instances, self.instances_terminated
        ));
        let first = self.seconds_to_first_ready.map_or("no instance was needed".to_owned(), |seconds| {
            format!("first instance ready after {seconds:.1} s")
        });
        let backlog = self
            .worked_off
            .map_or(String::new(), |span| format!("; backlog worked off after {:.1} s", span.as_secs_f64()));
        lines.push(format!("{first}{backlog}; all over after {:.1} s with the set-up", self.seconds_total));
        lines.extend(self.cost.clone());
        lines
    }

    /// An error where Spillway did not keep what it promises.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        if self.jobs_completed != self.jobs_added || self.jobs_failed > 0 {
            bail!("{} of {} jobs completed, {} failed", self.jobs_completed, self.jobs_added, self.jobs_failed);
        }
        if self.instances_peak > self.max_instances as usize {
            bail!("{} instances at once, more than the {} allowed", self.instances_peak, self.max_instances);
        }
        if self.instances_terminated < self.instances_launched {
            bail!(
                "{} of {} instances are left",
                self.instances_launched - self.instances_terminated,
                self.instances_launched
            );
        }
        Ok(())
    }
}
