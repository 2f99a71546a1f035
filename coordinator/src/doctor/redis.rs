//! Redis, the queues, the ledger, and what the users of both may do.

use redis::{Cmd, pipe};

use super::{Finding, clocks};
use crate::acl;
use crate::config::{Pool, Settings};
use crate::queue::{ObservationProblem, QueueObserver, QueueReport};
use crate::redis_client::{Redis, RedisProblem};

/// The oldest that BullMQ's own documentation names.
const OLDEST: (u32, u32) = (6, 2);
/// A user's permissions for single keys: see `acl`.
const FIRST_WITH_SELECTORS: u32 = 7;
/// No queue has this name: nothing is there that a command could change.
const NO_QUEUE: &str = "spillway-doctor-looks";

pub(super) async fn examine(settings: &Settings, say: &mut impl FnMut(Finding)) {
    let mut redis = match Redis::new("redis.url", &settings.redis_url) {
        Ok(redis) => redis,
        Err(problem) => return say(unreachable("redis.reach", &problem)),
    };
    let info: (String, String, String) = match redis
        .query(pipe().cmd("INFO").arg("server").cmd("INFO").arg("memory").cmd("INFO").arg("replication"))
        .await
    {
        Ok(info) => info,
        Err(problem) => return say(unreachable("redis.reach", &problem)),
    };
    let (server, memory, replication) = info;
    say(Finding::ok("redis.reach", format!("{} answers", redis.address())));
    say(version(&server));
    say(role(&mut redis, &replication));
    say(eviction(&memory));
    say(clocks::redis(&mut redis).await);
    for pool in &settings.pools {
        queues(settings, pool, say).await;
        say(hand_back(&mut redis, pool).await.of(&pool.name));
    }
    ledger(settings, say).await;
    say(protected(settings, &mut redis).await);
}

/// Whether the user of `redis.url` is kept out of the ledger: only a refusal for want of permission shows it.
async fn protected(settings: &Settings, redis: &mut Redis) -> Finding {
    const ID: &str = "ledger.protected";
    if let Some(user) = acl::writes_ledger(settings).await {
        return Finding::warn(
            ID,
            format!("Redis user \"{user}\" of redis.url may write the ledger, as may every process with its password"),
            "give the ledger a user of its own: spillway acl",
        );
    }
    let is_another = Redis::new("ledger.url", &settings.ledger_url).is_ok_and(|it| it.address() != redis.address());
    let mut write = pipe();
    write.cmd("SET").arg(format!("{}pool::state", settings.ledger_prefix)).arg("x").arg("XX");
    let refused = redis.query_each(&mut write).await.ok().and_then(|answers| answers.into_iter().find_map(Result::err));
    match refused {
        _ if is_another => Finding::ok(ID, "the ledger is on another server"),
        Some(error) if error.code() == Some("NOPERM") => {
            Finding::ok(ID, "the user of redis.url cannot write the ledger")
        }
        Some(error) => {
            Finding::warn(ID, format!("it is not known who may write the ledger: {error}"), "fix that first")
        }
        None => Finding::warn(ID, "it is not known who may write the ledger", "fix what fails above first"),
    }
}

