//! One observation of all queues: TIME, then one pipeline, then the few hashes that show the oldest job's age.
//!
//! What is not obvious (measured against BullMQ 3.16 to 6.7, see the randomized test in `tests/`):
//! - `wait` and `paused` may end in a marker, an element that starts with `0:` (BullMQ 3 and 4), which is not a job.
//! - A delayed job that is due stays in `delayed` until a worker fetches; its score is `ms · 4096 + sequence`.
//! - Only the counts must be what BullMQ writes. What decorates them (ages, limits) is the producers' to set, and
//!   unknown where it is anything else.
//! - The head of `prioritized` is not its oldest job: each priority is a class of its own, oldest first.

use std::time::Duration;

use redis::{FromRedisValue, Pipeline, RedisResult, Value, pipe};
use spillway_brain::RateLimit;

use super::ObservationProblem;
use super::keys::QueueKeys;
use super::reply::{decoration, lossy, whole};
use super::throughput::Finished;
use crate::redis_client::{Redis, RedisProblem};

/// Priorities in which the oldest job is searched. Each costs a round trip; more of them in use are rare.
const PRIORITY_CLASSES: usize = 8;
/// A job's timestamp before it (in 2001) is none in milliseconds.
pub(super) const EARLIEST_MS: u64 = 1_000_000_000_000;
/// A priority's position in a score of `prioritized`.
const PRIORITY_SHIFT: f64 = 4_294_967_296.0;
/// A millisecond's position in a score of `delayed`.
pub(super) const DELAY_SHIFT: u64 = 4096;

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
    pub rate_limit: Option<RateLimit>,
    pub oldest_age: Option<Duration>,
    pub finished: Finished,
}

pub(super) async fn read_all(
    redis: &mut Redis,
    queues: &[QueueKeys],
) -> Result<Vec<Result<Reading, ObservationProblem>>, RedisProblem> {
    let mut first = pipe();
    first.cmd("TIME");
    first.cmd("INFO").arg("replication");
    let mut first = redis.query_each(&mut first).await?.into_iter();
    let time = first.next().unwrap_or(Ok(Value::Nil)).and_then(|time| Ok(<(u64, u64)>::from_redis_value(time)?));
    let (seconds, microseconds) = time.map_err(|error| redis.failed(error))?;
    let now_ms = seconds * 1000 + microseconds / 1000;
    // A user who may not ask for it is believed to read a master.
    redis.check_role(&first.next().and_then(decoration::<String>).unwrap_or_default())?;
    let mut pipeline = pipe();
    for keys in queues {
        add_commands(&mut pipeline, keys, now_ms);
    }
    let mut answers = redis.query_each(&mut pipeline).await?.into_iter();
    let mut readings = Vec::new();
    for keys in queues {
        let mut answers = Answers { values: answers.by_ref().take(COMMANDS).collect::<Vec<_>>().into_iter(), keys };
        let (queue, address) = (keys.queue.clone(), redis.address().to_owned());
        readings.push(match parse(keys, now_ms, &mut answers) {
            Ok((true, mut reading, heads)) => {
                reading.oldest_age = oldest_age(redis, keys, now_ms, &reading, heads).await?;
                Ok(reading)
            }
            Ok((false, _, _)) => Err(ObservationProblem::NoSuchQueue { queue, prefix: keys.prefix.clone(), address }),
            Err(detail) => Err(ObservationProblem::Unreadable { queue, address, detail }),
        });
    }
    Ok(readings)
}

/// How many commands read one queue.
const COMMANDS: usize = 18;

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
    pipeline.cmd("HMGET").arg(key("meta")).arg("paused").arg("concurrency").arg("max");
    pipeline.cmd("GET").arg(key("id"));
    pipeline.cmd("GET").arg(key("limiter"));
    pipeline.cmd("PTTL").arg(key("limiter"));
}

/// Candidates for the oldest job: the ids at the ends of the lists, and when the first delayed job is due.
#[derive(Debug)]
struct Heads {
    ids: Vec<String>,
    first_due_ms: Option<u64>,
}

