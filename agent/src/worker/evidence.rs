//! What Redis shows of this instance's worker: its connections and its active jobs. Owns the questions and the reading
//! of the answers; writes nothing, and never reads a missing answer as "none".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use spillway_handback::RENEWED_ABOVE;
use spillway_machine::Server;
use spillway_proto::ToldBy;
use spillway_redis_url::Role;
use tokio::time::{Instant, timeout};

use super::clients::{self, Connections, WorkerIdentity};
use crate::config::{Config, RedisUrl};

/// For one answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Active jobs of one queue that are read; more make the count unknown.
const MAX_JOBS_READ: isize = 2000;
/// BullMQ's lock, unless a worker sets another; it is renewed at half of it.
const LOCK_MS: i64 = 30_000;
/// A lock with more left than this is being renewed.
const LIVE_MS: i64 = RENEWED_ABOVE.as_millis() as i64;

/// One check at Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisCheck {
    /// How long a PING took.
    pub round_trip: Duration,
    /// Its connections; `None` where they were not read.
    pub connections: Option<Connections>,
    /// Why Redis does not tell who is connected.
    pub unlisted: Option<String>,
    /// Who it is, where it says so.
    pub server: Option<Server>,
    /// For how long a rate limit still holds a queue back: the longest.
    pub limited: Option<Duration>,
    /// Jobs of this instance; `None` where jobs do not name their worker.
    pub active: Option<u32>,
    /// Those with a lock that is being renewed.
    pub live_locks: u32,
    /// Since the most overdue of their locks was renewed.
    pub oldest_lock_age: Option<Duration>,
}

/// BullMQ's Redis, as this instance reads it.
#[derive(Debug)]
pub struct Redis {
    url: RedisUrl,
    prefix: String,
    queues: Vec<String>,
    who: WorkerIdentity,
    connection: Option<MultiplexedConnection>,
    /// Of the connection's server.
    role: Role,
    /// This worker's jobs and connections carry its name: seen once by any of the clones, it holds for all.
    named: Arc<AtomicBool>,
    /// Jobs of this instance and what was left of their locks.
    locks: BTreeMap<String, i64>,
}

impl Clone for Redis {
    /// With a connection of its own.
    fn clone(&self) -> Self {
        let (url, prefix, queues, who) = (self.url.clone(), self.prefix.clone(), self.queues.clone(), self.who.clone());
        Self {
            url,
            prefix,
            queues,
            who,
            connection: None,
            role: Role::default(),
            named: self.named.clone(),
            locks: BTreeMap::new(),
        }
    }
}

impl Redis {
    /// For this instance's worker.
    pub fn new(config: &Config, who: WorkerIdentity) -> Self {
        Self {
            url: config.redis.clone(),
            prefix: config.worker.prefix.clone(),
            queues: config.worker.queues.clone(),
            who,
            connection: None,
            role: Role::default(),
            named: Arc::default(),
            locks: BTreeMap::new(),
        }
    }

    pub(super) fn url(&self) -> &RedisUrl {
        &self.url
    }

    pub(super) fn instance_id(&self) -> &str {
        &self.who.instance_id
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The queues of the configuration, each with its prefix.
    pub(super) fn queues(&self) -> Vec<(String, String)> {
        self.queues.iter().map(|queue| (self.prefix.clone(), queue.clone())).collect()
    }

    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// One check, with or without the costly list of connections; an error in words where Redis does not answer.
    pub async fn check(&mut self, with_connections: bool) -> Result<RedisCheck, String> {
        let checked = match timeout(TIMEOUT * 3, self.try_check(with_connections)).await {
            Ok(Ok(check)) => Ok(check),
            Ok(Err(error)) => Err(in_words(&self.url, &error)),
            Err(_) => Err(format!("{} did not answer in time", self.url)),
        };
        if checked.is_err() {
            self.connection = None;
        }
        checked
    }

    /// Queues that do not exist.
    pub async fn missing_queues(&mut self) -> Result<Vec<String>, String> {
        match timeout(TIMEOUT * 2, self.try_missing_queues()).await {
            Ok(Ok(missing)) => Ok(missing),
            Ok(Err(error)) => Err(in_words(&self.url, &error)),
            Err(_) => Err(format!("{} did not answer in time", self.url)),
        }
    }

    async fn try_missing_queues(&mut self) -> redis::RedisResult<Vec<String>> {
        let (prefix, queues) = (self.prefix.clone(), self.queues.clone());
        let connection = self.connected().await?;
        let mut missing = Vec::new();
        for queue in queues {
            let mut exists = redis::cmd("EXISTS");
            for key in ["meta", "id", "wait", "active", "delayed", "completed", "failed"] {
                exists.arg(format!("{prefix}:{queue}:{key}"));
            }
            if exists.query_async::<u32>(connection).await? == 0 {
                missing.push(queue);
            }
        }
        Ok(missing)
    }

    pub(super) async fn connected(&mut self) -> redis::RedisResult<&mut MultiplexedConnection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let settings = redis::AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(TIMEOUT))
                    .set_response_timeout(Some(TIMEOUT));
                let client = redis::Client::open(self.url.connection_info())?;
                let connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
                self.role = Role::default();
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    async fn try_check(&mut self, with_connections: bool) -> redis::RedisResult<RedisCheck> {
        let db = self.url.connection_info().redis_settings().db();
        let connection = self.connected().await?;
        let sent = Instant::now();
        // Any answer is one: what is measured is the way there.
        let _ = allowed(redis::cmd("PING").query_async::<redis::Value>(connection).await)?;
        let mut check = RedisCheck { round_trip: sent.elapsed(), ..RedisCheck::default() };
        let info = allowed(redis::cmd("INFO").arg("server").query_async::<String>(connection).await)?;
        let role = allowed(redis::cmd("INFO").arg("replication").query_async::<String>(connection).await)?;
        // After a fail-over the old master still answers what is read of it.
        let is_usable = self.role.check(&role.unwrap_or_default());
        is_usable.map_err(|why| redis::RedisError::from(std::io::Error::other(why)))?;
        check.server = info.ok().and_then(|info| run_id(&info)).map(|run_id| Server { run_id, db });
        if with_connections {
            let connection = self.connected().await?;
            match allowed(redis::cmd("CLIENT").arg("LIST").query_async::<String>(connection).await)? {
                Ok(list) => {
                    let found = clients::connections(&list, db, &self.prefix, &self.queues, &self.who);
                    if found.by == Some(ToldBy::Name) {
                        self.named.store(true, Ordering::Relaxed);
                    }
                    check.connections = Some(found);
                }
                Err(why) => check.unlisted = Some(why),
            }
        }
        self.read_jobs(&mut check).await?;
        Ok(check)
    }