fn unreachable(id: &'static str, problem: &RedisProblem) -> Finding {
    let remedy = match problem {
        RedisProblem::BadUrl { .. } => "set the URL right",
        RedisProblem::Unreachable { .. } => "start Redis, or compare host and port with its `bind` and `port`",
        RedisProblem::Unusable { .. } => "point the URL at the master",
        RedisProblem::Refused { .. } => "compare user and password with Redis' own (ACL LIST)",
    };
    Finding::fail(id, problem.to_string(), remedy)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn version(server: &str) -> Finding {
    const ID: &str = "redis.version";
    let Some(version) = field(server, "redis_version") else {
        return Finding::warn(ID, "it does not say its version", "use Redis 6.2 or newer, better 7");
    };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if (major, minor) < OLDEST {
        Finding::fail(ID, format!("Redis {version} is older than BullMQ supports"), "upgrade to 6.2 or newer, better 7")
    } else if major < FIRST_WITH_SELECTORS {
        let detail = format!("Redis {version}: coordinator and agents cannot have users that only look and hand back");
        Finding::warn(ID, detail, "Redis 7 has them: spillway acl")
    } else {
        Finding::ok(ID, format!("Redis {version}"))
    }
}

fn role(redis: &mut Redis, replication: &str) -> Finding {
    match redis.check_role(replication) {
        Ok(()) => Finding::ok("redis.role", "it is a master"),
        Err(problem) => Finding::fail("redis.role", problem.to_string(), "point redis.url at the master"),
    }
}

fn eviction(memory: &str) -> Finding {
    const ID: &str = "redis.eviction";
    let policy = field(memory, "maxmemory_policy").unwrap_or("unknown");
    let limit: u64 = field(memory, "maxmemory").and_then(|text| text.parse().ok()).unwrap_or(0);
    let remedy =
        "set maxmemory-policy noeviction in redis.conf: CONFIG SET maxmemory-policy noeviction, then CONFIG REWRITE";
    match (policy, limit) {
        ("noeviction", _) => Finding::ok(ID, "maxmemory-policy noeviction: no key of a queue is dropped"),
        (policy, 0) => Finding::warn(ID, format!("maxmemory-policy {policy}, and no maxmemory yet"), remedy),
        (policy, _) => Finding::fail(ID, format!("maxmemory-policy {policy}: a full Redis drops jobs"), remedy),
    }
}

async fn queues(settings: &Settings, pool: &Pool, say: &mut impl FnMut(Finding)) {
    const ID: &str = "redis.queue";
    let Ok(redis) = Redis::new("redis.url", &settings.redis_url) else { return };
    let mut observer = QueueObserver::new(redis, &pool.prefix, &pool.queues);
    let reports = match observer.report().await {
        Ok(reports) => reports,
        Err(problem) => return say(unreachable(ID, &problem).of(&pool.name)),
    };
    for (report, queue) in reports.into_iter().zip(&pool.queues) {
        say(match report {
            Ok(report) => in_queue(&report).of(queue),
            Err(problem @ ObservationProblem::NoSuchQueue { .. }) => Finding::fail(
                ID,
                problem.to_string(),
                "compare pool.queues and pool.prefix with the application's, or start the application once",
            )
            .of(queue),
            Err(problem) => Finding::fail(ID, problem.to_string(), "see what wrote that key").of(queue),
        });
    }
}

fn in_queue(report: &QueueReport) -> Finding {
    let workers = report.workers.map(|count| format!(", {count} connected workers")).unwrap_or_default();
    let detail = format!("{} ready to run, {} running{workers}", report.demand, report.active);
    match report.paused {
        true => Finding::warn("redis.queue", format!("paused; {detail}"), "resume the queue, where it should run"),
        false => Finding::ok("redis.queue", detail),
    }
}

/// Whether jobs of ended instances can be handed back: each command that it takes, on keys that do not exist.
async fn hand_back(redis: &mut Redis, pool: &Pool) -> Finding {
    const ID: &str = "redis.hand_back";
    let key = |end: &str| format!("{}:{NO_QUEUE}:{end}", pool.prefix);
    let asked = [
        ("EVALSHA", vec!["0".repeat(40), "0".to_owned()]),
        ("DEL", vec![key("1:lock")]),
        ("LREM", vec![key("active"), "0".to_owned(), "1".to_owned()]),
        ("ZADD", vec![key("prioritized"), "XX".to_owned(), "1".to_owned(), "1".to_owned()]),
        ("SREM", vec![key("stalled"), "1".to_owned()]),
        ("HDEL", vec![key("1"), "x".to_owned()]),
        ("XADD", vec![key("events"), "NOMKSTREAM".to_owned(), "*".to_owned(), "x".to_owned(), "x".to_owned()]),
    ];
    let mut denied = Vec::new();
    for (name, arguments) in asked {
        let mut pipeline = pipe();
        pipeline.add_command(Cmd::new().arg(name).arg(&arguments).to_owned());
        let answers = match redis.query_each(&mut pipeline).await {
            Ok(answers) => answers,
            Err(problem) => return unreachable(ID, &problem),
        };
        let refused = answers.iter().find_map(|answer| answer.as_ref().err());
        match refused.map(|error| (error.code(), error)) {
            // What does not exist yet is no refusal.
            None | Some((Some("NOSCRIPT"), _)) => {}
            Some((Some("NOPERM"), _)) => denied.push(name),
            Some((_, error)) => {
                return Finding::fail(
                    ID,
                    format!("{name} is refused: {error}"),
                    "fix that: until then no job is handed back",
                );
            }
        }
    }
    if denied.is_empty() {
        return Finding::ok(
            ID,
            "the permissions for handing jobs back are there, but for RPUSH and HINCRBY, which are not tried",
        );
    }
    Finding::fail(
        ID,
        format!(
            "the user of redis.url may not {}: jobs of instances that end stay until BullMQ finds them stalled",
            denied.join(", ")
        ),
        "give it the permissions that spillway acl prints",
    )
}

async fn ledger(settings: &Settings, say: &mut impl FnMut(Finding)) {
    const ID: &str = "ledger.write";
    let mut redis = match Redis::new("ledger.url", &settings.ledger_url) {
        Ok(redis) => redis,
        Err(problem) => return say(unreachable("ledger.reach", &problem)),
    };
    // No pool has this name: there is nothing that XX could set.
    let key = format!("{}pool::state", settings.ledger_prefix);
    let mut write = pipe();
    write.cmd("SET").arg(&key).arg("x").arg("XX");
    let answers = match redis.query_each(&mut write).await {
        Ok(answers) => answers,
        Err(problem) => return say(unreachable("ledger.reach", &problem)),
    };
    let refused = answers.iter().find_map(|answer| answer.as_ref().err());
    say(match refused {
        None => Finding::ok(
            ID,
            format!("the ledger below {} at {} can be written", settings.ledger_prefix, redis.address()),
        ),
        Some(error) => Finding::fail(
            ID,
            format!("the ledger cannot be written: {error}"),
            match error.code() {
                Some("NOPERM") => "give the user of ledger.url the permissions that spillway acl prints",
                _ => "fix that: nothing is launched while the ledger cannot be written",
            },
        ),
    });
}
