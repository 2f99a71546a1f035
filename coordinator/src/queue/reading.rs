//! One observation of all queues: TIME, then one pipeline, then the few hashes that show the oldest job's age.
//!
//! What is not obvious (measured against BullMQ 3.16 to 6.7, see the randomized test in `tests/`):
//! - `wait` and `paused` may end in a marker, an element that starts with `0:` (BullMQ 3 and 4), which is not a job.
//! - A delayed job that is due stays in `delayed` until a worker fetches; its score is `ms · 4096 + sequence`.
//! - The head of `prioritized` is not its oldest job: each priority is a class of its own, oldest first.

use std::time::Duration;

use redis::{FromRedisValue, Pipeline, Value, pipe};

use super::ObservationProblem;
use super::keys::QueueKeys;
use super::throughput::Finished;
use crate::redis_client::{Redis, RedisProblem};

/// Priorities in which the oldest job is searched. Each costs a round trip; more of them in use are rare.
const PRIORITY_CLASSES: usize = 8;
/// A priority's position in a score of `prioritized`.
const PRIORITY_SHIFT: f64 = 4_294_967_296.0;
/// A millisecond's position in a score of `delayed`.
const DELAY_SHIFT: u64 = 4096;

/// What one observation found in one queue.
#[derive(Debug)]
pub(super) struct Reading {
    pub queue: String,
    pub now_ms: u64,
    pub waiting: u64,
    pub prioritized: u64,
    pub delayed: u64,
    pub delayed_due: u64,
    pub active: u64,
    pub waiting_children: u64,
    pub completed: u64,
    pub failed: u64,
    pub paused: bool,
    pub concurrency: Option<u64>,
    pub oldest_age: Option<Duration>,
    pub finished: Finished,
}

pub(super) async fn read_all(
    redis: &mut Redis,
    queues: &[QueueKeys],
) -> Result<Vec<Result<Reading, ObservationProblem>>, RedisProblem> {
    let ((seconds, microseconds),): ((u64, u64),) = redis.query(pipe().cmd("TIME")).await?;
    let now_ms = seconds * 1000 + microseconds / 1000;
    let mut pipeline = pipe();
    for keys in queues {
        add_commands(&mut pipeline, keys, now_ms);
    }
    let mut answers = Answers {
        values: redis.query::<Vec<Value>>(&pipeline).await?.into_iter(),
        address: redis.address().to_owned(),
    };
    let mut readings = Vec::new();
    for keys in queues {
        let (exists, mut reading, heads) = parse(keys, now_ms, &mut answers)?;
        if exists {
            reading.oldest_age = oldest_age(redis, keys, now_ms, &reading, heads).await?;
            readings.push(Ok(reading));
        } else {
            let (queue, prefix) = (keys.queue.clone(), keys.prefix.clone());
            readings.push(Err(ObservationProblem::NoSuchQueue { queue, prefix, address: redis.address().to_owned() }));
        }
    }
    Ok(readings)
}

/// Adds one queue's commands to the pipeline; `parse` takes the answers in the same order.
fn add_commands(pipeline: &mut Pipeline, keys: &QueueKeys, now_ms: u64) {
    let key = |part: &str| keys.key(part);
    let due = (now_ms + 1).saturating_mul(DELAY_SHIFT) - 1;
    let parts =
        ["meta", "id", "wait", "paused", "prioritized", "active", "delayed", "waiting-children", "completed", "failed"];
    // Any key of a queue proves that it exists: `meta` and `id` outlive its jobs.
    pipeline.cmd("EXISTS").arg(&parts.map(key));
    pipeline.cmd("LLEN").arg(key("wait"));
    pipeline.cmd("LRANGE").arg(key("wait")).arg(-2).arg(-1);
    pipeline.cmd("LINDEX").arg(key("wait")).arg(0);
    pipeline.cmd("LLEN").arg(key("paused"));
    pipeline.cmd("LRANGE").arg(key("paused")).arg(-2).arg(-1);
    pipeline.cmd("ZCARD").arg(key("prioritized"));
    pipeline.cmd("LLEN").arg(key("active"));
    pipeline.cmd("ZCARD").arg(key("delayed"));
    pipeline.cmd("ZCOUNT").arg(key("delayed")).arg("-inf").arg(due);
    pipeline.cmd("ZRANGE").arg(key("delayed")).arg(0).arg(0).arg("WITHSCORES");
    pipeline.cmd("ZCARD").arg(key("waiting-children"));
    pipeline.cmd("ZCARD").arg(key("completed"));
    pipeline.cmd("ZCARD").arg(key("failed"));
    pipeline.cmd("HMGET").arg(key("meta")).arg("paused").arg("concurrency");
    pipeline.cmd("GET").arg(key("id"));
}

