//! A job that was running on instance after instance that ended without notice, with BullMQ's own workers: the first
//! end costs it nothing, the second a stall and its place, and from the third on BullMQ's stall check decides alone.

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use spillway_handback::{Held, Outcome, Place, Queue, Way, hand_back, held_by};

use crate::property::{INSTANCE, holder, number, text, texts};
use crate::world::{Driver, RedisServer, ask, contents};

/// The only job of the dead instance.
async fn only(redis: &mut MultiplexedConnection, queue: Queue<'_>) -> Held {
    let mut held = held_by(redis, queue, INSTANCE).await.expect("Redis answers");
    assert_eq!(held.len(), 1, "{held:?}");
    held.remove(0)
}

async fn goes_behind(version: u32, priority: u32) {
    let what = format!("version {version}, priority {priority}");
    let server = RedisServer::start().await;
    let mut driver = Driver::start(&server, version);
    let mut redis = server.connect().await;
    let jobs: Vec<Value> = (0..3).map(|_| json!({"priority": priority, "attempts": 3})).collect();
    let made = driver.ask("queue", json!({"jobs": jobs}));
    let (prefix, name) = (text(&made["prefix"]), text(&made["queue"]));
    let queue = Queue { prefix: &prefix, name: &name };
    let ids = texts(&made["waiting"]);
    let place = if priority == 0 || version == 3 { Place::Wait } else { Place::Prioritized };

    for (ends, expected) in [Way::FrontCounted, Way::Behind].into_iter().enumerate() {
        drop(holder(&server, version, queue, 1));
        let held = only(&mut redis, queue).await;
        assert_eq!((&held.id, held.sudden_ends as usize, held.stalls), (&ids[0], ends, 0), "{what}");
        assert_eq!(Way::of(&held, true), expected, "{what}");
        let outcome = hand_back(&mut redis, queue, INSTANCE, &held, expected).await.expect("Redis answers");
        assert_eq!(outcome, Outcome::HandedBack(place), "{what}");
        let again = hand_back(&mut redis, queue, INSTANCE, &held, expected).await.expect("Redis answers");
        assert_eq!(again, Outcome::NotActive, "{what}");
    }
    let events: Vec<(String, Vec<String>)> = ask(&mut redis, &["XRANGE", "bull:killed:events", "-", "+"]).await;
    let stalled = ["event", "stalled", "jobId", &ids[0]].map(str::to_owned);
    assert_eq!(events.iter().filter(|(_, fields)| *fields == stalled).count(), 1, "{what}: {events:?}");

    // Whoever comes next works on the others first.
    let drained = driver.tell("drain");
    let runs = drained["runs"].as_array().expect("a list");
    let ran: Vec<String> = runs.iter().map(|run| text(&run["id"])).collect();
    assert_eq!(ran, [&*ids[1], &ids[2], &ids[0]], "{what}");
    let counters = ["attemptsMade", "atm", "stc", "stalledCounter"].map(|name| number(&runs[2]["counters"][name]));
    // BullMQ 3 and 4 count an attempt at its start, and their stall check leaves it.
    assert_eq!(counters, if version < 5 { [2, 0, 0, 1] } else { [0, 0, 1, 0] }, "{what}");
}

#[tokio::test]
async fn a_suspect_goes_behind_the_others_and_stalls_once() {
    for version in [3, 4, 50, 512, 5, 6] {
        goes_behind(version, 0).await;
        goes_behind(version, 5).await;
    }
}

#[tokio::test]
async fn a_suspect_that_has_stalled_is_left_to_bullmq_as_it_is() {
    let server = RedisServer::start().await;
    let mut redis = server.connect().await;
    for stalls in ["stc", "stalledCounter"] {
        ask::<()>(&mut redis, &["FLUSHALL"]).await;
        ask::<()>(&mut redis, &["LPUSH", "bull:q:active", "7"]).await;
        ask::<()>(&mut redis, &["SET", "bull:q:7:lock", "i-1:uuid:0", "PX", "30000"]).await;
        let job = ["HSET", "bull:q:7", "ats", "2", "pb", "i-1", stalls, "1", "spillwaySuddenEnds", "1"];
        ask::<()>(&mut redis, &job).await;
        let queue = Queue { prefix: "bull", name: "q" };
        let held = only(&mut redis, queue).await;
        let way = Way::of(&held, true);
        assert_eq!((held.sudden_ends, held.stalls, way), (1, 1, Way::LeftToStallCheck));
        let before = contents(&mut redis).await;
        let outcome = hand_back(&mut redis, queue, INSTANCE, &held, way).await.expect("Redis answers");
        assert_eq!(outcome, Outcome::LeftToStallCheck);
        assert_eq!(contents(&mut redis).await, before);
        // An end that was announced is no fault of the job's.
        assert_eq!(Way::of(&held, false), Way::Front);
    }
}
