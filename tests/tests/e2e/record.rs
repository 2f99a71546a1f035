//! The record of a pool's past: it outlives the coordinator, is read by whoever leads next, and gives way to BullMQ.

use serde_json::Value;
use spillway_tests::jobs;
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::{Setup, Stage};

const DAY_MS: u64 = 86_400_000;

async fn history(stage: &Stage) -> Value {
    let url = format!("http://127.0.0.1:{}/api/v1/history?buckets=60", stage.coordinator().http_port);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = http.get(url).send().await.expect("an answer");
    answer.json().await.expect("JSON")
}

fn kinds(history: &Value) -> Vec<String> {
    let decisions = history["decisions"].as_array().into_iter().flatten();
    decisions.filter_map(|it| it["kind"].as_str().map(str::to_owned)).collect()
}

/// The pool's record: the key before `:DAY`.
fn prefix(redis: &RedisServer) -> String {
    let found: Vec<String> = redis.ask(&["KEYS", "*:record:bytes"]);
    found.first().map(|key| key.trim_end_matches(":bytes").to_owned()).unwrap_or_default()
}

fn today(redis: &RedisServer) -> u64 {
    jobs::now_ms(redis) / DAY_MS
}

fn entries(redis: &RedisServer) -> u64 {
    redis.ask(&["XLEN", &format!("{}:{}", prefix(redis), today(redis))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_coordinator_knows_what_was() {
    let mut stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 6, 0.5);
    stage.until_ready(1).await;
    stage.until_zero().await;
    stage.until("the record is written", || entries(&stage.redis) > 5).await;
    let expires: i64 = stage.redis.ask(&["PTTL", &format!("{}:{}", prefix(&stage.redis), today(&stage.redis))]);
    assert!(expires > 0, "a day that nobody deletes goes by itself");
    let before = history(&stage).await;
    // Until the last of it is there: it is written behind the decisions.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    stage.coordinator = None;
    stage.start_coordinator().await;
    stage.until_async("it is read", async || kinds(&history(&stage).await) == kinds(&before)).await;
    let after = history(&stage).await;
    assert!(kinds(&after).contains(&"terminate".to_owned()), "{after}");
    for column in ["arrived", "finished"] {
        let sum = |of: &Value| of[column].as_array().into_iter().flatten().filter_map(Value::as_u64).sum::<u64>();
        assert_eq!((sum(&after), sum(&before)), (6, 6), "{column}");
    }
    let (was, is) = (&before["lanes"][0], &after["lanes"][0]);
    assert_eq!((&was["phases"], &was["steps"], &was["ended"]), (&is["phases"], &is["steps"], &is["ended"]));
    assert!(is["ended"].as_str().is_some_and(|why| why.contains("idle")), "{is}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_nearly_full_is_left_to_bullmq() {
    let stage = Stage::start(Setup::default()).await;
    stage.until("the record is written", || !prefix(&stage.redis).is_empty()).await;
    let info: String = stage.redis.ask(&["INFO", "memory"]);
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"))
        .and_then(|text| text.trim().parse::<u64>().ok());
    // Room for jobs, and 95 % used.
    let most = (used.expect("a number") * 100 / 95).to_string();
    let _: String = stage.redis.ask(&["CONFIG", "SET", "maxmemory", &most]);
    let written = entries(&stage.redis);
    jobs::add(&stage.redis, 6, 0.5);
    stage
        .until("it launches all the same", || {
            stage.coordinator().explained("6 jobs ready to run") || stage.billing() == 1
        })
        .await;
    stage.until_ready(1).await;
    assert_eq!(entries(&stage.redis), written, "nothing of it was written");
    assert!(kinds(&history(&stage).await).contains(&"launch".to_owned()), "what was decided is known in memory");
    let log = stage.coordinator().process.tail();
    assert!(log.contains("the record is not written"), "{log}");
    let _: String = stage.redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    stage.until("it is written once there is room", || entries(&stage.redis) > written).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_that_are_too_old_or_too_many_go() {
    let environment = vec![("SPILLWAY_LEDGER_RECORD_MEGABYTES", "1".to_owned())];
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    stage.until("the record is written", || !prefix(&stage.redis).is_empty()).await;
    let (prefix, today) = (prefix(&stage.redis), today(&stage.redis));
    for (ago, bytes) in [(40, 10), (3, 900_000), (2, 900_000)] {
        let (day, bytes) = ((today - ago).to_string(), bytes.to_string());
        let _: String = stage.redis.ask(&["XADD", &format!("{prefix}:{day}"), "*", "f", "{}"]);
        let _: u64 = stage.redis.ask(&["HSET", &format!("{prefix}:bytes"), &day, &bytes]);
    }
    jobs::add(&stage.redis, 1, 0.1);
    let days = || {
        let mut days: Vec<u64> = stage
            .redis
            .ask::<Vec<String>>(&["HKEYS", &format!("{prefix}:bytes")])
            .iter()
            .filter_map(|day| Some(today - day.parse::<u64>().ok()?))
            .collect();
        days.sort_unstable();
        days
    };
    stage.until("one of the big ones is left", || days() == [0, 2]).await;
    let streams: Vec<String> = stage.redis.ask(&["KEYS", &format!("{prefix}:[0-9]*")]);
    assert_eq!(streams.len(), 2, "{streams:?}");
}
