//! The record of a pool's past: it outlives the coordinator, is read by whoever leads next, and gives way to BullMQ.

use serde_json::{Value, json};
use spillway_tests::jobs;
use spillway_tests::process::text;
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::wait::TIMEOUT;

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
    // It writes what is left when it is told to end.
    let mut coordinator = stage.coordinator.take().expect("a coordinator");
    coordinator.process.signal(libc::SIGTERM);
    assert!(coordinator.process.end_within(TIMEOUT).await.success(), "{}", coordinator.process.tail());
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

    // The same by the command line: the flood as a story, and the plan of a time.
    let told = stage.coordinator().json(&["history"]);
    let flood = &told["floods"][0];
    assert_eq!(
        (&flood["launched"], &flood["jobs_finished"], &flood["most_desired"]),
        (&json!(1), &json!(6), &json!(1))
    );
    assert!(flood["ended_at"].is_string() && flood["wait_p95_seconds"].is_number(), "{flood}");
    let story = text(&stage.coordinator().command(&["history", "--since", "1h"]).stdout);
    assert!(
        story.contains("  wanted    1 instance from ") && story.contains("  worked    6 jobs finished; half"),
        "{story}"
    );
    assert!(!story.contains("failed"), "{story}");
    let wanted = flood["wanted_at"].as_str().expect("a time");
    let (at, instance) = (["explain", "--limit", "1", "--at", wanted], flood["decisions"][0]["instance"].as_str());
    let plan = &stage.coordinator().json(&at)[0];
    assert!(plan["demand"] == 6 || plan["notes"].as_array().is_some_and(|notes| !notes.is_empty()), "{plan}");
    let about = stage.coordinator().json(&["explain", "--instance", instance.expect("an id")]);
    let kinds: Vec<&Value> = about.as_array().into_iter().flatten().map(|plan| &plan["decisions"][0]["kind"]).collect();
    assert!(kinds.contains(&&json!("launch")) && kinds.contains(&&json!("terminate")), "{about}");
    let wrong = stage.coordinator().command(&["explain", "--at", "yesterday"]);
    assert!(text(&wrong.stderr).contains("--at: \"yesterday\" is no time: write "), "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_nearly_full_is_left_to_bullmq() {
    let stage = Stage::start(Setup::default()).await;
    stage.until("the record is written", || !prefix(&stage.redis).is_empty()).await;
    // Another application's, so that a part of it is room enough for jobs.
    let _: u64 = stage.redis.ask(&["SETRANGE", "another", "20000000", "x"]);
    let info: String = stage.redis.ask(&["INFO", "memory"]);
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"))
        .and_then(|text| text.trim().parse::<u64>().ok());
    let most = (used.expect("a number") * 100 / 93).to_string();
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

    // Its size is counted anew where somebody has spoilt it, and nothing is written twice for that.
    let (bytes, today) = (format!("{prefix}:bytes"), today.to_string());
    let _: u64 = stage.redis.ask(&["HSET", &bytes, &today, "abc"]);
    jobs::add(&stage.redis, 2, 0.1);
    stage
        .until("it is a number again", || stage.redis.ask::<String>(&["HGET", &bytes, &today]).parse::<u64>().is_ok())
        .await;
    let entries: Vec<(String, Vec<(String, String)>)> =
        stage.redis.ask(&["XRANGE", &format!("{prefix}:{today}"), "-", "+"]);
    let texts: Vec<&String> = entries.iter().flat_map(|(_, fields)| fields).map(|(_, text)| text).collect();
    let different: std::collections::BTreeSet<&&String> = texts.iter().collect();
    assert_eq!(different.len(), texts.len(), "{texts:?}");
    let streams: Vec<String> = stage.redis.ask(&["KEYS", &format!("{prefix}:[0-9]*")]);
    assert_eq!(streams.len(), 2, "{streams:?}");
}
