//! The jobs that wait, run and have ended, one by one, for a policy that predicts starts. Reads only, at two round
//! trips a queue: of the waiting jobs a sample of ages, of those that run all, of the ended the newest that Redis
//! keeps.

mod ended;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::{Pipeline, Value, pipe};
use spillway_brain::{InstanceId, Running, Waiting, Work};

use self::ended::{Ended, Look, Started};
use super::jobs::{Counted, Counts};
use super::keys::QueueKeys;
use super::reading::{DELAY_SHIFT, EARLIEST_MS, original_delay};
use super::reply::{decoration, lossy, whole};
use super::workers;
use crate::redis_client::{Redis, RedisProblem};

/// Active jobs of a queue that are read; with more of them the jobs are not told.
const ACTIVE_READ: usize = 1000;
/// Waiting jobs of a queue, in each of BullMQ's three places, whose ages are read: the others are taken to be as old as
/// the one before them.
const AGES_READ: u64 = 32;
/// Characters of a job's name that are told.
const NAME: usize = 64;
/// Newest jobs that ended well, and that failed, which are read.
const ENDED_READ: usize = 50;

/// What is remembered of each queue from the last look.
#[derive(Debug, Default)]
pub(super) struct WorkObserver(BTreeMap<String, Look>);

impl WorkObserver {
    /// None where there are more active jobs than are read, or an answer is not BullMQ's: nothing is told rather than
    /// a part. `known` are the pool's instances.
    pub(super) async fn look(
        &mut self,
        redis: &mut Redis,
        queues: &[QueueKeys],
        counts: &Counts,
        known: &BTreeSet<InstanceId>,
    ) -> Result<Option<Work>, RedisProblem> {
        let mut work = Work::default();
        for keys in queues {
            let Some(counted) = counts.of(&keys.queue) else { continue };
            let last = self.0.remove(&keys.queue);
            let Some(seen) = one(redis, keys, counted, last.as_ref(), known).await? else { return Ok(None) };
            work.finished.extend(ended::since(last.as_ref(), &seen.look));
            work.waiting.insert(keys.queue.clone(), seen.waiting);
            work.running.extend(seen.running);
            self.0.insert(keys.queue.clone(), seen.look);
        }
        Ok(Some(work))
    }
}

/// One queue's jobs.
struct Seen {
    waiting: Vec<Waiting>,
    running: Vec<Running>,
    look: Look,
}

async fn one(
    redis: &mut Redis,
    keys: &QueueKeys,
    counted: Counted,
    last: Option<&Look>,
    known: &BTreeSet<InstanceId>,
) -> Result<Option<Seen>, RedisProblem> {
    let now_ms = counted.finished.at_ms;
    let Some(ids) = ids(redis, keys, counted, last).await? else { return Ok(None) };
    let mut pipeline = pipe();
    for id in &ids.active {
        pipeline.cmd("HMGET").arg(keys.key(id)).arg("name").arg("processedOn").arg("pb");
        pipeline.cmd("GET").arg(keys.key(&format!("{id}:lock")));
    }
    for id in &ids.ended {
        pipeline.cmd("HMGET").arg(keys.key(id)).arg("name").arg("processedOn").arg("finishedOn");
    }
    for id in ids.waiting.iter().filter_map(|it| it.id.as_ref()) {
        pipeline.cmd("HMGET").arg(keys.key(id)).arg("timestamp").arg("opts");
    }
    let mut look = Look { at_ms: now_ms, finished: counted.finished.finished(), ..Look::default() };
    look.has_all_kept = ids.has_all_ended;
    let mut seen = Seen { waiting: Vec::new(), running: Vec::new(), look };
    if pipeline.is_empty() {
        return Ok(Some(Seen { waiting: ids.waiting(&mut std::iter::empty(), now_ms), ..seen }));
    }
    let mut answers = redis.query_each(&mut pipeline).await?.into_iter();
    for id in &ids.active {
        let job = answers.next().and_then(decoration::<(Option<Vec<u8>>, Value, Option<Vec<u8>>)>);
        let lock = answers.next().and_then(decoration::<Option<Vec<u8>>>).flatten().map(lossy);
        // Its hash is gone: it has just ended.
        let Some((Some(name), started, by)) = job else { continue };
        let started_at = whole(started).filter(|at| *at >= EARLIEST_MS).unwrap_or(now_ms);
        // The primary's worker may have a name too, as any other that is none of the pool's instances.
        let holder = workers::holder(by.map(lossy).as_deref(), lock.as_deref(), known);
        let on = holder.filter(|id| known.contains(id));
        let elapsed = Duration::from_millis(now_ms.saturating_sub(started_at));
        let name = short(name);
        seen.running.push(Running { on, elapsed, name: name.clone() });
        seen.look.running.insert(id.clone(), Started { name, at_ms: started_at });
    }
    for id in &ids.ended {
        let job = answers.next().and_then(decoration::<(Option<Vec<u8>>, Value, Value)>);
        let Some((name, started, ended)) = job else { continue };
        // A job that failed before any worker took it has no start.
        let (Some(started), Some(at_ms)) = (whole(started), whole(ended)) else { continue };
        let Some(took_ms) = at_ms.checked_sub(started).filter(|_| started >= EARLIEST_MS) else { continue };
        let name = name.map(short).unwrap_or_default();
        seen.look.kept.push(Ended { id: id.clone(), name, at_ms, took_ms });
    }
    let mut ages = answers.map(|answer| {
        let (timestamp, opts) = decoration::<(Value, Option<Vec<u8>>)>(answer)?;
        let added = whole(timestamp).filter(|at| *at >= EARLIEST_MS)?;
        Some(added.saturating_add(original_delay(opts.map(lossy).as_deref())))
    });
    seen.waiting = ids.waiting(&mut ages, now_ms);
    Ok(Some(seen))
}

