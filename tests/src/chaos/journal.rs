//! What became of the jobs, from the workers' own record of their runs and from BullMQ's events: streams in Redis,
//! which are read incrementally.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;

use super::faults::{Cause, What};
use crate::{QUEUE, recorded_worker};

/// Entries of a stream in one answer.
const AT_ONCE: usize = 1000;
/// A worker's record of a job so long after another started it is only late.
const TOLERATED_OVERLAP_MS: u64 = 50;
/// After so many restarts the agent fails the boot, and stops the worker.
const CRASH_LOOP: usize = 3;
/// A kill is recorded a moment after it was done.
const NOTED_LATE_MS: u64 = 500;

#[derive(Debug, Default)]
pub struct Journal {
    runs: BTreeMap<String, Run>,
    /// By job: when it left `active`.
    left: BTreeMap<String, Vec<u64>>,
    read_to: [String; 2],
    /// By job: when BullMQ's stall check found it.
    stalled: BTreeMap<String, Vec<u64>>,
}

#[derive(Clone, Debug)]
struct Run {
    job: String,
    on: String,
    began: u64,
    last: u64,
    done: bool,
}

/// Jobs that started more than once, by the fault that had hit the earlier run's instance.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// None: no fault had.
    pub begun: BTreeMap<Option<What>, u32>,
    /// Of these: found by BullMQ's stall check, and not handed back.
    pub stalled: BTreeMap<Option<What>, u32>,
    /// Of these: completed twice, or running in two places at once.
    pub at_once: BTreeMap<Option<What>, u32>,
    /// Those that no fault explains, as text.
    pub unexplained: Vec<String>,
}

impl Journal {
    /// Reads what was added since the last time.
    pub async fn read(&mut self, redis: &mut MultiplexedConnection) -> redis::RedisResult<()> {
        for (at, fields) in self.entries(redis, 0, recorded_worker::RUNS).await? {
            let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
            let new = || Run { job: get("job"), on: get("on"), began: at, last: at, done: false };
            let run = self.runs.entry(get("run")).or_insert_with(new);
            run.last = at;
            run.done |= get("what") == "done";
        }
        for (at, fields) in self.entries(redis, 1, &format!("bull:{QUEUE}:events")).await? {
            let is = |name: &str, value: &str| fields.get(name).is_some_and(|found| found == value);
            let left = is("event", "completed") || is("event", "failed") || is("prev", "active");
            let Some(job) = fields.get("jobId") else { continue };
            if is("event", "stalled") {
                self.stalled.entry(job.clone()).or_default().push(at);
            }
            if left {
                self.left.entry(job.clone()).or_default().push(at);
            }
        }
        Ok(())
    }

    async fn entries(
        &mut self,
        redis: &mut MultiplexedConnection,
        which: usize,
        key: &str,
    ) -> redis::RedisResult<Vec<(u64, BTreeMap<String, String>)>> {
        let mut from = self.read_to[which].clone();
        let mut entries: Vec<(String, BTreeMap<String, String>)> = Vec::new();
        loop {
            let start = if from.is_empty() { "-".to_owned() } else { format!("({from}") };
            let mut command = redis::cmd("XRANGE");
            // All of a backlog at once takes longer than an answer may.
            command.arg(key).arg(start).arg("+").arg("COUNT").arg(AT_ONCE);
            let page: Vec<(String, BTreeMap<String, String>)> = command.query_async(redis).await?;
            let Some((last, _)) = page.last() else { break };
            from.clone_from(last);
            entries.extend(page);
        }
        self.read_to[which] = from;
        let at = |id: &str| id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or_default();
        Ok(entries.into_iter().map(|(id, fields)| (at(&id), fields)).collect())
    }

    /// Jobs that were active on the instance at that moment.
    pub fn held(&self, instance: &str, at_ms: u64) -> BTreeSet<String> {
        let held = |run: &&Run| {
            let left = self.left.get(&run.job).into_iter().flatten().find(|at| **at >= run.began);
            run.on == instance && run.began < at_ms && left.is_none_or(|left| *left > at_ms)
        };
        self.runs.values().filter(held).map(|run| run.job.clone()).collect()
    }

    pub fn stalls(&self) -> usize {
        self.stalled.values().map(Vec::len).sum()
    }

    pub fn runs_elsewhere_than(&self, place: &str) -> usize {
        self.runs.values().filter(|run| run.on != place).count()
    }

