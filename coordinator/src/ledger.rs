//! The ledger in Redis: each pool's state, the record of plans, and the leader lease.
//!
//! | key (after the prefix, `spillway:` unless set) | type | content |
//! |---|---|---|
//! | `installation` | STRING | whose instances are whose: see `installation` |
//! | `pools` | STRING | the names of all pools, one a line |
//! | `pool:<name>:owner` | STRING | whose the pool is, and its queues: another's is refused |
//! | `pool:<name>:leader` | STRING, expires | the pool's leader lease: its value is the holder |
//! | `pool:<name>:epoch` | STRING | rises with each leadership; agents ignore commands of an older epoch |
//! | `pool:<name>:wanted` | STRING, expires | who runs the pool waits for one that only winds it up |
//! | `leader`, `epoch` | STRING | the lease of versions that had one for all pools |
//! | `pool:<name>:state` | STRING | `{"version":1,"epoch":…,"clocks":…,"state":…}`: intents, instances, timers, breaker |
//! | `pool:<name>:session:<instance>` | STRING, expires | whose session token is whose: see `sessions` |
//! | `pool:<name>:save` | STRING | the last save, as `EPOCH NUMBER`: a delayed save does not overwrite a later one |
//! | `pool:<name>:plans` | STREAM, capped | the newest plans with the backlog that each was made from: `explain` after a restart |
//! | `pool:<name>:incidents` | STRING, expires | what was told of what needs a person, as `EPOCH NUMBER` and JSON |
//! | `pool:<name>:record:<day>`, `pool:<name>:record:bytes` | STREAM, HASH | the record: see `record::store` |
//!
//! The state is saved before a plan is carried out, in one script that first checks that the lease is still held: a
//! launch token is never forgotten, and a coordinator that is no longer the leader writes nothing. The script returns
//! how long the lease still lasts: a coordinator that was suspended after its save does not act once the lease has
//! expired.

mod clocks;
mod incidents;
mod lease;
mod owner;
mod sessions;

use std::time::Duration;

use redis::{Script, pipe};
use serde::{Deserialize, Serialize};
use spillway_brain::{Backlog, Plan, State, Timestamp};
use spillway_pool::SavedState;
use thiserror::Error;

use crate::clock;
use crate::redis_client::{Redis, RedisProblem};
use clocks::Clocks;
pub use incidents::Incidents;
pub use lease::{Lease, RETIRES};
pub use owner::{Owner, Owners, Refusal, claim, keep_installation};
pub use sessions::{Claim, Grant, Leadership, Sessions, digest};
pub use spillway_pool::lease::{LEASE, LeaseChange};

/// Plans that the record keeps: about a day at one observation each 10 s.
const RECORD_LENGTH: usize = 10_000;
const VERSION: u32 = 1;
/// Redis is asked for its time this often: what the clocks of two machines are compared by.
const REDIS_TIME_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug, Error)]
pub enum LedgerProblem {
    #[error(transparent)]
    Redis(#[from] RedisProblem),
    #[error("this coordinator no longer holds the leader lease")]
    NotLeader,
    #[error("the ledger already has a later save")]
    Overtaken,
    /// Written by a newer version: this one must not act on a state that it does not understand.
    #[error("the ledger {key} was written by a newer version ({version}): upgrade this coordinator, or remove the key")]
    Newer { key: String, version: u32 },
    #[error("cannot parse the ledger {key}: {source}")]
    Unreadable { key: String, source: serde_json::Error },
}

#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    epoch: u64,
    clocks: &'a Clocks,
    state: &'a State,
}

/// What every version writes, whatever else it does.
#[derive(Deserialize)]
struct Header {
    version: u32,
}

#[derive(Deserialize)]
struct Read {
    epoch: u64,
    state: State,
    /// None: written by an older version.
    #[serde(default)]
    clocks: Option<Clocks>,
}

/// Parses a saved state, with the epoch and the clocks of the coordinator that saved it.
fn read(key: &str, text: &str) -> Result<(State, u64, Option<Clocks>), LedgerProblem> {
    let unreadable = |source| LedgerProblem::Unreadable { key: key.to_owned(), source };
    let header: Header = serde_json::from_str(text).map_err(unreadable)?;
    if header.version > VERSION {
        return Err(LedgerProblem::Newer { key: key.to_owned(), version: header.version });
    }
    let read: Read = serde_json::from_str(text).map_err(unreadable)?;
    Ok((read.state, read.epoch, read.clocks))
}

/// A stream entry as Redis returns it: its id, and its fields with their values.
type Entry = (String, Vec<(String, String)>);

/// One entry of the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recorded {
    pub plan: Plan,
    pub backlog: Option<Backlog>,
}

/// One pool's part of the ledger.
#[derive(Debug)]
pub struct Ledger {
    redis: Redis,
    prefix: String,
    pool: String,
    save: Script,
    /// Number of save attempts.
    saves: u64,
    /// What Redis' clock showed when this host booted, in milliseconds since the epoch, and when that was asked, by
    /// `clock::up`.
    redis_began: Option<(i64, Duration)>,
}