    async fn read_jobs(&mut self, check: &mut RedisCheck) -> redis::RedisResult<()> {
        let mut jobs = Vec::new();
        let mut is_unknown = false;
        for queue in self.queues.clone() {
            let base = format!("{}:{queue}", self.prefix);
            let connection = self.connected().await?;
            let mut pipe = redis::pipe();
            pipe.cmd("LRANGE").arg(format!("{base}:active")).arg(0).arg(MAX_JOBS_READ - 1);
            pipe.cmd("PTTL").arg(format!("{base}:limiter"));
            let [list, limiter] = two(pipe.ignore_errors().query_async(connection).await?);
            if let Some(ms) = number(limiter)?.filter(|ms| *ms > 0) {
                check.limited = check.limited.max(Some(Duration::from_millis(ms.unsigned_abs())));
            }
            // A key that is no list says nothing about the other queues' jobs.
            let Ok(list) = allowed(list)? else {
                is_unknown = true;
                continue;
            };
            let ids: Vec<Vec<u8>> = redis::from_redis_value(list).unwrap_or_default();
            is_unknown |= ids.len() >= MAX_JOBS_READ.unsigned_abs();
            if ids.is_empty() {
                continue;
            }
            let ids: Vec<String> = ids.iter().map(|id| String::from_utf8_lossy(id).into_owned()).collect();
            let mut pipe = redis::pipe();
            for id in &ids {
                pipe.cmd("HGET").arg(format!("{base}:{id}")).arg("pb");
                pipe.cmd("PTTL").arg(format!("{base}:{id}:lock"));
                pipe.cmd("GET").arg(format!("{base}:{id}:lock"));
            }
            let answers: Vec<redis::RedisResult<redis::Value>> = pipe.ignore_errors().query_async(connection).await?;
            let mut answers = answers.into_iter();
            for id in ids {
                let by = text(answers.next())?;
                let lock = number(answers.next().unwrap_or(Ok(redis::Value::Nil)))?.unwrap_or(-2);
                let token = text(answers.next())?;
                let by = holder(by, token.as_deref(), &self.who.instance_id);
                jobs.push(ActiveJob { key: format!("{base}:{id}"), by, lock });
            }
        }
        let mut named = self.named.load(Ordering::Relaxed);
        let tally = tally(&jobs, &self.who.instance_id, &mut named, &mut self.locks);
        self.named.store(named, Ordering::Relaxed);
        check.active = tally.active.filter(|_| !is_unknown);
        check.live_locks = tally.live_locks;
        check.oldest_lock_age = tally.oldest_lock_age;
        Ok(())
    }
}

