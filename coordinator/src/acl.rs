//! Redis' users: one for BullMQ that cannot write the ledger, one each for the coordinator and the agents, which look
//! at the queues and hand jobs back, and one for the ledger. Whoever may write the ledger decides what is launched and
//! terminated, and every process of the application has BullMQ's password.

use std::collections::BTreeSet;
use std::fmt;

use redis::pipe;
use thiserror::Error;

use crate::config::Settings;
use crate::redis_client::Redis;

/// What the ledger's user may do, below its keys.
const LEDGER: &str = "+get +set +del +exists +pexpire +pttl +time +xadd +xrange +xrevrange +hgetall +hset +hincrby \
                      +hdel +info +eval +evalsha +script|load +ping";
/// What BullMQ's user may do, below its keys: BullMQ, and, where there are no users of their own for them, the agents'
/// and the coordinator's look at it, and hand-backs. The shim unblocks a Worker that waits for a job when its instance
/// drains.
const BULLMQ: &str = "+@all -@admin -@dangerous +info +client|list +client|unblock";

/// What the coordinator's and the agents' users may look at, below BullMQ's keys, and what needs no key.
const LOOK: &str = "-@all +@connection -@admin -@dangerous +client|list +info +time +script|load +get +mget +hget +hmget +hgetall \
                    +hexists +llen +lrange +lindex +lpos +zcard +zcount +zrange +zrangebyscore +zrevrange +zrevrangebyscore +exists \
                    +pttl +type";
/// What they may write, by the ends of the keys: what handing a job back takes. A script's own keys count as written.
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

/// The first version whose users have selectors: other permissions for other keys.
const FIRST_WITH_SELECTORS: u32 = 7;

/// The users have passwords of their own making: nothing is to be filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Users {
    /// `ACL SETUSER …`, one each.
    pub commands: Vec<String>,
    /// What the application's REDIS_URL becomes.
    pub bullmq_url: String,
    pub look: Result<LookUrls, NoSelectors>,
    /// What `ledger.url` becomes.
    pub ledger_url: String,
}

/// Of those that look at the queues and hand jobs back, no more.
#[derive(Clone, PartialEq, Eq)]
pub struct LookUrls {
    /// What the coordinator's `redis.url` becomes.
    pub coordinator: String,
    /// What the agents' `redis_url_file` has.
    pub agent: String,
}

// Passwords are in them.
impl fmt::Debug for Users {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Users").finish_non_exhaustive()
    }
}

impl fmt::Debug for LookUrls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LookUrls").finish_non_exhaustive()
    }
}

/// Why the coordinator and the agents have to use BullMQ's user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoSelectors {
    #[error("this Redis is version {0}, and what they need takes the selectors of Redis 7")]
    OldRedis(String),
    #[error("a queue prefix has a blank, a quote or a character of a pattern, which Redis' selectors cannot say")]
    Prefix,
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

/// The users for these settings, and this version of Redis: where it is not known, Redis 7.
///
/// # Errors
/// The keys of the two cannot be told apart.
pub fn users(settings: &Settings, version: Option<&str>) -> Result<Users, Overlap> {
    let ledger = &settings.ledger_prefix;
    let prefixes: BTreeSet<String> = settings.pools.iter().map(|pool| format!("{}:", pool.prefix)).collect();
    if let Some(queues) = prefixes.iter().find(|queues| ledger.starts_with(*queues) || queues.starts_with(ledger)) {
        return Err(Overlap { ledger: ledger.clone(), queues: queues.clone() });
    }
    let password = || uuid::Uuid::new_v4().simple().to_string();
    let mut commands = Vec::new();
    let mut user = |url: &str, name: &str, rules: &str| {
        let password = password();
        commands.push(format!("ACL SETUSER {name} reset on >{password} {rules}"));
        with_login(url, &format!("{name}:{password}"))
    };
    let keys: Vec<String> = prefixes.iter().map(|prefix| below(prefix)).collect();
    let bullmq_url = user(&settings.redis_url, "bullmq", &format!("{} &* {BULLMQ}", keys.join(" ")));
    let look = look_and_hand_back(&prefixes, version).map(|rules| LookUrls {
        coordinator: user(&settings.redis_url, "spillway", &rules),
        agent: user(&settings.redis_url, "spillway-agent", &rules),
    });
    let ledger_url = user(&settings.ledger_url, "spillway-ledger", &format!("{} -@all {LEDGER}", below(ledger)));
    Ok(Users { commands, bullmq_url, look, ledger_url })
}

