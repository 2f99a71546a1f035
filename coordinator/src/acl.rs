//! Redis' users: one for BullMQ that cannot write the ledger, one for the agents, and one for the ledger. Whoever may
//! write the ledger decides what is launched and terminated, and every process of the application has BullMQ's
//! password.

use std::collections::BTreeSet;

use redis::pipe;
use thiserror::Error;

use crate::config::Settings;
use crate::redis_client::Redis;

/// What the ledger's user may do, below its keys.
const LEDGER: &str = "+get +set +del +exists +pexpire +pttl +time +xadd +xrevrange +eval +evalsha +script|load +ping";
/// What BullMQ's user may do, below its keys: BullMQ, the agents' and the coordinator's look at it, and hand-backs. The
/// shim unblocks a Worker that waits for a job when its instance drains.
const BULLMQ: &str = "+@all -@admin -@dangerous +info +client|list +client|unblock";

/// What the agents' user may look at, below BullMQ's keys, and what needs no key.
const AGENT: &str = "-@all +@connection -@admin -@dangerous +client|list +info +time +script|load +get +mget +hget +hmget +hgetall \
                     +hexists +llen +lrange +lindex +lpos +zcard +zcount +zrange +zrangebyscore +zrevrangebyscore +exists +pttl \
                     +type";
/// What it may write, by the ends of the keys: what handing a job back takes. A script's own keys count as written.
const HAND_BACK: [(&str, &[&str]); 8] = [
    ("+eval +evalsha", &[""]),
    ("+del", &[":lock"]),
    ("+lrem", &[":active"]),
    ("+rpush", &[":wait", ":paused"]),
    ("+zadd", &[":prioritized", ":marker"]),
    ("+srem", &[":stalled"]),
    ("+xadd", &[":events"]),
    // Of a job's hash, which has no end of its own.
    ("+hdel +hincrby", &[""]),
];

/// The users have passwords of their own making: nothing is to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    /// `ACL SETUSER …`, one each.
    pub commands: Vec<String>,
    /// What the agents' `redis_url_file` has. None: a prefix has a blank, a quote or a character of a pattern, which no
    /// selector of Redis' can say.
    pub agent_url: Option<String>,
    /// What `redis.url` (and the application's REDIS_URL) becomes, and `ledger.url`.
    pub redis_url: String,
    pub ledger_url: String,
}

#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "ledger.prefix \"{ledger}\" lies below the queues' prefix \"{queues}\": a user that may write the queues may write the ledger. \
     Set ledger.prefix to another, such as \"spillway:\""
)]
pub struct Overlap {
    ledger: String,
    queues: String,
}

/// The users for these settings.
///
/// # Errors
/// The keys of the two cannot be told apart.
pub fn users(settings: &Settings) -> Result<Users, Overlap> {
    let ledger = &settings.ledger_prefix;
    let prefixes: BTreeSet<String> = settings.pools.iter().map(|pool| format!("{}:", pool.prefix)).collect();
    if let Some(queues) = prefixes.iter().find(|queues| ledger.starts_with(*queues) || queues.starts_with(ledger)) {
        return Err(Overlap { ledger: ledger.clone(), queues: queues.clone() });
    }
    let password = || uuid::Uuid::new_v4().simple().to_string();
    let (bullmq, spillway, agent) = (password(), password(), password());
    let keys: Vec<String> = prefixes.iter().map(|prefix| below(prefix)).collect();
    let keys = keys.join(" ");
    let of_agents = of_agents(&prefixes);
    let agent_url = of_agents.is_some().then(|| with_login(&settings.redis_url, &format!("spillway-agent:{agent}")));
    let commands = [
        Some(format!("ACL SETUSER bullmq reset on >{bullmq} {keys} &* {BULLMQ}")),
        of_agents.map(|rules| format!("ACL SETUSER spillway-agent reset on >{agent} {rules}")),
        Some(format!("ACL SETUSER spillway-ledger reset on >{spillway} {} -@all {LEDGER}", below(ledger))),
    ];
    Ok(Users {
        commands: commands.into_iter().flatten().collect(),
        redis_url: with_login(&settings.redis_url, &format!("bullmq:{bullmq}")),
        agent_url,
        ledger_url: with_login(&settings.ledger_url, &format!("spillway-ledger:{spillway}")),
    })
}

/// The agents' permissions: to read all of BullMQ's keys, and one selector (Redis 7) for each kind of write.
fn of_agents(prefixes: &BTreeSet<String>) -> Option<String> {
    if prefixes.iter().any(|prefix| below(prefix).starts_with('"')) {
        return None;
    }
    let readable: Vec<String> = prefixes.iter().map(|prefix| below(prefix).replacen('~', "%R~", 1)).collect();
    let selector = |(commands, ends): &(&str, &[&str])| {
        let below: Vec<String> = prefixes.iter().map(|prefix| below(prefix)).collect();
        let keys = below.iter().flat_map(|below| ends.iter().map(move |end| format!("{below}{end}")));
        let keys: Vec<String> = keys.collect();
        format!("({commands} {})", keys.join(" "))
    };
    let selectors: Vec<String> = HAND_BACK.iter().map(selector).collect();
    Some(format!("{} {AGENT} {}", readable.join(" "), selectors.join(" ")))
}

/// All keys with this prefix, as an argument on `redis-cli`'s standard input.
fn below(prefix: &str) -> String {
    let mut pattern = "~".to_owned();
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    let is_plain = pattern.chars().all(|it| !it.is_whitespace() && !matches!(it, '"' | '\'' | '\\'));
    if is_plain { pattern } else { format!("\"{}\"", pattern.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// The same server with another user and password.
fn with_login(url: &str, login: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let authority = rest.find(['/', '?']).unwrap_or(rest.len());
    let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{login}@{}", &rest[host..])
}

/// The user of `redis.url`, where it may write the ledger. None where it may not, or where that cannot be known now.
pub(crate) async fn writes_ledger(settings: &Settings) -> Option<String> {
    let mut redis = Redis::new("redis.url", &settings.redis_url).ok()?;
    let ledger = Redis::new("ledger.url", &settings.ledger_url).ok()?;
    if redis.address() != ledger.address() {
        return None;
    }
    // No pool has this name: there is nothing that XX could set.
    let key = format!("{}pool::state", settings.ledger_prefix);
    redis.query::<()>(pipe().cmd("SET").arg(key).arg("x").arg("XX").ignore()).await.ok()?;
    let named = redis.query::<(String,)>(pipe().cmd("ACL").arg("WHOAMI")).await;
    Some(named.map_or_else(|_| "default".to_owned(), |(name,)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_keep_the_server() {
        let of = |url| with_login(url, "me:x");
        assert_eq!(of("redis://10.0.0.5:6379/2"), "redis://me:x@10.0.0.5:6379/2");
        assert_eq!(of("rediss://:p%40ss@cache.example:6380"), "rediss://me:x@cache.example:6380");
        assert_eq!(of("redis://u:a@b@h:1/0?x=@"), "redis://me:x@h:1/0?x=@");
    }

    #[test]
    fn prefixes_are_no_patterns() {
        assert_eq!(below("{bull}:"), "~{bull}:*");
        assert_eq!(below("a*:"), r#""~a\\*:*""#);
        assert_eq!(below("my jobs:"), "\"~my jobs:*\"");
    }
}
