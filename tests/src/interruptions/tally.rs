//! What became of the jobs, counted from the workers' own record of their runs and from BullMQ's events. Both are
//! streams in Redis: one clock, and nothing that Spillway reports.

use std::collections::BTreeMap;
use std::fmt;

use redis::Value;
use spillway_words::excerpt;

use crate::redis_server::RedisServer;
use crate::{QUEUE, jobs, recorded_worker};

/// A frozen worker's record of a job may come so long after the job has started elsewhere.
const TOLERATED_OVERLAP_MS: u64 = 50;

/// A job's code tells of its own end before it returns to BullMQ. Handed back within this of that record, it had not
/// returned: nobody could know that it was over, and it runs once more. A job that had is not handed back at all (the
/// agent's tests of the worker shim).
const ENDING_MS: u64 = 10;

/// One in so many jobs that are handed back may be such a one. More is no chance.
const ENDING_IS_RARER_THAN: u64 = 50;

/// One instance that was interrupted or scaled in.
#[derive(Clone, Debug)]
pub struct Interruption {
    pub instance: String,
    /// In seconds, before it was shortened; None: it was scaled in.
    pub notice: Option<u32>,
    /// By Redis' clock.
    pub at_ms: u64,
    /// Jobs that it held at that moment.
    pub jobs: Vec<String>,
}

/// The results of interruptions with one notice.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub interruptions: u32,
    /// Jobs that the instances held.
    pub jobs: u32,
    /// Of these: completed there.
    pub finished: u32,
    /// Handed back: started again elsewhere without BullMQ's stall check.
    pub handed_back: u32,
    /// Completed twice, or running in two places at once.
    pub run_twice: u32,
    /// From the hand-back to the next start, in milliseconds.
    pub waits: Vec<f64>,
}

/// The whole count.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By the notice.
    pub rows: BTreeMap<Option<u32>, Row>,
    pub added: u64,
    pub completed: u64,
    pub failed: u64,
    /// Jobs that two or more instances held when they ended without notice. From the second end on Spillway leaves such
    /// a job to BullMQ's guard against jobs that kill their worker, which counts a stall, and BullMQ 3 and 4 an
    /// attempt.
    pub suspects: u64,
    /// Jobs for which BullMQ counts more than one attempt, but for suspects.
    pub attempts_spent: u64,
    /// How often BullMQ found a job stalled that a worker had started, but for suspects.
    pub stalls: u64,
    /// The same for jobs that no worker had started: BullMQ 3 and 4 move a job out of `wait` before it has a lock, and
    /// if its worker is killed at that moment nothing shows whose job it was.
    pub stalls_unbegun: u64,
    /// Jobs run twice, of all jobs.
    pub run_twice: u64,
    /// Of these: not held by an instance that was interrupted without notice.
    pub run_twice_announced: u64,
    /// Not of these: handed back at the moment when their code ended.
    pub ending: u64,
    /// The history of each job that spent an attempt, stalled, or was run twice.
    pub histories: Vec<String>,
}

/// Jobs whose history is shown.
const HISTORIES_SHOWN: usize = 5;

/// Jobs that have neither completed nor failed.
pub(super) fn unfinished(redis: &RedisServer, added: u64) -> u64 {
    added.saturating_sub(jobs::completed(redis) + jobs::failed(redis))
}

#[derive(Debug)]
struct Run {
    on: String,
    began: u64,
    last: u64,
    done: bool,
}