fn parse(keys: &QueueKeys, now_ms: u64, answers: &mut Answers) -> Result<(bool, Reading, Heads), String> {
    let is_marker = |id: &String| id.starts_with("0:");
    let exists: u64 = answers.count("meta")?;
    let (wait, wait_tail, wait_head) = (answers.count("wait")?, answers.ids(), answers.id());
    let (paused_jobs, paused_tail) = (answers.count("paused")?, answers.ids());
    let prioritized = answers.count("prioritized")?;
    let active = answers.count("active")?;
    let (delayed, delayed_due) = (answers.maybe(), answers.count("delayed")?);
    let first_delayed: Vec<(Vec<u8>, f64)> = answers.maybe().unwrap_or_default();
    let (waiting_children, completed, failed) = (answers.maybe(), answers.maybe(), answers.maybe());
    let (paused, concurrency, max): (Option<Value>, Value, Value) = answers.needed("meta")?;
    let added: Option<u64> = answers.maybe();
    let (started, left) = (answers.maybe::<Value>().and_then(whole), answers.maybe());
    let without_marker =
        |length: u64, tail: &[String]| length - u64::from(tail.last().is_some_and(is_marker)).min(length);
    let waiting = without_marker(wait, &wait_tail).saturating_add(without_marker(paused_jobs, &paused_tail));
    let delayed = delayed.unwrap_or(delayed_due);
    let waiting_children = waiting_children.unwrap_or(0);
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
        completed: completed.unwrap_or(0),
        failed: failed.unwrap_or(0),
        paused: paused.is_some(),
        // Infinity and its like limit nothing.
        concurrency: whole(concurrency).filter(|limit| *limit > 0),
        rate_limit: rate_limit(started, left, whole(max).filter(|max| *max > 0)),
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

/// `max` is the queue's global limit. `Queue.rateLimit` and `Worker.rateLimit` set the counter to the largest number
/// that JavaScript has, so that no limit allows a start.
fn rate_limit(started: Option<u64>, left_ms: Option<i64>, max: Option<u64>) -> Option<RateLimit> {
    const FULL: u64 = (1 << 53) - 1;
    let left = u64::try_from(left_ms?).ok().filter(|left| *left > 0).map(Duration::from_millis)?;
    let started = started?;
    let allows = if started >= FULL { Some(0) } else { max.map(|max| max.saturating_sub(started)) };
    Some(RateLimit { left, started, allows })
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
        let jobs =
            redis.query_each(&mut pipeline).await?.into_iter().filter_map(decoration::<(Value, Option<Vec<u8>>)>);
        let started = jobs.filter_map(|(timestamp, opts)| {
            let timestamp = whole(timestamp).filter(|at| *at >= EARLIEST_MS)?;
            Some(timestamp.saturating_add(original_delay(opts.map(lossy).as_deref())))
        });
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
        let first = redis.query_each(&mut pipeline).await?.into_iter().next();
        let first = first.and_then(decoration::<Vec<(Vec<u8>, f64)>>).unwrap_or_default();
        let Some((id, score)) = first.into_iter().next() else { break };
        ids.push(lossy(id));
        from = ((score / PRIORITY_SHIFT).floor() + 1.0) * PRIORITY_SHIFT;
    }
    Ok(ids)
}

/// The delay that the producer asked for, in ms. The job's `delay` field is reset to 0 on promotion: only `opts` keeps
/// it.
pub(super) fn original_delay(opts: Option<&str>) -> u64 {
    #[derive(serde::Deserialize)]
    struct Opts {
        #[serde(default)]
        delay: f64,
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a positive number of ms")]
    opts.and_then(|opts| serde_json::from_str::<Opts>(opts).ok()).map_or(0, |opts| opts.delay.max(0.0) as u64)
}

/// One queue's answers, one by one.
struct Answers<'a> {
    values: std::vec::IntoIter<RedisResult<Value>>,
    keys: &'a QueueKeys,
}

impl Answers<'_> {
    /// A value without which the queue is unknown; the error names its key.
    fn needed<T: FromRedisValue>(&mut self, part: &str) -> Result<T, String> {
        let value = self.values.next().unwrap_or(Ok(Value::Nil));
        let found = value.and_then(|value| Ok(T::from_redis_value(value)?));
        found.map_err(|error| format!("{}: {error}", self.keys.key(part)))
    }

    fn count(&mut self, part: &str) -> Result<u64, String> {
        self.needed(part)
    }

    /// A value that only decorates.
    fn maybe<T: FromRedisValue>(&mut self) -> Option<T> {
        self.values.next().and_then(decoration)
    }

    fn id(&mut self) -> Option<String> {
        self.values.next()?.ok().and_then(id)
    }

    fn ids(&mut self) -> Vec<String> {
        match self.values.next() {
            Some(Ok(Value::Array(ids))) => ids.into_iter().filter_map(id).collect(),
            _ => Vec::new(),
        }
    }
}