/// Candidates for the oldest job: the ids at the ends of the lists, and when the first delayed job is due.
struct Heads {
    ids: Vec<String>,
    first_due_ms: Option<u64>,
}

fn parse(keys: &QueueKeys, now_ms: u64, answers: &mut Answers) -> Result<(bool, Reading, Heads), RedisProblem> {
    let is_marker = |id: &String| id.starts_with("0:");
    let exists: u64 = answers.next()?;
    let (wait, wait_tail, wait_head): (u64, Vec<String>, Option<String>) =
        (answers.next()?, answers.next()?, answers.next()?);
    let (paused_jobs, paused_tail): (u64, Vec<String>) = (answers.next()?, answers.next()?);
    let prioritized = answers.next()?;
    let active = answers.next()?;
    let (delayed, delayed_due) = (answers.next()?, answers.next()?);
    let first_delayed: Vec<(String, f64)> = answers.next()?;
    let (waiting_children, completed, failed) = (answers.next()?, answers.next()?, answers.next()?);
    let (paused, concurrency): (Option<String>, Option<u64>) = answers.next()?;
    let added: Option<u64> = answers.next()?;
    let without_marker =
        |length: u64, tail: &[String]| length - u64::from(tail.last().is_some_and(is_marker)).min(length);
    let waiting = without_marker(wait, &wait_tail).saturating_add(without_marker(paused_jobs, &paused_tail));
    let counts: [u64; 5] = [waiting, prioritized, delayed, active, waiting_children];
    let unfinished = counts.into_iter().fold(0, u64::saturating_add);
    let reading = Reading {
        queue: keys.queue.clone(),
        now_ms,
        waiting,
        prioritized,
        delayed,
        delayed_due,
        active,
        waiting_children,
        completed,
        failed,
        paused: paused.is_some(),
        concurrency: concurrency.filter(|limit| *limit > 0),
        oldest_age: None,
        finished: Finished { at_ms: now_ms, added: added.unwrap_or(0), unfinished },
    };
    // The oldest job is the tail, or the head if jobs were added LIFO, or stands before a marker.
    let mut ids: Vec<String> =
        wait_tail.into_iter().chain(wait_head).chain(paused_tail).filter(|id| !is_marker(id)).collect();
    ids.dedup();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a score is a positive time in ms")]
    let first_due_ms = first_delayed.first().map(|(_, score)| (score / DELAY_SHIFT as f64) as u64);
    Ok((exists > 0, reading, Heads { ids, first_due_ms }))
}

/// For how long the oldest job has been ready to run.
async fn oldest_age(
    redis: &mut Redis,
    keys: &QueueKeys,
    now_ms: u64,
    reading: &Reading,
    mut heads: Heads,
) -> Result<Option<Duration>, RedisProblem> {
    if reading.prioritized > 0 {
        heads.ids.extend(first_of_each_priority(redis, keys).await?);
    }
    let mut since: Option<u64> = heads.first_due_ms.filter(|_| reading.delayed_due > 0);
    if !heads.ids.is_empty() {
        let mut pipeline = pipe();
        for id in &heads.ids {
            pipeline.cmd("HMGET").arg(keys.key(id)).arg("timestamp").arg("opts");
        }
        let jobs: Vec<(Option<u64>, Option<String>)> = redis.query(&pipeline).await?;
        let started = jobs
            .into_iter()
            .filter_map(|(timestamp, opts)| Some(timestamp?.saturating_add(original_delay(opts.as_deref()))));
        since = started.chain(since).min();
    }
    Ok(since.map(|since| Duration::from_millis(now_ms.saturating_sub(since))))
}