/// A job's name, as the ledger keeps it: an application may write anything.
fn short(name: Vec<u8>) -> String {
    lossy(name).chars().take(NAME).collect()
}

/// The ids of the jobs to read.
#[derive(Debug, Default)]
struct Ids {
    active: Vec<String>,
    ended: Vec<String>,
    /// All that Redis keeps of those that ended since the last look are among them.
    has_all_ended: bool,
    waiting: Vec<Sampled>,
}

/// A waiting job, and those behind it that are taken to be like it.
#[derive(Debug)]
struct Sampled {
    jobs: u64,
    /// None where it is known since when it is ready, or where nothing is.
    id: Option<String>,
    ready_ms: Option<u64>,
}

impl Ids {
    /// `ready` tells, of each job that has an id, since when it could have started.
    fn waiting(&self, ready: &mut dyn Iterator<Item = Option<u64>>, now_ms: u64) -> Vec<Waiting> {
        let mut before = Duration::ZERO;
        let of = |sampled: &Sampled| {
            let read = sampled.id.as_ref().and_then(|_| ready.next().flatten());
            let since = sampled.ready_ms.or(read);
            let age = since.map_or(before, |since| Duration::from_millis(now_ms.saturating_sub(since)));
            before = age;
            Waiting { age, jobs: sampled.jobs }
        };
        self.waiting.iter().map(of).collect()
    }
}

