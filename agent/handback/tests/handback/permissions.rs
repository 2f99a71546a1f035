//! A Redis user with the permissions that the documentation names can do it all; one that lacks any of them is told so,
//! and no job is lost by it.

use redis::aio::MultiplexedConnection;
use spillway_handback::{Held, Outcome, PERMISSIONS, Place, Queue, Way, forbidden, hand_back, held_by};

use crate::world::{RedisServer, ask, contents};

const QUEUE: Queue<'static> = Queue { prefix: "bull", name: "q" };
const WRITES: [&str; 9] = ["lrem", "rpush", "lpush", "zadd", "del", "srem", "hdel", "hincrby", "xadd"];

/// A job as BullMQ 4 or 5 leaves it in active, in the given state of its queue.
async fn strand(redis: &mut MultiplexedConnection, version: u32, priority: &str) {
    let starts = if version == 4 { "attemptsMade" } else { "ats" };
    ask::<()>(redis, &["FLUSHALL"]).await;
    ask::<()>(redis, &["LPUSH", "bull:q:active", "7"]).await;
    ask::<()>(redis, &["SADD", "bull:q:stalled", "7"]).await;
    ask::<()>(redis, &["SET", "bull:q:7:lock", "i-1:uuid:0", "PX", "30000"]).await;
    ask::<()>(redis, &["HSET", "bull:q:7", starts, "1", "priority", priority, "pb", "i-1"]).await;
    ask::<()>(redis, &["HSET", "bull:q:meta", "version", &format!("bullmq:{version}.0.0")]).await;
}

/// The documented user, but for one command.
async fn allow(redis: &mut MultiplexedConnection, user: &str, but: &str) {
    let reads = ["~bull:*", "+@read", "+ping"];
    let commands = PERMISSIONS.iter().filter(|&&command| command.strip_prefix('+') != Some(but));
    let mut allow = redis::cmd("ACL");
    allow.arg("SETUSER").arg(user).arg("reset").arg("on").arg(">pass").arg("-@all");
    allow.arg(&reads).arg(commands.collect::<Vec<_>>());
    allow.query_async::<()>(redis).await.expect("Redis takes the user");
}

/// In how many lists the job is.
async fn places(redis: &mut MultiplexedConnection) -> Vec<&'static str> {
    let mut places = Vec::new();
    for list in ["active", "wait", "paused"] {
        let found: Vec<String> = ask(redis, &["LRANGE", &format!("bull:q:{list}"), "0", "-1"]).await;
        places.extend(found.iter().filter(|id| *id == "7").map(|_| list));
    }
    let score: Option<f64> = ask(redis, &["ZSCORE", "bull:q:prioritized", "7"]).await;
    places.extend(score.map(|_| "prioritized"));
    places
}

#[tokio::test]
async fn the_documented_permissions_suffice_and_no_missing_one_loses_a_job() {
    let server = RedisServer::start().await;
    let mut redis = server.connect().await;
    let mut left = 0;
    for (version, priority) in [(4, "0"), (4, "3"), (5, "0"), (5, "3")] {
        let place = if priority == "0" { Place::Wait } else { Place::Prioritized };
        strand(&mut redis, version, priority).await;
        allow(&mut redis, "all", "").await;
        let mut user = server.connect_as("&user=all&pass=pass").await;
        let held = held_by(&mut user, QUEUE, "i-1").await.expect("it may look");
        assert_eq!(held.len(), 1);
        let outcome = hand_back(&mut user, QUEUE, "i-1", &held[0], Way::Front).await.expect("it may hand back");
        assert_eq!(outcome, Outcome::HandedBack(place));

        let mut needed = 0;
        for (write, way) in WRITES.iter().flat_map(|write| [(*write, Way::Front), (*write, Way::Behind)]) {
            strand(&mut redis, version, priority).await;
            allow(&mut redis, write, write).await;
            let before = contents(&mut redis).await;
            let mut user = server.connect_as(&format!("&user={write}&pass=pass")).await;
            let answer = hand_back(&mut user, QUEUE, "i-1", &Held::reported("7", "i-1:uuid:0"), way).await;
            let places = places(&mut redis).await;
            assert_eq!(places.len(), 1, "BullMQ {version}, priority {priority}, without {write}: {answer:?}");
            if answer.as_ref().is_ok_and(|answer| *answer == Outcome::LeftToStallCheck) {
                assert!((write, way) == ("lpush", Way::Behind) && priority == "0", "without {write}: it is left");
                assert_eq!(before, contents(&mut redis).await, "without {write}: half of it was done");
                left += 1;
            }
            if let Err(error) = answer {
                needed += 1;
                // Redis 7.0 does not say NOPERM to a script.
                let advice = forbidden("redis.url", "bull", &error).unwrap_or_else(|| panic!("not told: {error}"));
                assert!(advice.contains("~bull:* ") && advice.contains(&format!("+{write}")), "{advice}");
                let untouched = places == ["active"];
                assert!(!untouched || before == contents(&mut redis).await, "without {write}: half of it was done");
            }
        }
        assert!(needed >= 10, "{needed} of the permissions were needed");
    }
    assert_eq!(left, 2, "who may not push to the end leaves a suspect to BullMQ");
}

/// At its memory limit Redis refuses what could make it grow; a hand-back does not.
#[tokio::test]
async fn a_full_redis_loses_no_job() {
    let server = RedisServer::start().await;
    let mut redis = server.connect().await;
    strand(&mut redis, 5, "0").await;
    ask::<()>(&mut redis, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    ask::<()>(&mut redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let answer = hand_back(&mut redis, QUEUE, "i-1", &Held::reported("7", "i-1:uuid:0"), Way::Front).await;
    assert_eq!(answer.expect("Redis answers"), Outcome::HandedBack(Place::Wait));
    assert_eq!(places(&mut redis).await, ["wait"]);
}