pub(super) fn count(redis: &RedisServer, added: u64, interruptions: Vec<Interruption>) -> Tally {
    let runs = runs(redis);
    let events = stream(redis, &format!("bull:{QUEUE}:events"));
    // An instance also takes jobs between the look at what it runs and its end.
    let cut_off = |it: &Interruption, job: &String| {
        let runs = runs.get(job).map_or(&[][..], Vec::as_slice);
        it.jobs.contains(job) || runs.iter().any(|run| run.on == it.instance && !run.done)
    };
    let sudden: Vec<&Interruption> = interruptions.iter().filter(|it| it.notice == Some(0)).collect();
    let is_suspect = |job: &String| sudden.iter().filter(|it| cut_off(it, job)).count() > 1;
    let mut tally = Tally {
        added,
        completed: jobs::completed(redis),
        failed: jobs::failed(redis),
        suspects: (1..=added).filter(|id| is_suspect(&id.to_string())).count() as u64,
        ..Tally::default()
    };
    let history = |job: &String, what: &str| {
        let happened = events.iter().filter(|(_, fields)| is(fields, "jobId", job));
        let happened: Vec<String> = happened.map(|(at, fields)| format!("{at} {fields:?}")).collect();
        let taken: Vec<&Interruption> = interruptions.iter().filter(|it| cut_off(it, job)).collect();
        let runs = runs.get(job).map_or(&[][..], Vec::as_slice);
        excerpt::end(&format!("job {job} {what}"), &format!("{runs:?}\n{}\n{taken:?}", happened.join("\n")))
    };
    for job in (1..=added).filter(|id| attempts(redis, *id) > 1).map(|id| id.to_string()) {
        if !is_suspect(&job) {
            tally.attempts_spent += 1;
            tally.histories.push(history(&job, "has spent an attempt"));
        }
    }
    for (at, fields) in events.iter().filter(|(_, fields)| is(fields, "event", "stalled")) {
        let job = fields.get("jobId").cloned().unwrap_or_default();
        let is_begun = runs.get(&job).is_some_and(|runs| runs.iter().any(|run| run.began <= *at));
        match (is_begun, is_suspect(&job)) {
            (_, true) => {}
            (true, false) => {
                tally.stalls += 1;
                tally.histories.push(history(&job, "stalled"));
            }
            (false, false) => tally.stalls_unbegun += 1,
        }
    }
    let is_back = |fields: &BTreeMap<String, String>, job: &String| {
        is(fields, "jobId", job) && is(fields, "event", "waiting") && is(fields, "prev", "active")
    };
    let goes_back =
        |job: &String| events.iter().filter(|(_, fields)| is_back(fields, job)).map(|(at, _)| *at).collect();
    let is_ending = |job: &&String| ended_as_it_went_back(&runs[*job], goes_back(job));
    let twice = runs.iter().filter(|(_, runs)| ran_twice(runs)).map(|(job, _)| job);
    let (ending, twice): (Vec<&String>, Vec<&String>) = twice.partition(is_ending);
    tally.ending = ending.len() as u64;
    tally.run_twice = twice.len() as u64;
    tally.histories.extend(twice.iter().map(|job| history(job, "ran twice")));
    let unannounced = |job: &String| sudden.iter().any(|it| cut_off(it, job));
    tally.run_twice_announced = twice.iter().filter(|job| !unannounced(job)).count() as u64;
    for interruption in &interruptions {
        let row = tally.rows.entry(interruption.notice).or_default();
        row.interruptions += 1;
        for job in &interruption.jobs {
            row.jobs += 1;
            row.run_twice += u32::from(twice.contains(&job));
            let runs = runs.get(job).map_or(&[][..], Vec::as_slice);
            let here = runs.iter().rfind(|run| run.on == interruption.instance);
            if here.is_some_and(|run| run.done) {
                row.finished += 1;
                continue;
            }
            let back = events.iter().find(|(at, fields)| *at >= interruption.at_ms && is_back(fields, job));
            let next = |back: u64| runs.iter().find(|run| run.began >= back && run.on != interruption.instance);
            if let Some((at, _)) = back
                && let Some(run) = next(*at)
            {
                row.handed_back += 1;
                row.waits.push((run.began - at) as f64);
            }
        }
    }
    tally
}

fn ran_twice(runs: &[Run]) -> bool {
    runs.iter().filter(|run| run.done).count() > 1 || overlap(runs)
}

fn overlap(runs: &[Run]) -> bool {
    runs.windows(2).any(|pair| pair[0].last > pair[1].began + TOLERATED_OVERLAP_MS)
}

/// Whether each end of its code but one was recorded just as the job went back, and no two runs overlap.
fn ended_as_it_went_back(runs: &[Run], back: Vec<u64>) -> bool {
    let is_ending = |run: &&Run| back.iter().any(|at| at.abs_diff(run.last) <= ENDING_MS);
    runs.iter().filter(|run| run.done && !is_ending(run)).count() == 1 && !overlap(runs)
}

/// By job: its runs, in the order in which they began.
fn runs(redis: &RedisServer) -> BTreeMap<String, Vec<Run>> {
    let mut by_run: BTreeMap<String, (String, Run)> = BTreeMap::new();
    for (at, fields) in stream(redis, recorded_worker::RUNS) {
        let get = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let new = || (get("job"), Run { on: get("on"), began: at, last: at, done: false });
        let (_, run) = by_run.entry(get("run")).or_insert_with(new);
        run.last = at;
        run.done |= is(&fields, "what", "done");
    }
    let mut by_job: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    for (job, run) in by_run.into_values() {
        by_job.entry(job).or_default().push(run);
    }
    by_job.values_mut().for_each(|runs| runs.sort_by_key(|run| run.began));
    by_job
}