async fn ids(
    redis: &mut Redis,
    keys: &QueueKeys,
    counted: Counted,
    last: Option<&Look>,
) -> Result<Option<Ids>, RedisProblem> {
    // No worker takes a paused queue's jobs.
    let is_counted = |jobs: u64| if counted.is_paused { 0 } else { jobs };
    let places = [counted.waiting, counted.delayed_due, counted.prioritized].map(is_counted);
    let since = last.map_or(0, |last| last.at_ms);
    let mut pipeline = pipe();
    pipeline.cmd("LRANGE").arg(keys.key("active")).arg(0).arg(ACTIVE_READ);
    for part in ["completed", "failed"] {
        pipeline.cmd("ZREVRANGE").arg(keys.key(part)).arg(0).arg(ENDED_READ - 1).arg("WITHSCORES");
    }
    add_samples(&mut pipeline, keys, places);
    let mut answers = redis.query_each(&mut pipeline).await?.into_iter();
    let active = answers.next().and_then(decoration::<Vec<Vec<u8>>>).filter(|ids| ids.len() <= ACTIVE_READ);
    let Some(active) = active else { return Ok(None) };
    let mut ids = Ids { active: active.into_iter().map(lossy).collect(), has_all_ended: true, ..Ids::default() };
    for _ in ["completed", "failed"] {
        let newest = answers.next().and_then(decoration::<Vec<(Vec<u8>, f64)>>).unwrap_or_default();
        let new = newest.into_iter().take_while(|(_, ended)| *ended > since as f64).map(|(id, _)| lossy(id));
        let before = ids.ended.len();
        ids.ended.extend(new);
        ids.has_all_ended &= ids.ended.len() - before < ENDED_READ;
    }
    // A worker takes from `wait`, into which it puts the delayed jobs that are due, and then from `prioritized`.
    for (place, _, jobs) in samples(places) {
        let answer = answers.next();
        let sampled = if place == 1 {
            let job = answer.and_then(decoration::<Vec<(Vec<u8>, f64)>>).unwrap_or_default().into_iter().next();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a score is a positive time")]
            let due = job.map(|(_, score)| (score / DELAY_SHIFT as f64) as u64).filter(|at| *at >= EARLIEST_MS);
            Sampled { jobs, id: None, ready_ms: due }
        } else {
            let id = match place {
                0 => answer.and_then(decoration::<Option<Vec<u8>>>).flatten(),
                _ => answer.and_then(decoration::<Vec<Vec<u8>>>).and_then(|ids| ids.into_iter().next()),
            };
            // BullMQ 3 and 4 end `wait` with a marker, which is not a job.
            Sampled { jobs, id: id.map(lossy).filter(|id| !id.starts_with("0:")), ready_ms: None }
        };
        ids.waiting.push(sampled);
    }
    Ok(Some(ids))
}

/// Of each of the three places: which one, the position of the job to read, and the jobs that it stands for.
fn samples(places: [u64; 3]) -> impl Iterator<Item = (usize, u64, u64)> {
    places.into_iter().enumerate().flat_map(|(place, jobs)| {
        let each = jobs.div_ceil(AGES_READ).max(1);
        (0..jobs.div_ceil(each)).map(move |nth| (place, nth * each, each.min(jobs - nth * each)))
    })
}

fn add_samples(pipeline: &mut Pipeline, keys: &QueueKeys, places: [u64; 3]) {
    for (place, first, _) in samples(places) {
        match place {
            // Workers take from the end.
            0 => pipeline.cmd("LINDEX").arg(keys.key("wait")).arg(format!("-{}", first + 1)),
            1 => pipeline.cmd("ZRANGE").arg(keys.key("delayed")).arg(first).arg(first).arg("WITHSCORES"),
            _ => pipeline.cmd("ZRANGE").arg(keys.key("prioritized")).arg(first).arg(first),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_sampled_and_every_job_counts_once() {
        let all: Vec<_> = samples([3, 0, 1]).collect();
        assert_eq!(all, [(0, 0, 1), (0, 1, 1), (0, 2, 1), (2, 0, 1)]);
        for jobs in [1, 31, 32, 33, 64, 65, 100_000] {
            let all: Vec<_> = samples([jobs, 0, 0]).collect();
            assert!(all.len() as u64 <= AGES_READ, "{jobs}: {}", all.len());
            assert_eq!(all.iter().map(|(_, _, jobs)| jobs).sum::<u64>(), jobs);
            assert!(all.iter().all(|(_, first, of)| first + of <= jobs), "{jobs}: {all:?}");
        }
    }

    #[test]
    fn a_job_whose_age_nothing_tells_is_as_old_as_the_one_before_it() {
        let sampled = |id: Option<&str>, ready_ms| Sampled { jobs: 2, id: id.map(str::to_owned), ready_ms };
        let waiting =
            vec![sampled(Some("1"), None), sampled(Some("2"), None), sampled(None, Some(7000)), sampled(None, None)];
        let ids = Ids { waiting, ..Ids::default() };
        let told = ids.waiting(&mut [Some(1000), None].into_iter(), 10_000);
        assert_eq!(told.iter().map(|it| it.age.as_millis()).collect::<Vec<_>>(), [9000, 9000, 3000, 3000]);
    }
}
