//! What the demo came to.

use anyhow::bail;
use serde::Serialize;

/// The last line of `spillway demo --json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Score {
    pub jobs_added: u64,
    pub jobs_completed: u64,
    pub jobs_failed: u64,
    /// Jobs that were started more than once, by the workers' own count.
    pub jobs_run_twice: u64,
    pub instances_launched: usize,
    pub instances_terminated: usize,
    /// The most that billed at once, by the emulator's record.
    pub instances_peak: usize,
    pub max_instances: u32,
    /// From the flood until an instance was proven to process jobs; null where none was.
    pub seconds_to_first_ready: Option<f64>,
    pub seconds_total: f64,
}

impl Score {
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
