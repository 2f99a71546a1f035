//! Whether the worker is proven to process jobs. Owns the reading of the evidence and the crash loop; never acts.

use serde::{Deserialize, Serialize};

use crate::{Config, Evidence, Jobs, Observation, Timestamp, Worker};

/// What the proof lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Missing {
    /// The supervisor does not answer.
    Supervisor,
    /// It shows no process online.
    Process,
    /// The worker restarted a moment ago.
    Settling,
    /// Redis does not answer.
    Redis,
    /// No worker connection is this instance's.
    Connection,
    /// A process of it is fenced: it takes no job.
    Fenced,
    /// There are connections, but none waits for a job, and no job's lock is being renewed.
    Progress,
}

/// The verdict on one observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proven,
    Missing(Missing),
    CrashLoop { restarts: u32 },
}

/// The times of restarts that are kept: more than any sensible crash limit.
const RESTARTS_KEPT: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Readiness {
    restarts: u32,
    restarted_at: Vec<Timestamp>,
    /// The last answer of each source.
    pub(crate) worker: Option<Worker>,
    evidence: Option<Evidence>,
    jobs: Option<Jobs>,
}

impl Readiness {
    pub(crate) fn jobs(&self) -> Option<&Jobs> {
        self.jobs.as_ref()
    }

    /// The worker is being started: what was observed of the previous one proves nothing.
    pub(crate) fn start(&mut self) {
        *self = Self::default();
    }

    /// Processes an observation; true where the worker restarted since the one before.
    pub(crate) fn observe(&mut self, now: Timestamp, seen: &Observation) -> bool {
        let restarts = seen.worker.as_ref().map_or(self.restarts, |worker| worker.restarts);
        let new = restarts.saturating_sub(self.restarts);
        self.restarts = restarts;
        for _ in 0..new.min(RESTARTS_KEPT as u32) {
            self.restarted_at.push(now);
        }
        let excess = self.restarted_at.len().saturating_sub(RESTARTS_KEPT);
        self.restarted_at.drain(..excess);
        self.worker.clone_from(&seen.worker);
        self.evidence.clone_from(&seen.evidence);
        self.jobs.clone_from(&seen.jobs);
        new > 0
    }

    pub(crate) fn verdict(&self, now: Timestamp, config: &Config) -> Verdict {
        let recent = || self.restarted_at.iter().filter(|at| now.since(**at) < config.crash_window);
        let restarts = recent().count();
        if restarts >= config.crash_restarts {
            return Verdict::CrashLoop { restarts: self.restarts };
        }
        let Some(worker) = &self.worker else { return Verdict::Missing(Missing::Supervisor) };
        if worker.processes == 0 {
            return if worker.errored > 0 {
                Verdict::CrashLoop { restarts: self.restarts }
            } else {
                Verdict::Missing(Missing::Process)
            };
        }
        let settle = config.settle.saturating_mul(u32::try_from(restarts).unwrap_or(u32::MAX));
        if recent().next_back().is_some_and(|last| now.since(*last) < settle) {
            return Verdict::Missing(Missing::Settling);
        }
        if self.jobs.as_ref().is_some_and(|jobs| jobs.live_locks > 0) {
            return Verdict::Proven;
        }
        match &self.evidence {
            None => Verdict::Missing(Missing::Redis),
            Some(evidence) if evidence.fetching => Verdict::Proven,
            Some(Evidence { connections: 0, .. }) => Verdict::Missing(Missing::Connection),
            Some(_) => Verdict::Missing(Missing::Progress),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::Graceful;

    fn worker(processes: u32, errored: u32, restarts: u32) -> Option<Worker> {
        Some(Worker { processes, errored, restarts, graceful: Graceful::Yes, patience: Duration::from_secs(60) })
    }

    fn evidence(connections: u32, fetching: bool) -> Option<Evidence> {
        Some(Evidence { connections, fetching })
    }

    fn jobs(live_locks: u32) -> Option<Jobs> {
        Some(Jobs { at: Timestamp(0), active: Some(live_locks), live_locks })
    }

    #[test]
    fn each_piece_of_the_proof_is_needed() {
        let config = Config::new(vec![]);
        let table = [
            (None, evidence(1, true), jobs(0), Verdict::Missing(Missing::Supervisor)),
            (worker(0, 0, 0), evidence(1, true), jobs(0), Verdict::Missing(Missing::Process)),
            (worker(0, 1, 0), evidence(1, true), jobs(0), Verdict::CrashLoop { restarts: 0 }),
            (worker(1, 0, 0), None, None, Verdict::Missing(Missing::Redis)),
            (worker(1, 0, 0), evidence(0, false), jobs(0), Verdict::Missing(Missing::Connection)),
            (worker(1, 0, 0), evidence(1, false), jobs(0), Verdict::Missing(Missing::Progress)),
            (worker(1, 0, 0), evidence(1, true), None, Verdict::Proven),
            (worker(1, 0, 0), None, jobs(1), Verdict::Proven),
            (worker(1, 0, 1), evidence(1, true), jobs(0), Verdict::Missing(Missing::Settling)),
            (worker(1, 0, 2), evidence(1, true), jobs(1), Verdict::Missing(Missing::Settling)),
            (worker(1, 0, 3), evidence(1, true), jobs(1), Verdict::CrashLoop { restarts: 3 }),
            (worker(1, 0, 4_000_000_000), evidence(1, true), None, Verdict::CrashLoop { restarts: 4_000_000_000 }),
        ];
        for (worker, evidence, jobs, expect) in table {
            let mut readiness = Readiness::default();
            let seen = Observation { worker, evidence, jobs };
            readiness.observe(Timestamp(1000), &seen);
            assert_eq!(readiness.verdict(Timestamp(1000), &config), expect, "{seen:?}");
        }
    }

    #[test]
    fn a_restarted_worker_is_believed_once_it_has_settled() {
        let config = Config::new(vec![]);
        let mut readiness = Readiness::default();
        let up = Observation { worker: worker(1, 0, 0), evidence: evidence(1, true), jobs: None };
        assert!(!readiness.observe(Timestamp(0), &up));
        let restarted = Observation { worker: worker(1, 0, 1), ..up };
        assert!(readiness.observe(Timestamp(1000), &restarted));
        assert!(!readiness.observe(Timestamp(2000), &restarted), "the same restart is not a new one");
        assert_eq!(readiness.verdict(Timestamp(30_999), &config), Verdict::Missing(Missing::Settling));
        assert_eq!(readiness.verdict(Timestamp(31_000), &config), Verdict::Proven);
    }

    #[test]
    fn restarts_outside_the_window_are_no_crash_loop() {
        let config = Config::new(vec![]);
        let mut readiness = Readiness::default();
        for (at, restarts) in [(0, 1), (300_000, 2), (600_000, 3)] {
            readiness.observe(Timestamp(at), &Observation { worker: worker(1, 0, restarts), ..Observation::default() });
        }
        assert_eq!(readiness.verdict(Timestamp(600_000), &config), Verdict::Missing(Missing::Settling));
        readiness.observe(Timestamp(600_001), &Observation { worker: worker(1, 0, 4), ..Observation::default() });
        assert_eq!(readiness.verdict(Timestamp(600_001), &config), Verdict::CrashLoop { restarts: 4 });
    }
}