/// What Redis answered, or why it refused: an error that belongs to the connection ends the check, since another
/// connection may be answered.
fn allowed<T>(answer: redis::RedisResult<T>) -> redis::RedisResult<Result<T, String>> {
    match answer {
        Ok(answer) => Ok(Ok(answer)),
        Err(error) if spillway_redis_url::is_about_the_command(&error) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// A value that only decorates: `None` where it is of another kind.
fn text(answer: Option<redis::RedisResult<redis::Value>>) -> redis::RedisResult<Option<String>> {
    let value = allowed(answer.unwrap_or(Ok(redis::Value::Nil)))?.unwrap_or(redis::Value::Nil);
    let bytes: Option<Vec<u8>> = redis::from_redis_value(value).unwrap_or_default();
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The same of a number.
fn number(answer: redis::RedisResult<redis::Value>) -> redis::RedisResult<Option<i64>> {
    Ok(allowed(answer)?.ok().and_then(|value| redis::from_redis_value(value).ok()))
}

fn two(answers: Vec<redis::RedisResult<redis::Value>>) -> [redis::RedisResult<redis::Value>; 2] {
    let mut answers = answers.into_iter().chain(std::iter::repeat_with(|| Ok(redis::Value::Nil)));
    std::array::from_fn(|_| answers.next().unwrap_or(Ok(redis::Value::Nil)))
}

/// Redis' own name for this run of it.
fn run_id(info: &str) -> Option<String> {
    info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned())
}

struct ActiveJob {
    key: String,
    /// The worker that processes it, where it has a name.
    by: Option<String>,
    /// Milliseconds left of its lock; negative where it has none.
    lock: i64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    active: Option<u32>,
    live_locks: u32,
    oldest_lock_age: Option<Duration>,
}

/// The worker of a job: from its lock's token where the shim named the worker, also where BullMQ has no names.
fn holder(by: Option<String>, token: Option<&str>, own: &str) -> Option<String> {
    let is_own = token.and_then(|token| token.strip_prefix(own)).is_some_and(|rest| rest.starts_with(':'));
    if is_own { Some(own.to_owned()) } else { by }
}

/// Counts this instance's jobs. A job that names no worker may be this instance's, unless this instance's
/// workers are known to carry its name.
fn tally(jobs: &[ActiveJob], own: &str, named: &mut bool, locks: &mut BTreeMap<String, i64>) -> Tally {
    let ours: Vec<&ActiveJob> = jobs.iter().filter(|job| job.by.as_deref() == Some(own)).collect();
    *named |= !ours.is_empty();
    let anonymous = jobs.iter().any(|job| job.by.as_deref().is_none_or(str::is_empty));
    let mut tally = Tally::default();
    if *named || !anonymous {
        tally.active = Some(u32::try_from(ours.len()).unwrap_or(u32::MAX));
    }
    let before = std::mem::take(locks);
    for job in ours {
        // More left than at the last check: it was renewed in between, however long the worker's locks are.
        let renewed = before.get(&job.key).is_some_and(|left| job.lock > *left);
        if job.lock > LIVE_MS || renewed {
            tally.live_locks = tally.live_locks.saturating_add(1);
        }
        let age = Duration::from_millis((LOCK_MS - job.lock.max(0)).max(0).unsigned_abs());
        tally.oldest_lock_age = tally.oldest_lock_age.max(Some(age));
        locks.insert(job.key.clone(), job.lock);
    }
    tally
}

/// Redis's own words never repeat the password; the parser's of an address might.
pub(super) fn in_words(url: &RedisUrl, error: &redis::RedisError) -> String {
    if error.code() == Some("NOPERM") {
        return format!("the Redis user of {url} may not read: allow it +@read +ping +client|list");
    }
    format!("{url}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(by: Option<&str>, lock: i64) -> ActiveJob {
        ActiveJob { key: "bull:q:1".into(), by: by.map(str::to_owned), lock }
    }

    #[test]
    fn unknown_is_never_counted_as_none() {
        let table = [
            (vec![], false, Some(0)),
            (vec![job(None, 20_000)], false, None),
            (vec![job(Some(""), 20_000)], false, None),
            (vec![job(None, 20_000)], true, Some(0)),
            (vec![job(Some("i-2"), 20_000)], false, Some(0)),
            (vec![job(Some("i-1"), 20_000), job(None, 1)], false, Some(1)),
            (vec![job(Some("i-2"), 20_000), job(None, 1)], false, None),
        ];
        for (jobs, mut named, expect) in table {
            assert_eq!(tally(&jobs, "i-1", &mut named, &mut BTreeMap::new()).active, expect);
        }
    }

    #[test]
    fn a_lock_lives_that_is_long_or_was_renewed() {
        let table =
            [(14_001, None, 1), (14_000, None, 0), (4_000, Some(3_000), 1), (4_000, Some(5_000), 0), (-2, None, 0)];
        for (lock, before, expect) in table {
            let mut locks = before.map(|left| ("bull:q:1".to_owned(), left)).into_iter().collect();
            let tally = tally(&[job(Some("i-1"), lock)], "i-1", &mut true, &mut locks);
            assert_eq!(tally.live_locks, expect, "{lock} after {before:?}");
        }
        let age = |lock| tally(&[job(Some("i-1"), lock)], "i-1", &mut true, &mut BTreeMap::new()).oldest_lock_age;
        assert_eq!(age(29_000), Some(Duration::from_secs(1)));
        assert_eq!(age(-2), Some(Duration::from_secs(30)));
        assert_eq!(age(60_000), Some(Duration::ZERO));
    }
}