impl Ledger {
    pub fn new(redis: Redis, prefix: &str, pool: &str) -> Self {
        let save = Script::new(
            "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return -1 end
             local epoch, number = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+) (%d+)$')
             local newer = tonumber(epoch or 0) - tonumber(ARGV[5])
             if newer > 0 or (newer == 0 and tonumber(number) >= tonumber(ARGV[6])) then return -2 end
             redis.call('SET', KEYS[4], ARGV[5] .. ' ' .. ARGV[6])
             redis.call('SET', KEYS[2], ARGV[2])
             if ARGV[3] ~= '' then redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], '*', 'plan', ARGV[3]) end
             return math.max(redis.call('PTTL', KEYS[1]), 0)",
        );
        Ledger { redis, prefix: prefix.to_owned(), pool: pool.to_owned(), save, saves: 0, redis_began: None }
    }

    /// What was saved last; None if nothing ever was. `now`: the time of this coordinator's pool.
    pub async fn load(&mut self, now: impl FnOnce() -> Timestamp) -> Result<Option<SavedState>, LedgerProblem> {
        let key = self.key("state");
        let (text,): (Option<String>,) = self.redis.query(pipe().cmd("GET").arg(&key)).await?;
        let Some(text) = text else { return Ok(None) };
        let (state, epoch, clocks) = read(&key, &text)?;
        let redis_began_ms = self.redis_began().await;
        let ahead_ms = clocks.map_or(0, |saved| Clocks::now(now(), redis_began_ms).ahead_of(&saved));
        Ok(Some(SavedState { state: Box::new(state), epoch, ahead_ms }))
    }

    /// What Redis' clock showed when this host booted; None while Redis does not say.
    async fn redis_began(&mut self) -> Option<i64> {
        let sent_at = clock::up();
        if let Some((began, at)) = self.redis_began
            && sent_at.saturating_sub(at) < REDIS_TIME_INTERVAL
        {
            return Some(began);
        }
        let ((seconds, microseconds),): ((u64, u64),) = self.redis.query(pipe().cmd("TIME")).await.ok()?;
        let began = Timestamp(seconds * 1000 + microseconds / 1000).offset_from(Timestamp(clock::up_ms()));
        self.redis_began = Some((began, sent_at));
        Some(began)
    }

    /// Saves the state and records the plan, if this holder still has the lease. `now`: the time of its pool. Returns
    /// until when the lease is certain to last without another renewal, by `clock::up`: counted from before the
    /// request, so never longer than in Redis.
    pub async fn save(
        &mut self,
        holder: &str,
        epoch: u64,
        (now, state): (Timestamp, &State),
        recorded: Option<&Recorded>,
    ) -> Result<Duration, LedgerProblem> {
        let key = self.key("state");
        let unreadable = |source| LedgerProblem::Unreadable { key: key.clone(), source };
        let clocks = &Clocks::now(now, self.redis_began().await);
        let text = serde_json::to_string(&Written { version: VERSION, epoch, clocks, state }).map_err(unreadable)?;
        let record = recorded.map(serde_json::to_string).transpose().map_err(unreadable)?.unwrap_or_default();
        let mut invocation = self.save.prepare_invoke();
        self.saves += 1;
        invocation.key(self.key("leader")).key(&key).key(self.key("plans")).key(self.key("save"));
        invocation.arg(holder).arg(text).arg(record).arg(RECORD_LENGTH).arg(epoch).arg(self.saves);
        let sent_at = clock::up();
        let lease_left: i64 = self.redis.invoke(&invocation).await?;
        if lease_left == -2 {
            return Err(LedgerProblem::Overtaken);
        }
        let lease_left = u64::try_from(lease_left).map_err(|_| LedgerProblem::NotLeader)?;
        Ok(sent_at + Duration::from_millis(lease_left))
    }

    /// The newest entries of the record, newest first. Entries that cannot be parsed are skipped.
    pub async fn recent(&mut self, limit: usize) -> Result<Vec<Recorded>, LedgerProblem> {
        let mut pipeline = pipe();
        pipeline.cmd("XREVRANGE").arg(self.key("plans")).arg("+").arg("-").arg("COUNT").arg(limit);
        let (entries,): (Vec<Entry>,) = self.redis.query(&pipeline).await?;
        let texts = entries.into_iter().flat_map(|(_, fields)| fields).map(|(_, text)| text);
        Ok(texts.filter_map(|text| serde_json::from_str(&text).ok()).collect())
    }

    fn key(&self, part: &str) -> String {
        format!("{}pool:{}:{part}", self.prefix, self.pool)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use spillway_brain::{Config, Controller};

    use super::*;

    fn saved() -> String {
        let controller = Controller::new(Config::default(), "nonce");
        let clocks = &Clocks::now(Timestamp(1_764_000_000_000), Some(5));
        serde_json::to_string(&Written { version: VERSION, epoch: 7, clocks, state: controller.state() }).expect("JSON")
    }

    #[test]
    fn what_was_saved_is_read_and_what_is_newer_is_not_touched() {
        let (state, epoch, clocks) = read("k", &saved()).expect("it was saved here");
        assert!(clocks.is_some());
        assert_eq!((epoch, &state), (7, Controller::new(Config::default(), "nonce").state()));
        let newer = saved().replacen("\"version\":1", "\"version\":2", 1);
        let error = read("k", &newer).expect_err("newer").to_string();
        assert!(error.contains("written by a newer version (2)"), "{error}");
        // Whatever the newer version made of it.
        let error = read("k", r#"{"version":3,"leader":"a"}"#).expect_err("newer").to_string();
        assert!(error.contains("written by a newer version (3)"), "{error}");
    }

    proptest! {
        #[test]
        fn a_damaged_record_is_refused_and_never_half_read(at in 0..100_000usize, byte in any::<u8>(), cut in any::<bool>()) {
            let mut text = saved().into_bytes();
            let at = at % text.len();
            if cut { text.truncate(at) } else { text[at] = byte }
            let text = String::from_utf8_lossy(&text);
            // Cut off it is no JSON; with one byte changed it is refused, or is a whole state.
            match read("k", &text) {
                Ok(_) => prop_assert!(!cut),
                Err(error) => prop_assert!(error.to_string().contains('k')),
            }
        }
    }
}