    /// BullMQ's stall check found the job twice or more, each time after chaos had killed the process that ran it, or
    /// ended its instance without a notice: BullMQ's own guard against jobs that kill their worker, and none of
    /// Spillway's.
    pub fn was_killed_twice(&self, job: &str, causes: &[Cause]) -> bool {
        let stalls = self.stalled.get(job).map(Vec::as_slice).unwrap_or_default();
        let is_explained = |stall: &u64| {
            let before = self.runs.values().filter(|run| run.job == job && run.began <= *stall);
            let Some(run) = before.max_by_key(|run| run.began) else { return false };
            causes.iter().any(|cause| {
                let kills = matches!(cause.what, What::WorkerKilled | What::Pm2Killed | What::Unannounced);
                kills && cause.instance == run.on && (run.began..=*stall).contains(&(cause.at_ms + NOTED_LATE_MS))
            })
        };
        stalls.len() >= 2 && stalls.iter().all(is_explained)
    }

    pub fn again(&self, causes: &[Cause]) -> Again {
        let mut by_job: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
        for run in self.runs.values() {
            by_job.entry(&run.job).or_default().push(run);
        }
        let mut again = Again::default();
        for (job, mut runs) in by_job {
            runs.sort_by_key(|run| run.began);
            for pair in runs.windows(2) {
                let (earlier, later) = (pair[0], pair[1]);
                let is_there =
                    |cause: &&Cause| cause.instance == earlier.on && cause.at_ms <= later.began + NOTED_LATE_MS;
                let hits: Vec<&Cause> = causes.iter().filter(is_there).collect();
                let explains = |cause: &&&Cause| {
                    cause.what.lasts() || hits.len() >= CRASH_LOOP || cause.at_ms + NOTED_LATE_MS >= earlier.began
                };
                let cause = hits.iter().filter(explains).map(|cause| cause.what).max();
                let at_once = earlier.done || earlier.last > later.began + TOLERATED_OVERLAP_MS;
                *again.begun.entry(cause).or_default() += 1;
                let mut stalled = self.stalled.get(job).into_iter().flatten();
                if stalled.any(|at| (earlier.began..=later.began).contains(at)) {
                    *again.stalled.entry(cause).or_default() += 1;
                }
                if at_once {
                    *again.at_once.entry(cause).or_default() += 1;
                }
                // A job that was handed back on a notice no longer runs there.
                if cause.is_none() || (at_once && cause == Some(What::Notice)) {
                    again.unexplained.push(format!("job {job}: {earlier:?}, then {later:?}, after {cause:?}"));
                }
            }
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(runs: &[(&str, u64)], stalls: &[u64]) -> Journal {
        let run = |(on, began): &(&str, u64)| Run {
            job: "7".to_owned(),
            on: (*on).to_owned(),
            began: *began,
            last: *began,
            done: false,
        };
        Journal {
            runs: runs.iter().enumerate().map(|(n, it)| (n.to_string(), run(it))).collect(),
            stalled: BTreeMap::from([("7".to_owned(), stalls.to_vec())]),
            ..Journal::default()
        }
    }

    #[test]
    fn a_failed_job_is_excused_only_where_each_of_its_runs_was_killed() {
        let cause = |on: &str, at_ms, what| Cause { instance: on.to_owned(), at_ms, what };
        let kills = [cause("i-1", 10_100, What::Pm2Killed), cause("i-2", 60_900, What::WorkerKilled)];
        let twice = journal(&[("i-1", 10_000), ("i-2", 60_000)], &[50_000, 120_000]);
        assert!(twice.was_killed_twice("7", &kills));
        assert!(!twice.was_killed_twice("7", &kills[..1]), "the second run was left alone");
        assert!(!twice.was_killed_twice("8", &kills), "another job");
        let elsewhere = [kills[0].clone(), cause("i-3", 60_900, What::WorkerKilled)];
        assert!(!twice.was_killed_twice("7", &elsewhere), "another instance");
        let later = [kills[0].clone(), cause("i-2", 130_000, What::WorkerKilled)];
        assert!(!twice.was_killed_twice("7", &later), "after the job was found");
        let agents = [kills[0].clone(), cause("i-2", 60_900, What::AgentKilled)];
        assert!(!twice.was_killed_twice("7", &agents), "an agent's end is no worker's");
        assert!(!journal(&[("i-1", 10_000)], &[50_000]).was_killed_twice("7", &kills), "once");
    }
}
