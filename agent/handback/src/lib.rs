//! Hands a dead instance's jobs back to their BullMQ queue, from outside: they leave `active` for where they waited, at
//! once, and spend neither an attempt nor the one stall that BullMQ allows. BullMQ 3 to 6.
//!
//! The caller knows that the instance's worker is dead; a job whose worker lives would run twice. What this crate
//! checks is that a job is still the dead one's: the lock that was read must still be there, unrenewed, in the same
//! script that moves the job.
//!
//! What its Redis user needs beside `+@read +ping` and the keys `~bull:*` is [`PERMISSIONS`].

use std::sync::LazyLock;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{RedisResult, Script, pipe};
pub use spillway_handback_rule::{Claim, Held, RENEWED_ABOVE, Way};

/// Active jobs that are read: far more than all workers of a queue hold.
const ACTIVE_READ: isize = 100_000;
/// Read in one round trip.
const CHUNK: usize = 1000;

/// Commands of Redis that a hand-back uses, as `ACL SETUSER` takes them.
pub const PERMISSIONS: [&str; 12] = [
    "+eval",
    "+evalsha",
    "+script|load",
    "+lrem",
    "+rpush",
    "+lpush",
    "+zadd",
    "+del",
    "+srem",
    "+hdel",
    "+hincrby",
    "+xadd",
];

/// The field of a job's hash that counts the instances that ended without notice while they ran it. BullMQ ignores it.
const SUDDEN_ENDS: &str = "spillwaySuddenEnds";

static HAND_BACK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("handback.lua")));

/// A queue, as BullMQ's keys name it: `<prefix>:<name>:…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue<'a> {
    pub prefix: &'a str,
    pub name: &'a str,
}

impl Queue<'_> {
    fn key(&self, part: &str) -> String {
        format!("{}:{}:{part}", self.prefix, self.name)
    }
}

/// Where a job was requeued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Wait,
    /// The list of a paused queue (BullMQ 3 to 5).
    Paused,
    Prioritized,
}

/// The result of one hand-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    HandedBack(Place),
    /// Its hash is gone: it has left `active`, and nothing is queued.
    Missing,
    /// Nothing to do: it has finished, the stall check has moved it, or it was handed back before.
    NotActive,
    /// Untouched: its lock is another one now, was renewed, or has expired since. Read again with `held_by`.
    LockChanged,
    /// Untouched: BullMQ's stall check decides. The user may not push to the end of the queue.
    LeftToStallCheck,
    /// Untouched: only `pb` names the instance, and another worker may be renewing its lock. Retry: within 16 s a lock
    /// of BullMQ's 30 s that is not renewed is old enough to decide.
    Doubtful,
}

/// The jobs in `active` that name this instance, newest first: whose `pb` is its id, or whose lock's token is
/// `<instance id>:…` (our shim gives each worker such an id; BullMQ before 5.3 has no `pb`). Writes nothing.
///
/// Handed back in this order, the oldest is served first. Jobs without a lock and without `pb` name no instance, and
/// are not among them: BullMQ's stall check finds them. More than 100,000 active jobs are not read.
pub async fn held_by(connection: &mut impl ConnectionLike, queue: Queue<'_>, instance: &str) -> RedisResult<Vec<Held>> {
    let mut held = Vec::new();
    if instance.is_empty() {
        return Ok(held);
    }
    let mut active = redis::cmd("LRANGE");
    active.arg(queue.key("active")).arg(0).arg(ACTIVE_READ - 1);
    // An id that is not UTF-8 is not BullMQ's; it must not hide the others.
    let ids: Vec<Vec<u8>> = active.query_async(connection).await?;
    let ids: Vec<String> = ids.into_iter().filter_map(|id| String::from_utf8(id).ok()).collect();
    for chunk in ids.chunks(CHUNK) {
        let mut pipeline = pipe();
        for id in chunk {
            let counted: &[&str] = &["pb", SUDDEN_ENDS, "stc", "stalledCounter"];
            pipeline.hmget(queue.key(id), counted).get(queue.key(&lock(id))).pttl(queue.key(&lock(id)));
        }
        let answers: Vec<redis::Value> = pipeline.query_async(connection).await?;
        for (id, answer) in chunk.iter().zip(answers.chunks_exact(3)) {
            let fields: Vec<Option<Vec<u8>>> = redis::from_redis_value(answer[0].clone())?;
            let token: Option<Vec<u8>> = redis::from_redis_value(answer[1].clone())?;
            let left_ms: i64 = redis::from_redis_value(answer[2].clone())?;
            let mut fields = fields.into_iter();
            let name = fields.next().flatten();
            let [sudden_ends, new, old] = [(); 3].map(|()| number(fields.next().flatten()));
            let job = of_instance(instance, id, name, token, left_ms);
            held.extend(job.map(|job| Held { sudden_ends, stalls: new.max(old), ..job }));
        }
    }
    Ok(held)
}

/// The job, if it names the instance.
fn of_instance(instance: &str, id: &str, name: Option<Vec<u8>>, token: Option<Vec<u8>>, left_ms: i64) -> Option<Held> {
    let token = token.map(String::from_utf8).transpose().ok()?;
    let by_token = token.as_deref().and_then(|token| token.strip_prefix(instance)).is_some_and(|n| n.starts_with(':'));
    let by_name = name.is_some_and(|name| name == instance.as_bytes());
    let claim = match (by_token, by_name) {
        (true, _) => Claim::Token,
        (false, true) => Claim::Name,
        (false, false) => return None,
    };
    // Negative: no lock, or one that never expires.
    let lock_left = token.as_ref().and_then(|_| u64::try_from(left_ms).ok()).map(Duration::from_millis);
    Some(Held { id: id.to_owned(), token, lock_left, claim, sudden_ends: 0, stalls: 0 })
}

