//! What the worker's processes report through the worker shim. Owns the last state of each; never decides.

use crate::durations::Durations;
use crate::{ShimProcess, Timestamp};

#[derive(Debug, Default)]
pub(crate) struct Shims {
    processes: Vec<ShimProcess>,
    durations: Durations,
    /// Since when one of them is fenced.
    pub(crate) fenced_since: Option<Timestamp>,
}

impl Shims {
    pub(crate) fn seen(&mut self, now: Timestamp, processes: Vec<ShimProcess>) {
        let fenced = processes.iter().any(|process| process.fenced);
        self.fenced_since = fenced.then(|| self.fenced_since.unwrap_or(now));
        self.processes = processes;
    }

    pub(crate) fn learn(&mut self, class: &str, took: core::time::Duration) {
        self.durations.learn(class, took);
    }

    pub(crate) fn processes(&self) -> &[ShimProcess] {
        &self.processes
    }

    /// All their jobs; `None` where no process has the shim.
    pub(crate) fn jobs(&self) -> Option<u32> {
        let jobs = || self.processes.iter().map(|process| process.jobs.len()).sum::<usize>();
        (!self.processes.is_empty()).then(|| u32::try_from(jobs()).unwrap_or(u32::MAX))
    }

    /// By all that is known, every job of the process would still run at `at`.
    pub(crate) fn cannot_finish(&self, process: &ShimProcess, now: Timestamp, at: Timestamp) -> bool {
        !process.jobs.is_empty()
            && process.can_hand_back
            && process.jobs.iter().all(|job| {
                let elapsed = now.since(job.began);
                self.durations.cannot_finish(&job.class, elapsed, at.since(now))
            })
    }
}