/// A job's id; None where it is not one.
fn id(value: Value) -> Option<String> {
    match value {
        Value::BulkString(id) => Some(lossy(id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn parsed(values: Vec<Value>, now_ms: u64) -> Result<(bool, Reading, Heads), String> {
        let keys = QueueKeys::new("bull", "q");
        let values = values.into_iter().map(Ok).collect::<Vec<_>>().into_iter();
        parse(&keys, now_ms, &mut Answers { values, keys: &keys })
    }

    #[test]
    fn only_counts_must_be_what_bullmq_writes() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let odd = || text("odd");
        let mut values = vec![
            Value::Int(1),
            Value::Int(3),
            odd(),
            Value::Array(vec![]),
            Value::Int(0),
            odd(),
            Value::Int(2),
            Value::Int(1),
            odd(),
            Value::Int(4),
            odd(),
            odd(),
            odd(),
            odd(),
            Value::Array(vec![Value::Nil, text("Infinity"), odd()]),
            odd(),
            odd(),
            odd(),
        ];
        assert_eq!(values.len(), COMMANDS);
        let (_, reading, heads) = parsed(values.clone(), 0).expect("its counts are numbers");
        assert_eq!((reading.waiting, reading.prioritized, reading.active), (3, 2, 1));
        assert_eq!((reading.delayed, reading.delayed_due, reading.concurrency), (4, 4, None));
        assert!(heads.ids.is_empty());
        values[6] = odd();
        let error = parsed(values, 0).expect_err("no count");
        assert!(error.starts_with("bull:q:prioritized: "), "{error}");
    }

    #[test]
    fn a_rate_limit_is_what_its_counter_says_while_its_window_runs() {
        let limit = |left, started, allows| Some(RateLimit { left: Duration::from_millis(left), started, allows });
        assert_eq!(rate_limit(Some(3), Some(58_000), Some(10)), limit(58_000, 3, Some(7)));
        assert_eq!(rate_limit(Some(12), Some(1), Some(10)), limit(1, 12, Some(0)));
        // A Worker's own limit is not in Redis.
        assert_eq!(rate_limit(Some(1), Some(58_000), None), limit(58_000, 1, None));
        assert_eq!(
            rate_limit(Some(9_007_199_254_740_991), Some(600_000), None),
            limit(600_000, 9_007_199_254_740_991, Some(0))
        );
        // No key, one that never expires, and what is no counter.
        for (started, left) in [(None, Some(-2)), (Some(1), Some(-1)), (None, Some(5000)), (Some(1), None)] {
            assert_eq!(rate_limit(started, left, Some(1)), None, "{started:?} {left:?}");
        }
    }

    #[test]
    fn numbers_are_read_as_their_producers_write_them() {
        let read = |text: &str| whole(Value::BulkString(text.as_bytes().to_vec()));
        assert_eq!(read("1795767122978.5"), Some(1_795_767_122_978));
        assert_eq!((read("5"), read(" 5 "), read("1e3")), (Some(5), Some(5), Some(1000)));
        for odd in ["Infinity", "NaN", "-1", "", "soon", "1e400"] {
            assert_eq!(read(odd), None, "{odd}");
        }
        assert_eq!(whole(Value::Nil), None);
    }

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
            let _ = parsed(values, u64::from(now));
        }

        #[test]
        fn numbers_of_any_size_are_added_up(counts in vec(any::<u64>(), 8)) {
            let number = |n: u64| Value::BulkString(n.to_string().into_bytes());
            let (none, nil) = (Value::Array(vec![]), Value::Nil);
            let values = vec![
                Value::Int(1), number(counts[0]), none.clone(), nil.clone(), number(counts[1]), none.clone(),
                number(counts[2]), number(counts[3]), number(counts[4]), number(counts[4]), none, number(counts[5]),
                number(counts[6]), number(counts[7]), Value::Array(vec![nil.clone(), nil.clone(), nil.clone()]), nil.clone(), nil.clone(), nil,
            ];
            let (exists, reading, _) = parsed(values, 0).expect("numbers");
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