/// A counter of a job's hash; 0 where it is none.
fn number(bytes: Option<Vec<u8>>) -> u32 {
    bytes.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok()).unwrap_or_default()
}

/// Hands one job back in this way, if it still is as it was read: once, however often it is called, and by however
/// many.
///
/// # Errors
/// Redis does not answer, or refuses a command. What it refused was either not begun (the job is untouched) or comes
/// after the job has moved: no error leaves a job in no list. Where no answer came the script may have run: retry.
/// Redis 7.0 refuses a script's command as `ERR … user executing the script …`, not as `NOPERM`.
pub async fn hand_back(
    connection: &mut impl ConnectionLike,
    queue: Queue<'_>,
    instance: &str,
    held: &Held,
    way: Way,
) -> RedisResult<Outcome> {
    let mut script = HAND_BACK.prepare_invoke();
    for part in ["active", "wait", "paused", "prioritized", "stalled", "marker", "meta", "events"] {
        script.key(queue.key(part));
    }
    script.key(queue.key(&held.id)).key(queue.key(&lock(&held.id)));
    script.arg(&held.id).arg(instance).arg(held.token.as_deref().unwrap_or_default());
    script.arg(held.lock_left.map_or(-1, in_ms));
    script.arg(if held.claim == Claim::Token { -1 } else { in_ms(RENEWED_ABOVE) });
    script.arg(match way {
        Way::Front => "front",
        Way::FrontCounted => "front-counted",
        Way::Behind => "behind",
        Way::LeftToStallCheck => return Ok(Outcome::LeftToStallCheck),
    });
    script.arg(SUDDEN_ENDS);
    let answer: String = script.invoke_async(connection).await?;
    outcome(&answer)
        .ok_or_else(|| redis::RedisError::from((redis::ErrorKind::UnexpectedReturnType, "handback.lua", answer)))
}

/// What to allow the Redis user of `url` where `error` means that it may not use a command; `None` for any other error.
pub fn forbidden(url: impl std::fmt::Display, prefix: &str, error: &redis::RedisError) -> Option<String> {
    // Redis 7 words the error differently where a script used the command.
    let is_forbidden = error.code() == Some("NOPERM") || error.to_string().contains("user executing the script");
    let permissions = PERMISSIONS.join(" ");
    is_forbidden.then(|| {
        format!("the Redis user of {url} may not hand jobs back ({error}): allow it ~{prefix}:* {permissions}")
    })
}

/// All jobs of an instance whose end was announced, newest first, and what became of each. Those that stay `Doubtful`
/// or `LockChanged` are for the next call; so is a job that the instance took with its last breath, which Redis may see
/// only now.
///
/// # Errors
/// As `hand_back`; the jobs before the one that failed have moved.
pub async fn hand_back_all(
    connection: &mut impl ConnectionLike,
    queue: Queue<'_>,
    instance: &str,
) -> RedisResult<Vec<(Held, Outcome)>> {
    let mut done = Vec::new();
    for held in held_by(connection, queue, instance).await? {
        let outcome = hand_back(connection, queue, instance, &held, Way::Front).await?;
        done.push((held, outcome));
    }
    Ok(done)
}

fn outcome(answer: &str) -> Option<Outcome> {
    Some(match answer {
        "wait" => Outcome::HandedBack(Place::Wait),
        "paused" => Outcome::HandedBack(Place::Paused),
        "prioritized" => Outcome::HandedBack(Place::Prioritized),
        "missing" => Outcome::Missing,
        "not-active" => Outcome::NotActive,
        "lock-changed" => Outcome::LockChanged,
        "doubtful" => Outcome::Doubtful,
        "left" => Outcome::LeftToStallCheck,
        _ => return None,
    })
}

fn lock(id: &str) -> String {
    format!("{id}:lock")
}

fn in_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_by_its_token_or_its_name() {
        let check = |name: Option<&str>, token: Option<&str>| {
            let bytes = |text: &str| text.as_bytes().to_vec();
            of_instance("i-1", "7", name.map(bytes), token.map(bytes), 20_000).map(|held| held.claim)
        };
        let table = [
            (None, None, None),
            (None, Some("5e0c:3"), None),
            (None, Some("i-1"), None),
            (None, Some("i-12:5e0c:3"), None),
            (None, Some("i-1:5e0c:3"), Some(Claim::Token)),
            (Some("i-2"), Some("i-1:5e0c:3"), Some(Claim::Token)),
            (Some("i-1"), Some("i-1:5e0c:3"), Some(Claim::Token)),
            (Some("i-1"), Some("5e0c:3"), Some(Claim::Name)),
            (Some("i-1"), None, Some(Claim::Name)),
            (Some("i-12"), None, None),
        ];
        for (name, token, expect) in table {
            assert_eq!(check(name, token), expect, "{name:?} {token:?}");
        }
    }

    #[test]
    fn what_is_left_of_a_lock() {
        let left = |token: Option<&str>, ms| {
            let token = token.map(|token| token.as_bytes().to_vec());
            of_instance("i-1", "7", Some(b"i-1".to_vec()), token, ms).expect("it is the instance's").lock_left
        };
        assert_eq!(left(Some("i-1:a:0"), 1500), Some(Duration::from_millis(1500)));
        assert_eq!(left(Some("i-1:a:0"), -1), None);
        assert_eq!(left(None, -2), None);
    }
}
