//! Whether the worker is proven to process jobs. Owns the reading of the evidence and the crash loop; never acts.

use serde::{Deserialize, Serialize};

use crate::shims::{Shims, Word};
use crate::{Config, Evidence, Jobs, Observation, Server, Timestamp, Worker};

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
    /// No process of the worker was heard for long: its event loop does not run.
    Silent,
    /// Its Workers work other queues.
    OtherQueue,
    /// Its Workers are connected to another Redis, or another database there.
    OtherRedis,
    /// Nobody runs its Workers.
    NotRunning,
    /// Its Workers' Redis does not answer them.
    Disconnected,
    /// Redis does not show who is connected, and nothing else shows that the worker works.
    Unlisted,
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
    server: Option<Server>,
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
        self.server.clone_from(&seen.server);
        new > 0
    }

    pub(crate) fn verdict(&self, now: Timestamp, shims: &Shims, config: &Config) -> Verdict {
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
        match self.missing_evidence(now, shims) {
            None => Verdict::Proven,
            Some(missing) => Verdict::Missing(missing),
        }
    }

    /// What speaks against a worker whose processes are up. One source is enough for it: a lock that is renewed, a
    /// connection that waits for a job, or its processes' own word.
    fn missing_evidence(&self, now: Timestamp, shims: &Shims) -> Option<Missing> {
        if self.jobs.as_ref().is_some_and(|jobs| jobs.live_locks > 0) {
            return None;
        }
        let is_here = self.evidence.as_ref().is_some_and(|it| it.unlisted || it.connections > 0);
        let word = shims.word(now, self.server.as_ref(), is_here);
        // How long Redis lets it wait is the worker's to say, and one that hangs is silent while Redis still has it
        // wait.
        if self.evidence.as_ref().is_some_and(|it| it.fetching && (it.fresh || word != Word::Silent)) {
            return None;
        }
        let limited = self.jobs.as_ref().is_some_and(|jobs| jobs.limited);
        Some(match (word, &self.evidence) {
            (Word::Works, _) => return None,
            (Word::Silent, _) => Missing::Silent,
            (Word::OtherQueue, _) => Missing::OtherQueue,
            (Word::OtherRedis, Some(_)) => Missing::OtherRedis,
            (Word::NotRunning, _) => Missing::NotRunning,
            (Word::Disconnected, Some(_)) => Missing::Disconnected,
            (_, None) => Missing::Redis,
            (_, Some(Evidence { unlisted: true, .. })) => Missing::Unlisted,
            (_, Some(Evidence { connections: 0, .. })) => Missing::Connection,
            // Without the shim nothing tells one that waits out a rate limit from one that hangs.
            (Word::None, Some(_)) if limited => return None,
            _ => Missing::Progress,
        })
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::{Doing, Graceful, ShimProcess, ShimWorker};

    fn worker(processes: u32, errored: u32, restarts: u32) -> Option<Worker> {
        Some(Worker { processes, errored, restarts, graceful: Graceful::Yes, patience: Duration::from_secs(60) })
    }

    fn evidence(connections: u32, fetching: bool) -> Option<Evidence> {
        Some(Evidence { connections, fetching, fresh: fetching, unlisted: false })
    }

    fn jobs(live_locks: u32) -> Option<Jobs> {
        Some(Jobs { at: Timestamp(0), active: Some(live_locks), live_locks, limited: false })
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
            let seen = Observation { worker, evidence, jobs, server: None };
            readiness.observe(Timestamp(1000), &seen);
            assert_eq!(readiness.verdict(Timestamp(1000), &Shims::default(), &config), expect, "{seen:?}");
        }
    }

    const NOW: Timestamp = Timestamp(60_000);

    fn verdict(seen: Observation, heard_at: u64, workers: &[ShimWorker]) -> Verdict {
        let mut readiness = Readiness::default();
        let seen = Observation { worker: worker(1, 0, 0), ..seen };
        readiness.observe(NOW, &seen);
        let mut shims = Shims::default();
        let process = ShimProcess {
            pid: 1,
            fenced: false,
            can_hand_back: true,
            jobs: vec![],
            heard_at: Timestamp(heard_at),
            workers: workers.to_vec(),
        };
        shims.seen(NOW, vec![process]);
        readiness.verdict(NOW, &shims, &Config::new(vec![]))
    }

    fn says(doing: Doing) -> ShimWorker {
        ShimWorker { is_ours: true, doing, server: server("r1", 0), has_finished: false }
    }

    fn server(run_id: &str, db: i64) -> Option<Server> {
        Some(Server { run_id: run_id.to_owned(), db })
    }

    /// As Redis shows a worker that holds no job and is not blocked for one.
    fn idle() -> Observation {
        Observation { evidence: evidence(1, false), jobs: jobs(0), server: server("r1", 0), ..Observation::default() }
    }

    #[test]
    fn a_worker_that_does_not_fetch_on_purpose_is_believed() {
        for doing in [Doing::Limited, Doing::Paused, Doing::Works] {
            assert_eq!(verdict(idle(), 59_000, &[says(doing)]), Verdict::Proven, "{doing:?}");
        }
        assert_eq!(verdict(idle(), 59_000, &[]), Verdict::Missing(Missing::Progress), "an older shim");
        let limited = jobs(0).map(|jobs| Jobs { limited: true, ..jobs });
        assert_eq!(verdict(Observation { jobs: limited, ..idle() }, 59_000, &[]), Verdict::Proven, "without its word");
    }

    #[test]
    fn a_long_wait_is_no_hang_and_a_process_that_is_silent_is_one() {
        let waits = Some(Evidence { connections: 1, fetching: true, fresh: false, unlisted: false });
        let waits = Observation { evidence: waits, ..idle() };
        assert_eq!(verdict(waits.clone(), 59_000, &[says(Doing::Works)]), Verdict::Proven);
        assert_eq!(verdict(waits.clone(), 45_000, &[says(Doing::Works)]), Verdict::Missing(Missing::Silent));
        assert_eq!(verdict(waits, 45_001, &[says(Doing::Works)]), Verdict::Proven);
        let fresh = Observation { evidence: evidence(1, true), ..idle() };
        assert_eq!(verdict(fresh, 0, &[says(Doing::Works)]), Verdict::Proven, "another process asked just now");
        assert_eq!(verdict(Observation { jobs: jobs(1), ..idle() }, 0, &[]), Verdict::Proven, "its locks are renewed");
    }

    #[test]
    fn a_workers_word_counts_where_it_is_about_this_redis_and_these_queues() {
        let other_queue = ShimWorker { is_ours: false, ..says(Doing::Works) };
        let elsewhere = ShimWorker { server: server("r2", 0), has_finished: true, ..says(Doing::Works) };
        let other_db = ShimWorker { server: server("r1", 1), ..says(Doing::Works) };
        let unknown = ShimWorker { server: None, ..says(Doing::Works) };
        let finished = ShimWorker { has_finished: true, ..unknown.clone() };
        let none = Observation { evidence: evidence(0, false), ..idle() };
        let unlisted = Some(Evidence { unlisted: true, ..Evidence::default() });
        let unlisted = Observation { evidence: unlisted, ..idle() };
        let dead = Observation { evidence: None, jobs: None, server: None, ..Observation::default() };
        let missing = |missing| Verdict::Missing(missing);
        for (seen, worker, expect) in [
            (&none, says(Doing::Works), Verdict::Proven),
            (&none, other_queue, missing(Missing::OtherQueue)),
            (&none, elsewhere, missing(Missing::OtherRedis)),
            (&none, other_db, missing(Missing::OtherRedis)),
            (&none, unknown.clone(), missing(Missing::Connection)),
            (&none, finished.clone(), Verdict::Proven),
            (&none, says(Doing::NotRunning), missing(Missing::NotRunning)),
            (&none, says(Doing::Disconnected), missing(Missing::Disconnected)),
            (&unlisted, unknown.clone(), Verdict::Proven),
            (&idle(), unknown.clone(), Verdict::Proven),
            (&unlisted, says(Doing::NotRunning), missing(Missing::NotRunning)),
            // The agent's own connection is dead, the worker's is not.
            (&dead, finished, Verdict::Proven),
            (&dead, unknown, missing(Missing::Redis)),
            (&dead, says(Doing::Disconnected), missing(Missing::Redis)),
        ] {
            assert_eq!(verdict(seen.clone(), 59_000, std::slice::from_ref(&worker)), expect, "{seen:?} {worker:?}");
        }
        assert_eq!(verdict(unlisted, 59_000, &[]), missing(Missing::Unlisted));
        let both = [says(Doing::NotRunning), says(Doing::Limited)];
        assert_eq!(verdict(none, 59_000, &both), Verdict::Proven, "one that works is enough");
    }

    #[test]
    fn a_restarted_worker_is_believed_once_it_has_settled() {
        let config = Config::new(vec![]);
        let mut readiness = Readiness::default();
        let up = Observation { worker: worker(1, 0, 0), evidence: evidence(1, true), ..Observation::default() };
        assert!(!readiness.observe(Timestamp(0), &up));
        let restarted = Observation { worker: worker(1, 0, 1), ..up };
        assert!(readiness.observe(Timestamp(1000), &restarted));
        assert!(!readiness.observe(Timestamp(2000), &restarted), "the same restart is not a new one");
        assert_eq!(
            readiness.verdict(Timestamp(30_999), &Shims::default(), &config),
            Verdict::Missing(Missing::Settling)
        );
        assert_eq!(readiness.verdict(Timestamp(31_000), &Shims::default(), &config), Verdict::Proven);
    }

    #[test]
    fn restarts_outside_the_window_are_no_crash_loop() {
        let config = Config::new(vec![]);
        let mut readiness = Readiness::default();
        for (at, restarts) in [(0, 1), (300_000, 2), (600_000, 3)] {
            readiness.observe(Timestamp(at), &Observation { worker: worker(1, 0, restarts), ..Observation::default() });
        }
        assert_eq!(
            readiness.verdict(Timestamp(600_000), &Shims::default(), &config),
            Verdict::Missing(Missing::Settling)
        );
        readiness.observe(Timestamp(600_001), &Observation { worker: worker(1, 0, 4), ..Observation::default() });
        assert_eq!(
            readiness.verdict(Timestamp(600_001), &Shims::default(), &config),
            Verdict::CrashLoop { restarts: 4 }
        );
    }
}
