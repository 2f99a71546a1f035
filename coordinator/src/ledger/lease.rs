//! The leader lease: SET NX PX, renewed by its holder only, with an epoch that rises with each leadership.

use redis::Script;
use spillway_pool::lease::{Hold, LEASE, LeaseAnswer, LeaseChange};
use tokio::time::Instant;

use crate::redis_client::{Redis, RedisProblem};

/// This process' hold on the lease.
#[derive(Debug)]
pub struct Lease {
    redis: Redis,
    prefix: String,
    holder: String,
    began: Instant,
    hold: Hold,
    /// Its holder, by Redis' last answer.
    leader: Option<String>,
    take: Script,
    release: Script,
}

impl Lease {
    /// `holder` must be unique to this process; what follows an `@` in it is the address for agents.
    pub fn new(redis: Redis, prefix: &str, holder: &str) -> Self {
        // The epoch is Redis' time in milliseconds, or the last epoch plus one if that is later. A counter would start again
        // after Redis lost its data, and agents, which know a newer epoch, would obey no coordinator.
        let take = Script::new(
            "local holder = redis.call('GET', KEYS[1])
             local last = tonumber(redis.call('GET', KEYS[2]))
             if holder == ARGV[1] and last then
               redis.call('PEXPIRE', KEYS[1], ARGV[2])
               return {last, holder}
             elseif holder == ARGV[1] or not holder then
               local time = redis.call('TIME')
               local epoch = math.max((last or 0) + 1, time[1] * 1000 + math.floor(time[2] / 1000))
               redis.call('SET', KEYS[2], string.format('%d', epoch))
               redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
               return {epoch, ARGV[1]}
             end
             return {-1, holder}",
        );
        let release = Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end");
        let (prefix, holder) = (prefix.to_owned(), holder.to_owned());
        Lease { redis, prefix, holder, began: Instant::now(), hold: Hold::default(), leader: None, take, release }
    }

    /// Acquires the lease if it is free, renews it if this process holds it.
    pub async fn renew(&mut self) -> (LeaseChange, Option<RedisProblem>) {
        let sent_at = self.began.elapsed();
        let mut invocation = self.take.prepare_invoke();
        invocation.key(format!("{}leader", self.prefix)).key(format!("{}epoch", self.prefix));
        invocation.arg(&self.holder).arg(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX));
        let answer: Result<(i64, String), RedisProblem> = self.redis.invoke(&invocation).await;
        let (answer, problem) = match answer {
            Ok((epoch, holder)) => {
                self.leader = Some(holder);
                let held = |epoch| LeaseAnswer::Ours { epoch };
                (u64::try_from(epoch).map_or(LeaseAnswer::Anothers, held), None)
            }
            Err(problem) => (LeaseAnswer::Unknown, Some(problem)),
        };
        (self.hold.answered(sent_at, self.began.elapsed(), answer), problem)
    }

    /// The leader's address for agents, if it advertises one; by Redis' last answer.
    pub fn leader_address(&self) -> Option<String> {
        let (_, address) = self.leader.as_deref()?.split_once('@')?;
        Some(address.to_owned())
    }

    /// Releases the lease, so that a standby need not wait until it expires.
    pub async fn release(&mut self) {
        let mut invocation = self.release.prepare_invoke();
        invocation.key(format!("{}leader", self.prefix)).arg(&self.holder);
        // If Redis does not answer, the lease expires.
        let _: Result<Option<u8>, RedisProblem> = self.redis.invoke(&invocation).await;
        self.hold.release();
    }
}