async fn first_of_each_priority(redis: &mut Redis, keys: &QueueKeys) -> Result<Vec<String>, RedisProblem> {
    let mut ids = Vec::new();
    let mut from = f64::NEG_INFINITY;
    for _ in 0..PRIORITY_CLASSES {
        let mut pipeline = pipe();
        let min = if from.is_finite() { format!("{from:.0}") } else { "-inf".to_owned() };
        let range = pipeline.cmd("ZRANGEBYSCORE").arg(keys.key("prioritized")).arg(min).arg("+inf");
        range.arg("WITHSCORES").arg("LIMIT").arg(0).arg(1);
        let (first,): (Vec<(String, f64)>,) = redis.query(&pipeline).await?;
        let Some((id, score)) = first.into_iter().next() else { break };
        ids.push(id);
        from = ((score / PRIORITY_SHIFT).floor() + 1.0) * PRIORITY_SHIFT;
    }
    Ok(ids)
}

/// The delay that the producer asked for, in ms. The job's `delay` field is reset to 0 on promotion: only `opts` keeps it.
fn original_delay(opts: Option<&str>) -> u64 {
    #[derive(serde::Deserialize)]
    struct Opts {
        #[serde(default)]
        delay: f64,
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a positive number of ms")]
    opts.and_then(|opts| serde_json::from_str::<Opts>(opts).ok()).map_or(0, |opts| opts.delay.max(0.0) as u64)
}

/// The pipeline's answers, one by one.
struct Answers {
    values: std::vec::IntoIter<Value>,
    address: String,
}

impl Answers {
    fn next<T: FromRedisValue>(&mut self) -> Result<T, RedisProblem> {
        let value = self.values.next().unwrap_or(Value::Nil);
        T::from_redis_value(value).map_err(|error| RedisProblem::Refused {
            address: self.address.clone(),
            detail: format!("unexpected value in a key of BullMQ: {error}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<i64>().prop_map(Value::Int),
            (0..1000i64).prop_map(Value::Int),
            vec(any::<u8>(), 0..12).prop_map(Value::BulkString),
            "0:[0-9]{1,3}|[0-9]{1,18}|-?inf|nan|1e400".prop_map(|text| Value::BulkString(text.into_bytes())),
        ];
        leaf.prop_recursive(2, 8, 4, |inner| vec(inner, 0..4).prop_map(Value::Array))
    }

    proptest! {
        #[test]
        fn whatever_redis_answers_is_counted_or_refused(values in vec(value(), 0..20), now in any::<u32>()) {
            let mut answers = Answers { values: values.into_iter(), address: "test".to_owned() };
            let _ = parse(&QueueKeys::new("bull", "q"), u64::from(now), &mut answers);
        }

        #[test]
        fn numbers_of_any_size_are_added_up(counts in vec(any::<u64>(), 8)) {
            let number = |n: u64| Value::BulkString(n.to_string().into_bytes());
            let (none, nil) = (Value::Array(vec![]), Value::Nil);
            let values = vec![
                Value::Int(1), number(counts[0]), none.clone(), nil.clone(), number(counts[1]), none.clone(),
                number(counts[2]), number(counts[3]), number(counts[4]), number(counts[4]), none, number(counts[5]),
                number(counts[6]), number(counts[7]), Value::Array(vec![nil.clone(), nil.clone()]), nil,
            ];
            let mut answers = Answers { values: values.into_iter(), address: "test".to_owned() };
            let (exists, reading, _) = parse(&QueueKeys::new("bull", "q"), 0, &mut answers).expect("numbers");
            prop_assert!(exists);
            prop_assert_eq!(reading.waiting, counts[0].saturating_add(counts[1]));
        }

        #[test]
        fn options_of_any_kind_have_a_delay(text in "[\\[\\]{}\":,a-z0-9.e-]{0,40}", delay in any::<f64>()) {
            let _ = original_delay(Some(&text));
            let _ = original_delay(Some(&format!("{{\"delay\":{delay}}}")));
        }
    }
}
