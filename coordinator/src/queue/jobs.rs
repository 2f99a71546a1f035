//! Which jobs started and ended between two observations: the ids in `active`, and the hashes of those that are new
//! there. For the record and the metrics alone: a connection of its own, so that nothing waits for it.

use std::collections::BTreeMap;

use redis::{Value, pipe};
use spillway_record::{ActiveJob, Interval, JobsSeen, Seen};

use super::keys::QueueKeys;
use super::reading::{EARLIEST_MS, Reading, original_delay};
use super::reply::{decoration, lossy, whole};
use super::throughput::Finished;
use crate::redis_client::{Redis, RedisProblem};

/// Active jobs of a queue that are read; with more of them, jobs are counted only.
const ACTIVE_READ: usize = 1000;

/// What an observation counted in one queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub finished: Finished,
    failed: u64,
    pub waiting: u64,
    pub delayed_due: u64,
    pub prioritized: u64,
    pub is_paused: bool,
}

impl Counted {
    /// Without the jobs themselves.
    fn seen(self) -> Seen {
        let Counted { finished: Finished { at_ms, added, unfinished }, failed, .. } = self;
        Seen { at: at_ms, added, unfinished, failed, ..Seen::default() }
    }
}

/// What an observation counted, by queue; None where the queue does not exist.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<String, Option<Counted>>);

impl Counts {
    pub(super) fn read(&mut self, reading: &Reading) {
        let Reading { finished, failed, waiting, delayed_due, prioritized, paused: is_paused, .. } = *reading;
        let counted = Counted { finished, failed, waiting, delayed_due, prioritized, is_paused };
        self.0.insert(reading.queue.clone(), Some(counted));
    }

    /// None where the queue does not exist.
    pub(super) fn of(&self, queue: &str) -> Option<Counted> {
        self.0.get(queue).copied().flatten()
    }

    pub(super) fn missing(&mut self, queue: &str) {
        self.0.insert(queue.to_owned(), None);
    }
}

/// Sees jobs start and end.
#[derive(Debug)]
pub struct JobsObserver {
    redis: Redis,
    queues: Vec<QueueKeys>,
    seen: BTreeMap<String, JobsSeen>,
}

impl JobsObserver {
    pub fn new(redis: Redis, prefix: &str, queues: &[String]) -> Self {
        let queues = queues.iter().map(|queue| QueueKeys::new(prefix, queue)).collect();
        JobsObserver { redis, queues, seen: BTreeMap::new() }
    }

    /// Another coordinator sees them until now, by what an observation counted: what it tells is not told again.
    pub fn leave_to_others(&mut self, counts: &Counts) {
        for keys in &self.queues {
            let mut seen = JobsSeen::new(&keys.queue);
            match counts.0.get(&keys.queue) {
                Some(Some(counted)) => seen = JobsSeen::starts_from(&keys.queue, counted.seen()),
                Some(None) => seen.saw_nothing(),
                None => continue,
            }
            self.seen.insert(keys.queue.clone(), seen);
        }
    }

    /// What happened to jobs since the last look, by what an observation counted. Costs two round trips a queue, and
    /// six values for each job that started. Of queues that cannot be read nothing is told.
    pub async fn look(&mut self, counts: Counts) -> Vec<Interval> {
        let mut intervals = Vec::new();
        for keys in &self.queues {
            let seen = self.seen.entry(keys.queue.clone()).or_insert_with(|| JobsSeen::new(&keys.queue));
            match counts.0.get(&keys.queue) {
                Some(Some(counted)) => match one(&mut self.redis, keys, *counted, seen).await {
                    Ok(interval) => intervals.extend(interval),
                    Err(problem) => {
                        tracing::debug!(queue = keys.queue, %problem, "cannot read which jobs started and ended");
                    }
                },
                Some(None) => seen.saw_nothing(),
                None => {}
            }
        }
        intervals
    }
}

async fn one(
    redis: &mut Redis,
    keys: &QueueKeys,
    counted: Counted,
    seen: &mut JobsSeen,
) -> Result<Option<Interval>, RedisProblem> {
    let mut pipeline = pipe();
    pipeline.cmd("LRANGE").arg(keys.key("active")).arg(0).arg(ACTIVE_READ);
    let answer = redis.query_each(&mut pipeline).await?.into_iter().next();
    let Some(ids) = answer.and_then(decoration::<Vec<Vec<u8>>>) else { return Ok(None) };
    let active = (ids.len() <= ACTIVE_READ).then(|| ids.into_iter().map(lossy).collect::<Vec<String>>());
    let mut found = Vec::new();
    let unknown = active.as_deref().map(|active| seen.unknown(active)).unwrap_or_default();
    if !unknown.is_empty() {
        let mut pipeline = pipe();
        for id in &unknown {
            // Starts are counted in `ats`; by BullMQ 3 and 4 in `attemptsMade`.
            let fields = ["name", "timestamp", "processedOn", "opts", "ats", "attemptsMade"];
            pipeline.cmd("HMGET").arg(keys.key(id)).arg(&fields);
        }
        let answers = redis.query_each(&mut pipeline).await?;
        found.extend(unknown.iter().zip(answers).filter_map(|(id, answer)| job(id, decoration(answer)?)));
    }
    seen.saw(Seen { active, found, ..counted.seen() });
    Ok(seen.take())
}

type Fields = (Option<Vec<u8>>, Value, Value, Option<Vec<u8>>, Value, Value);

/// None where the hash has no time at which a worker took the job.
fn job(id: &str, (name, added, started, opts, starts, starts_before_5): Fields) -> Option<ActiveJob> {
    let time = |value| whole(value).filter(|at| *at >= EARLIEST_MS);
    let delay = original_delay(opts.map(lossy).as_deref());
    let started_at = Some(time(started)?);
    let is_retry = whole(starts).or(whole(starts_before_5)).is_some_and(|starts| starts > 1);
    let ready_at = time(added).filter(|_| !is_retry).map(|added| added.saturating_add(delay));
    Some(ActiveJob { id: id.to_owned(), name: name.map(lossy).unwrap_or_default(), ready_at, started_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jobs_wait_begins_when_its_delay_is_over_and_nonsense_is_none() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let (added, started) = ("1764000000000", "1764000009000");
        let fields = |added, started, opts: Option<&str>, attempts| {
            let opts = opts.map(|opts| opts.as_bytes().to_vec());
            (Some(b"encode".to_vec()), added, started, opts, attempts, Value::Nil)
        };
        let found = job("7", fields(text(added), text(started), Some("{\"delay\":4000}"), text("1")));
        let found = found.expect("a job");
        let (ready, began) = (Some(1_764_000_004_000), Some(1_764_000_009_000));
        assert_eq!((&*found.name, found.ready_at, found.started_at), ("encode", ready, began));
        assert_eq!(job("7", fields(Value::Nil, Value::Nil, None, Value::Nil)), None, "no worker has taken it");
        assert_eq!(job("7", fields(Value::Nil, text("soon"), None, Value::Nil)), None);
        let ready_at = |fields| job("7", fields).expect("a job").ready_at;
        assert_eq!(ready_at(fields(text("x"), text(started), None, Value::Nil)), None);
        assert_eq!(ready_at(fields(text(added), text(started), None, text("2"))), None, "a retry");
    }
}
