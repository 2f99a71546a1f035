//! Session tokens, as the ledger keeps them: so that an agent's session outlives a restart of its coordinator and a
//! change of leader, and so that of several registrations at once one alone is good.
//!
//! | key | type | content |
//! |---|---|---|
//! | `pool:<name>:session:<instance>` | STRING, expires | `{"token_sha256":…,"boot":…,"peer":…,"agent_version":…,"at_ms":…}` |
//!
//! The token itself is nowhere but with its agent.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::{Script, pipe};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use spillway_brain::InstanceId;
use tokio::sync::Mutex;

use crate::agents::equal_in_constant_time;
use crate::redis_client::{Redis, RedisProblem};

/// Longer than an instance is likely to live; renewed with each session that is opened.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Writes the record where this process leads the pool in this epoch, and where the record before it is still the one
/// that was read.
const CLAIM: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('GET', KEYS[2]) ~= ARGV[2] then return -1 end
    if (redis.call('GET', KEYS[3]) or '') ~= ARGV[3] then return 0 end
    redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
    return 1";

/// What a session token is good for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// In hex.
    pub token_sha256: String,
    /// Of the instance; empty: any.
    pub boot: String,
    /// Where its connections come from; None: from anywhere.
    pub peer: Option<IpAddr>,
    pub agent_version: String,
    /// When it was given.
    pub at_ms: u64,
}

impl Grant {
    /// Whether whoever connects from there, in this boot of its instance, with this token is the one that it was given
    /// to.
    pub fn is_for(&self, token: &str, peer: Option<IpAddr>, boot: &str) -> bool {
        let is_token = !self.token_sha256.is_empty() && equal_in_constant_time(&self.token_sha256, &digest(token));
        let is_peer = self.peer.is_none() || self.peer == peer.map(|peer| peer.to_canonical());
        let is_boot = self.boot.is_empty() || self.boot == boot;
        is_token && is_peer && is_boot
    }
}

/// What is kept of a token.
pub fn digest(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whose leadership a record is written in.
#[derive(Clone, Copy, Debug)]
pub struct Leadership<'a> {
    pub pool: &'a str,
    /// In the pool's lease.
    pub holder: &'a str,
    pub epoch: u64,
}

/// What became of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    Won,
    /// Another registration of the instance was written since its record was read.
    Lost,
    NotLeader,
}

/// The records of all pools.
#[derive(Clone, Debug)]
pub struct Sessions {
    redis: Arc<Mutex<Redis>>,
    prefix: String,
    claim: Script,
}

impl Sessions {
    pub fn new(redis: Redis, prefix: &str) -> Self {
        Sessions { redis: Arc::new(Mutex::new(redis)), prefix: prefix.to_owned(), claim: Script::new(CLAIM) }
    }

    /// The record of an instance as it is written; empty where there is none.
    pub async fn read(&self, pool: &str, id: &InstanceId) -> Result<String, RedisProblem> {
        let mut connection = self.redis.lock().await.connected().await?;
        let mut pipeline = pipe();
        pipeline.cmd("GET").arg(self.key(pool, id));
        let answer: redis::RedisResult<(Option<String>,)> = pipeline.query_async(&mut connection).await;
        match answer {
            Ok((text,)) => Ok(text.unwrap_or_default()),
            Err(error) => Err(self.redis.lock().await.failed(error)),
        }
    }

    /// The grant of an instance; None where there is none, or none that this version reads.
    pub async fn grant(&self, pool: &str, id: &InstanceId) -> Result<Option<Grant>, RedisProblem> {
        Ok(serde_json::from_str(&self.read(pool, id).await?).ok())
    }

    /// Writes the grant in the place of what was `read` before.
    pub async fn claim(
        &self,
        of: Leadership<'_>,
        id: &InstanceId,
        before: &str,
        grant: &Grant,
    ) -> Result<Claim, RedisProblem> {
        let mut connection = self.redis.lock().await.connected().await?;
        let text = serde_json::to_string(grant).unwrap_or_default();
        let mut invocation = self.claim.prepare_invoke();
        let of_pool = |part: &str| format!("{}pool:{}:{part}", self.prefix, of.pool);
        invocation.key(of_pool("leader")).key(of_pool("epoch")).key(self.key(of.pool, id));
        invocation.arg(of.holder).arg(of.epoch).arg(before).arg(text).arg(kept_ms());
        let answer: redis::RedisResult<i64> = invocation.invoke_async(&mut connection).await;
        match answer {
            Ok(1) => Ok(Claim::Won),
            Ok(0) => Ok(Claim::Lost),
            Ok(_) => Ok(Claim::NotLeader),
            Err(error) => Err(self.redis.lock().await.failed(error)),
        }
    }

    /// A session was opened with it: it is kept on.
    pub async fn keep(&self, pool: &str, id: &InstanceId) {
        let mut pipeline = pipe();
        pipeline.cmd("PEXPIRE").arg(self.key(pool, id)).arg(kept_ms()).ignore();
        self.send(pipeline).await;
    }

    /// Revokes it: its instance is gone.
    pub async fn forget(&self, pool: &str, id: &InstanceId) {
        let mut pipeline = pipe();
        pipeline.cmd("DEL").arg(self.key(pool, id)).ignore();
        self.send(pipeline).await;
    }

    /// What may be left undone: a record runs out by itself.
    async fn send(&self, pipeline: redis::Pipeline) {
        let sent: Result<(), RedisProblem> = self.redis.lock().await.query(&pipeline).await;
        if let Err(problem) = sent {
            tracing::debug!(%problem, "cannot write an agent's session");
        }
    }

    fn key(&self, pool: &str, id: &InstanceId) -> String {
        format!("{}pool:{pool}:session:{id}", self.prefix)
    }
}

fn kept_ms() -> u64 {
    u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_instances_boot_and_address_alone() {
        let address = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let grant =
            Grant { token_sha256: digest("token"), boot: "boot".to_owned(), peer: address(1), ..Grant::default() };
        assert!(grant.is_for("token", address(1), "boot"));
        assert!(grant.is_for("token", "::ffff:10.0.0.1".parse().ok(), "boot"));
        for (token, peer, boot) in [
            ("tokem", address(1), "boot"),
            ("", address(1), "boot"),
            ("token", address(2), "boot"),
            ("token", None, "boot"),
            ("token", address(1), "another"),
            ("token", address(1), ""),
        ] {
            assert!(!grant.is_for(token, peer, boot), "{token} {peer:?} {boot}");
        }
        let of_token_trust = Grant { boot: String::new(), peer: None, ..grant };
        assert!(of_token_trust.is_for("token", address(7), "any"));
        assert!(!Grant::default().is_for("", None, ""), "what is not there is nobody's");
        let text = serde_json::to_string(&of_token_trust).expect("JSON");
        assert_eq!(serde_json::from_str::<Grant>(&text).expect("read"), of_token_trust);
        assert!(!text.contains("\"token\""), "{text}");
    }
}