/// BullMQ 5 and later count an attempt at its end, 3 and 4 at its start: once for a job that ended well.
fn attempts(redis: &RedisServer, id: u64) -> u64 {
    let key = format!("bull:{QUEUE}:{id}");
    let (new, old): (Option<u64>, Option<u64>) = redis.ask(&["HMGET", &key, "atm", "attemptsMade"]);
    new.or(old).unwrap_or(0)
}

fn is(fields: &BTreeMap<String, String>, name: &str, value: &str) -> bool {
    fields.get(name).is_some_and(|found| found == value)
}

/// All entries of a stream: when, and their fields.
fn stream(redis: &RedisServer, key: &str) -> Vec<(u64, BTreeMap<String, String>)> {
    let entries: Vec<(String, Value)> = redis.ask(&["XRANGE", key, "-", "+"]);
    let entry = |(id, fields): (String, Value)| {
        let at = id.split('-').next()?.parse().ok()?;
        Some((at, redis::from_redis_value(fields).ok()?))
    };
    entries.into_iter().filter_map(entry).collect()
}

impl Tally {
    /// Adds the counts of another.
    pub fn add(&mut self, other: Tally) {
        for (notice, row) in other.rows {
            let into = self.rows.entry(notice).or_default();
            into.interruptions += row.interruptions;
            into.jobs += row.jobs;
            into.finished += row.finished;
            into.handed_back += row.handed_back;
            into.run_twice += row.run_twice;
            into.waits.extend(row.waits);
        }
        self.added += other.added;
        self.completed += other.completed;
        self.failed += other.failed;
        self.suspects += other.suspects;
        self.attempts_spent += other.attempts_spent;
        self.stalls += other.stalls;
        self.stalls_unbegun += other.stalls_unbegun;
        self.run_twice += other.run_twice;
        self.run_twice_announced += other.run_twice_announced;
        self.ending += other.ending;
        self.histories.extend(other.histories);
    }

    /// Whether every job completed, in one attempt and without a stall; run twice only after an interruption without
    /// notice.
    pub fn is_kept(&self) -> bool {
        let handed_back: u64 = self.rows.values().map(|row| u64::from(row.handed_back)).sum();
        self.completed == self.added
            && self.failed + self.attempts_spent + self.stalls + self.run_twice_announced == 0
            && self.ending <= handed_back.div_ceil(ENDING_IS_RARER_THAN)
            && self.rows.values().all(|row| row.finished + row.handed_back == row.jobs)
    }
}

/// A quantile, such as 0.5 for the median; None without values.
pub(super) fn quantile(values: &[f64], part: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(((sorted.len().saturating_sub(1)) as f64 * part).round() as usize).copied()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| notice | interruptions | jobs held | finished there | handed back | run twice | median wait | longest |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        let ms = |wait: Option<f64>| wait.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0} ms"));
        for (notice, row) in self.rows.iter().rev() {
            let Row { interruptions, jobs, finished, handed_back, run_twice, waits } = row;
            let (median, longest) = (ms(quantile(waits, 0.5)), ms(quantile(waits, 1.0)));
            let notice = notice.map_or_else(|| "scale-in".to_owned(), |seconds| format!("{seconds} s"));
            writeln!(
                f,
                "| {notice} | {interruptions} | {jobs} | {finished} | {handed_back} | {run_twice} | {median} | {longest} |"
            )?;
        }
        write!(
            f,
            "{} jobs added, {} completed, {} failed, {} attempts spent, {} stalls ({} more of jobs that had not started), {} run \
             twice ({} of them not on an instance interrupted without notice), {} handed back as their code ended, {} left to \
             BullMQ after two ends without notice",
            self.added,
            self.completed,
            self.failed,
            self.attempts_spent,
            self.stalls,
            self.stalls_unbegun,
            self.run_twice,
            self.run_twice_announced,
            self.ending,
            self.suspects
        )?;
        let earlier = self.histories.len().saturating_sub(HISTORIES_SHOWN);
        self.histories[earlier..].iter().try_for_each(|history| write!(f, "\n{}", history.trim_end()))?;
        if earlier > 0 { write!(f, "\n… {earlier} more before them") } else { Ok(()) }
    }
}
