//! What the worker's processes report through the worker shim. Owns the last state of each; never decides.

use core::time::Duration;

use crate::durations::Durations;
use crate::{Doing, Server, ShimProcess, ShimWorker, Timestamp};

/// A process that was not heard for so long does not run its event loop: it beats every 2 s.
const SILENT: Duration = Duration::from_secs(15);

/// What the processes' words come to: the best that any of them says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    /// No process has the shim, or none says what its Workers do.
    None,
    /// No process was heard for long.
    Silent,
    /// Their Workers work other queues than this instance is for.
    OtherQueue,
    /// They are connected to another Redis than the agent.
    OtherRedis,
    NotRunning,
    Disconnected,
    /// A Worker says that it works, but nothing shows that it works the queues of the Redis that the agent reads.
    Unsure,
    /// A Worker works, or would if nothing held it back on purpose.
    Works,
}

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

    pub(crate) fn learn(&mut self, class: &str, took: Duration) {
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

    /// What they report of their Workers. `asked` is the Redis that the agent reads; `is_here`: it shows connections of
    /// this instance, or does not show who is connected, so that the Workers' own report is all there is.
    pub(crate) fn word(&self, now: Timestamp, asked: Option<&Server>, is_here: bool) -> Word {
        if self.processes.is_empty() {
            return Word::None;
        }
        let mut heard = self.processes.iter().filter(|process| now.since(process.heard_at) < SILENT).peekable();
        if heard.peek().is_none() {
            return Word::Silent;
        }
        heard
            .flat_map(|process| &process.workers)
            .map(|worker| judge(worker, asked, is_here))
            .max()
            .unwrap_or(Word::None)
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

fn judge(worker: &ShimWorker, asked: Option<&Server>, is_here: bool) -> Word {
    let is_same = match (&worker.server, asked) {
        (Some(its), Some(ours)) => Some(its == ours),
        _ => None,
    };
    match worker.doing {
        _ if !worker.is_ours => Word::OtherQueue,
        _ if is_same == Some(false) => Word::OtherRedis,
        Doing::NotRunning => Word::NotRunning,
        Doing::Disconnected => Word::Disconnected,
        Doing::Works | Doing::Limited | Doing::Paused => {
            let is_sure = is_same == Some(true) || worker.has_finished || is_here;
            if is_sure { Word::Works } else { Word::Unsure }
        }
    }
}
