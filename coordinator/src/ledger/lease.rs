//! A pool's leader lease: SET NX PX, renewed by its holder only, with an epoch that rises with each leadership.
//!
//! Versions before had one lease for all pools (`leader`). It is still honoured both ways: while such a version holds
//! it no pool is led here, and while a pool is led here it holds [`EACH_POOL`], which none of those versions takes
//! over.
//!
//! One whose version does not read the pool's ledger leaves the lease to others: a newer version may be waiting for it.
//!
//! A coordinator that runs the pool asks one that only winds it up (its holder begins with [`RETIRES`]) to let go.

use redis::Script;
use spillway_pool::lease::{Hold, LEASE, LeaseAnswer, LeaseChange};

use super::{LedgerProblem, read};
use crate::clock;
use crate::redis_client::{Redis, RedisProblem};

/// What `leader` holds while pools are led by leases of their own.
const EACH_POOL: &str = "each pool has a lease of its own";
/// How the holder of a pool begins that is in no settings any more.
pub const RETIRES: &str = "retires-";

/// The epoch is Redis' time in milliseconds, or the last epoch plus one if that is later. A counter would start again
/// after Redis lost its data, and agents, which know a newer epoch, would obey no coordinator.
const TAKE: &str = "
    local before = redis.call('GET', KEYS[4])
    if before and before ~= ARGV[3] then return {-1, before} end
    redis.call('SET', KEYS[4], ARGV[3], 'PX', ARGV[2])
    local retires = function(name) return string.sub(name, 1, #ARGV[4]) == ARGV[4] end
    local holder = redis.call('GET', KEYS[1])
    local last = tonumber(redis.call('GET', KEYS[2]))
    if ARGV[5] ~= '1' or (retires(ARGV[1]) and redis.call('EXISTS', KEYS[3]) == 1) then
      if holder ~= ARGV[1] then return {-1, holder or ''} end
      redis.call('DEL', KEYS[1])
      return {-1, ''}
    elseif holder == ARGV[1] and last then
      redis.call('PEXPIRE', KEYS[1], ARGV[2])
      return {last, holder}
    elseif holder == ARGV[1] or not holder then
      local time = redis.call('TIME')
      local epoch = math.max((last or 0) + 1, tonumber(redis.call('GET', KEYS[5]) or 0) + 1,
                             time[1] * 1000 + math.floor(time[2] / 1000))
      redis.call('SET', KEYS[2], string.format('%d', epoch))
      redis.call('SET', KEYS[5], string.format('%d', epoch))
      redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
      return {epoch, ARGV[1]}
    elseif retires(holder) and not retires(ARGV[1]) then
      redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
    end
    return {-1, holder}";

const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end";

#[derive(Debug)]
struct Keys {
    leader: String,
    epoch: String,
    wanted: String,
    leader_before: String,
    epoch_before: String,
    state: String,
}

/// This process' hold on the lease.
#[derive(Debug)]
pub struct Lease {
    redis: Redis,
    keys: Keys,
    holder: String,
    hold: Hold,
    /// Its holder, by Redis' last answer.
    leader: Option<String>,
    last: LeaseAnswer,
    take: Script,
    release: Script,
}

impl Lease {
    /// `holder` must be unique to this process; what follows an `@` in it is the address for agents.
    pub fn new(redis: Redis, prefix: &str, pool: &str, holder: &str) -> Self {
        let keys = Keys {
            leader: format!("{prefix}pool:{pool}:leader"),
            epoch: format!("{prefix}pool:{pool}:epoch"),
            wanted: format!("{prefix}pool:{pool}:wanted"),
            leader_before: format!("{prefix}leader"),
            epoch_before: format!("{prefix}epoch"),
            state: format!("{prefix}pool:{pool}:state"),
        };
        let (take, release) = (Script::new(TAKE), Script::new(RELEASE));
        let holder = holder.to_owned();
        Lease { redis, keys, holder, hold: Hold::default(), leader: None, last: LeaseAnswer::Unknown, take, release }
    }

    /// Whether this version reads what the pool's leader saved last.
    pub async fn reads_ledger(&mut self) -> Result<(), LedgerProblem> {
        let (text,): (Option<String>,) = self.redis.query(redis::pipe().cmd("GET").arg(&self.keys.state)).await?;
        text.map_or(Ok(()), |text| read(&self.keys.state, &text).map(drop))
    }

    /// Acquires the lease if it is free, renews it if this process holds it. If it may not lead: releases it, and says
    /// who holds it.
    pub async fn renew(&mut self, may_lead: bool) -> (LeaseChange, Option<RedisProblem>) {
        let sent_at = clock::up();
        let mut invocation = self.take.prepare_invoke();
        invocation.key(&self.keys.leader).key(&self.keys.epoch).key(&self.keys.wanted);
        invocation.key(&self.keys.leader_before).key(&self.keys.epoch_before);
        invocation.arg(&self.holder).arg(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX));
        invocation.arg(EACH_POOL).arg(RETIRES).arg(u8::from(may_lead));
        let answer: Result<(i64, String), RedisProblem> = self.redis.invoke(&invocation).await;
        let (answer, problem) = match answer {
            Ok((epoch, holder)) => {
                self.leader = Some(holder);
                let held = |epoch| LeaseAnswer::Ours { epoch };
                (u64::try_from(epoch).map_or(LeaseAnswer::Anothers, held), None)
            }
            Err(problem) => (LeaseAnswer::Unknown, Some(problem)),
        };
        self.last = answer;
        (self.hold.answered(sent_at, clock::up(), answer), problem)
    }

    /// Who leads by Redis' last answer: this process, or another. None: nobody, or Redis did not answer.
    pub fn led_here(&self) -> Option<bool> {
        match self.last {
            LeaseAnswer::Ours { .. } => Some(true),
            LeaseAnswer::Anothers => self.leader.as_ref().filter(|holder| !holder.is_empty()).map(|_| false),
            LeaseAnswer::Unknown => None,
        }
    }

    /// Whether nobody holds the lease, and nobody waits for it.
    pub async fn is_free(&mut self) -> Result<bool, RedisProblem> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("EXISTS").arg(&self.keys.leader).arg(&self.keys.wanted);
        let (held,): (u64,) = self.redis.query(&pipeline).await?;
        Ok(held == 0)
    }

    /// The leader's address for agents, if it advertises one; by Redis' last answer.
    pub fn leader_address(&self) -> Option<String> {
        let (_, address) = self.leader.as_deref()?.split_once('@')?;
        Some(address.to_owned())
    }

    /// Releases the lease, so that a standby need not wait until it expires.
    pub async fn release(&mut self) {
        let mut invocation = self.release.prepare_invoke();
        invocation.key(&self.keys.leader).arg(&self.holder);
        // If Redis does not answer, the lease expires.
        let _: Result<Option<u8>, RedisProblem> = self.redis.invoke(&invocation).await;
        self.hold.release();
    }
}
