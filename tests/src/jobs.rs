//! Jobs: added by BullMQ itself, and read from Redis afterwards.

use std::collections::BTreeMap;

use crate::process::{command, run};
use crate::redis_server::RedisServer;
use crate::{QUEUE, programs};

/// Adds jobs that take so many seconds each.
pub fn add(redis: &RedisServer, jobs: u32, seconds: f64) {
    add_to(redis, QUEUE, jobs, seconds);
}

/// The same to another queue.
pub fn add_to(redis: &RedisServer, queue: &str, jobs: u32, seconds: f64) {
    add_at(&redis.url(), queue, jobs, seconds);
}

/// The same as the Redis user of this URL.
pub fn add_as(url: &str, jobs: u32, seconds: f64) {
    add_at(url, QUEUE, jobs, seconds);
}

fn add_at(url: &str, queue: &str, jobs: u32, seconds: f64) {
    let mut add = command(programs::program("node"));
    add.arg(programs::script("add.mjs")).args(["5", queue, &jobs.to_string(), &seconds.to_string()]);
    run(add.env("REDIS_URL", url).env_remove("QUEUE_PREFIX"));
}

/// One job as Redis has it.
#[derive(Debug)]
pub struct Job {
    pub added_ms: u64,
    pub started_ms: Option<u64>,
    pub finished_ms: Option<u64>,
    /// The worker's name: an instance id.
    pub by: Option<String>,
}

pub fn job(redis: &RedisServer, id: &str) -> Job {
    let fields: (u64, Option<u64>, Option<u64>, Option<String>) =
        redis.ask(&["HMGET", &format!("bull:{QUEUE}:{id}"), "timestamp", "processedOn", "finishedOn", "pb"]);
    Job { added_ms: fields.0, started_ms: fields.1, finished_ms: fields.2, by: fields.3 }
}

impl Job {
    /// It runs, and more than half of its `seconds` are left.
    pub fn has_long_to_go(&self, redis: &RedisServer, seconds: f64) -> bool {
        self.started_ms.is_some_and(|started| (now_ms(redis).saturating_sub(started) as f64) < seconds * 500.0)
    }
}

/// By Redis' clock.
pub fn now_ms(redis: &RedisServer) -> u64 {
    let (seconds, microseconds): (u64, u64) = redis.ask(&["TIME"]);
    seconds * 1000 + microseconds / 1000
}

/// Ids of the active jobs.
pub fn active(redis: &RedisServer) -> Vec<String> {
    redis.ask(&["LRANGE", &format!("bull:{QUEUE}:active"), "0", "-1"])
}

pub fn completed(redis: &RedisServer) -> u64 {
    redis.ask(&["ZCARD", &format!("bull:{QUEUE}:completed")])
}

pub fn failed(redis: &RedisServer) -> u64 {
    redis.ask(&["ZCARD", &format!("bull:{QUEUE}:failed")])
}

pub fn failed_ids(redis: &RedisServer) -> Vec<String> {
    redis.ask(&["ZRANGE", &format!("bull:{QUEUE}:failed"), "0", "-1"])
}

/// Ids of the jobs that BullMQ's stall check has found, once for each time.
pub fn stalls(redis: &RedisServer) -> Vec<String> {
    let events: Vec<(String, BTreeMap<String, String>)> =
        redis.ask(&["XRANGE", &format!("bull:{QUEUE}:events"), "-", "+"]);
    let is_stall = |fields: &BTreeMap<String, String>| fields.get("event").is_some_and(|event| event == "stalled");
    events.into_iter().filter(|(_, fields)| is_stall(fields)).filter_map(|(_, mut it)| it.remove("jobId")).collect()
}

/// By job: how often a worker started it, by the workers' own count.
pub fn runs(redis: &RedisServer) -> BTreeMap<String, u64> {
    redis.ask(&["HGETALL", "spillway-demo:runs"])
}

/// Asserts that all jobs completed and each was started once.
pub fn assert_each_ran_once(redis: &RedisServer, jobs: u64) {
    assert_eq!((completed(redis), failed(redis)), (jobs, 0), "completed and failed");
    let runs = runs(redis);
    assert_eq!(runs.len() as u64, jobs, "{runs:?}");
    assert!(runs.values().all(|&times| times == 1), "jobs started more than once: {runs:?}");
}