/// The permissions to read all of BullMQ's keys, and one selector for each kind of write.
fn look_and_hand_back(prefixes: &BTreeSet<String>, version: Option<&str>) -> Result<String, NoSelectors> {
    let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    if let Some(version) = version.filter(|_| major.is_some_and(|major| major < FIRST_WITH_SELECTORS)) {
        return Err(NoSelectors::OldRedis(version.to_owned()));
    }
    if prefixes.iter().any(|prefix| below(prefix).starts_with('"')) {
        return Err(NoSelectors::Prefix);
    }
    let readable: Vec<String> = prefixes.iter().map(|prefix| below(prefix).replacen('~', "%R~", 1)).collect();
    let selector = |(commands, ends): &(&str, &[&str])| {
        let below: Vec<String> = prefixes.iter().map(|prefix| below(prefix)).collect();
        let keys = below.iter().flat_map(|below| ends.iter().map(move |end| format!("{below}{end}")));
        let keys: Vec<String> = keys.collect();
        format!("({commands} {})", keys.join(" "))
    };
    let selectors: Vec<String> = HAND_BACK.iter().map(selector).collect();
    Ok(format!("{} {LOOK} {}", readable.join(" "), selectors.join(" ")))
}

/// The version of the queues' Redis. None where it does not answer, or does not say.
pub async fn redis_version(settings: &Settings) -> Option<String> {
    let mut redis = Redis::new("redis.url", &settings.redis_url).ok()?;
    let (info,): (String,) = redis.query(pipe().cmd("INFO").arg("server")).await.ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
    Some(line.trim().to_owned())
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

/// The same server with another user and password, and without the one that it has.
fn with_login(url: &str, login: &str) -> String {
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    let is_kept = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        !part.is_empty() && !["user", "username", "pass", "password"].contains(&name)
    };
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    let is_socket = url.starts_with('/') || url.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with("unix"));
    if is_socket {
        // A socket's URL has its login behind the path.
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (user, password) = (format!("user={user}"), format!("pass={password}"));
        let query: Vec<&str> = kept.into_iter().chain([user.as_str(), password.as_str()]).collect();
        let path = url.split_once("://").map_or(url, |(_, path)| path);
        return format!("redis+unix://{path}?{}", query.join("&"));
    }
    let query = if kept.is_empty() { String::new() } else { format!("?{}", kept.join("&")) };
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let authority = rest.find('/').unwrap_or(rest.len());
    let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{login}@{}{query}", &rest[host..])
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
        assert_eq!(of("redis://h:1?username=u&password=old&protocol=resp3"), "redis://me:x@h:1?protocol=resp3");
        assert_eq!(of("/run/redis.sock"), "redis+unix:///run/redis.sock?user=me&pass=x");
        let socket = "redis+unix:///run/redis.sock?user=u&pass=old&db=2";
        assert_eq!(of(socket), "redis+unix:///run/redis.sock?db=2&user=me&pass=x");
        for url in [of("/run/redis.sock"), of(socket), of("redis://h:1?password=old")] {
            assert!(spillway_redis_url::RedisUrl::parse(&url).is_ok(), "{url}");
        }
    }

    fn rules(prefix: &str, version: Option<&str>) -> Result<String, NoSelectors> {
        look_and_hand_back(&BTreeSet::from([prefix.to_owned()]), version)
    }

    #[test]
    fn selectors_are_used_where_redis_has_them_and_can_say_the_prefix() {
        assert!(rules("bull:", Some("7.0.15")).expect("rules").contains("(+del ~bull:*:lock)"));
        assert_eq!(rules("bull:", None), rules("bull:", Some("8.2.1")));
        assert_eq!(rules("bull:", Some("valkey")), rules("bull:", None), "it does not say");
        assert_eq!(rules("bull:", Some("6.2.14")), Err(NoSelectors::OldRedis("6.2.14".to_owned())));
        assert_eq!(rules("a*:", Some("7.0.15")), Err(NoSelectors::Prefix));
    }

    #[test]
    fn prefixes_are_no_patterns() {
        assert_eq!(below("{bull}:"), "~{bull}:*");
        assert_eq!(below("a*:"), r#""~a\\*:*""#);
        assert_eq!(below("my jobs:"), "\"~my jobs:*\"");
    }
}
