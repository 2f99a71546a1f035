//! What the observer reads is what BullMQ itself counts: in random states of queues of BullMQ 4, 5 and 6, made by the
//! real packages. `SEED=N` replays one state of each version; without it the seeds are fixed ones and a fresh one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;

use serde_json::{Value, json};
use spillway_brain::Work;
use spillway_coordinator::queue::{QueueObserver, QueueReport};
use spillway_coordinator::redis_client::Redis;
use spillway_tests::driver::Driver;
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::directory;

/// What both sides say.
const COUNTED: [&str; 10] = [
    "waiting",
    "prioritized",
    "delayed",
    "delayed_due",
    "active",
    "completed",
    "failed",
    "waiting_children",
    "paused",
    "concurrency",
];
const STATES: u32 = 400;

fn observer(redis: &RedisServer, prefix: &str, queues: &[&str]) -> QueueObserver {
    let redis = Redis::new("test", &redis.url()).expect("a URL");
    QueueObserver::new(redis, prefix, &queues.iter().map(|&queue| queue.to_owned()).collect::<Vec<_>>())
}

/// The one queue's report.
async fn report(observer: &mut QueueObserver) -> QueueReport {
    let mut reports = observer.report().await.expect("Redis answers");
    reports.remove(0).expect("the queue exists")
}

/// All but the steps' account.
fn counted(said: &Value) -> BTreeMap<&'static str, Value> {
    COUNTED.into_iter().map(|key| (key, said[key].clone())).collect()
}

fn written(report: &QueueReport) -> Value {
    serde_json::to_value(report).expect("JSON")
}

/// The seeds of this run; the last is a fresh one.
fn seeds() -> Vec<u32> {
    if let Ok(seed) = std::env::var("SEED") {
        return vec![seed.parse().expect("SEED is a number")];
    }
    let fresh = fresh_seed();
    println!("the fresh seed is {fresh}");
    (1..STATES).chain([fresh]).collect()
}

/// From the kernel: no two runs try the same state.
fn fresh_seed() -> u32 {
    let mut bytes = [0; 4];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("/dev/urandom");
    u32::from_le_bytes(bytes)
}

/// BullMQ's getters remove a marker of version 4 that they find; the driver puts it back before the observer looks. The
/// observer itself writes nothing.
async fn agree_on_every_seed(version: u32) {
    let directory = directory();
    let redis = RedisServer::with(directory.path(), &["--enable-debug-command", "local"]);
    let mut driver = Driver::start(&redis.url());
    let mut reading = observer(&redis, "bull", &["counted"]);
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    let all = seeds();
    for &seed in &all {
        let theirs = driver.random(seed, version, "counted", "bull");
        let before: String = redis.ask(&["DEBUG", "DIGEST"]);
        let ours = report(&mut reading).await;
        let work = work(&mut reading).await;
        let after: String = redis.ask(&["DEBUG", "DIGEST"]);
        assert_eq!(before, after, "the observer wrote something: version {version}, SEED={seed}");
        let (ours, theirs_counted) = (written(&ours), counted(&theirs));
        assert_eq!(counted(&ours), theirs_counted, "version {version}, SEED={seed}, steps {}", theirs["steps"]);
        for key in COUNTED {
            let is_something = !matches!(&theirs[key], Value::Null | Value::Bool(false)) && theirs[key] != json!(0);
            *seen.entry(key).or_default() += u32::from(is_something);
        }
        *seen.entry("marker").or_default() += u32::from(theirs["marker"] == json!(true));
        assert_demand(&redis, &ours, version, seed);
        assert_work(&redis, &ours, &work, (version, seed));
    }
    println!("states of version {version} in which there was any: {seen:?}");
    if all.len() > 1 {
        // What never occurred was not compared.
        for key in COUNTED.into_iter().filter(|&key| key != "concurrency" || version > 4) {
            assert!(seen[key] >= 5, "{key} was too rare: {seen:?}");
        }
        assert!(version > 4 || seen["marker"] > 0, "no state had a marker: {seen:?}");
    }
}

/// The one queue's jobs one by one.
async fn work(observer: &mut QueueObserver) -> Work {
    let (_, counts) = observer.observe().await.expect("the queue exists");
    observer.work(&counts, &BTreeSet::new()).await.expect("Redis answers").expect("few jobs run")
}

/// Each job that could start and each that runs is in it once, and what ended and is kept tells how long it took.
fn assert_work(redis: &RedisServer, ours: &Value, work: &Work, of: (u32, u32)) {
    let count = |key: &str| ours[key].as_u64().expect("a number");
    let waiting: u64 = work.waiting.values().flatten().map(|it| it.jobs).sum();
    let could_start = count("waiting") + count("prioritized") + count("delayed_due");
    let expected = if ours["paused"] == json!(true) { 0 } else { could_start };
    assert_eq!(waiting, expected, "version and SEED {of:?}: {work:?} {ours}");
    let active: Vec<String> = redis.ask(&["LRANGE", &key("active"), "0", "-1"]);
    let known = active.iter().filter(|id| redis.ask::<bool>(&["HEXISTS", &key(id), "name"])).count();
    assert_eq!(work.running.len(), known, "version and SEED {of:?}: {work:?}");
}

fn assert_demand(redis: &RedisServer, ours: &Value, version: u32, seed: u32) {
    let of = |key: &str| ours[key].as_u64().expect("a number");
    let could_start = of("waiting") + of("prioritized") + of("delayed_due");
    let demand = if ours["paused"] == json!(true) { 0 } else { could_start.min(allowed(redis)) };
    assert_eq!(of("demand"), demand, "version {version}, SEED={seed}: {ours}");
    // BullMQ can leave an id in `wait` whose job was removed: it counts, and its age is unknown.
    let has_job = || {
        let lists = ["wait", "paused"].map(|list| redis.ask::<Vec<String>>(&["LRANGE", &key(list), "0", "-1"]));
        let prioritized: Vec<String> = redis.ask(&["ZRANGE", &key("prioritized"), "0", "-1"]);
        lists.iter().flatten().chain(&prioritized).any(|id| redis.ask::<bool>(&["EXISTS", &key(id)]))
    };
    let age = &ours["oldest_age_seconds"];
    assert!(could_start > 0 || age.is_null(), "version {version}, SEED={seed}: {ours}");
    assert!(could_start == 0 || !age.is_null() || !has_job(), "version {version}, SEED={seed}: {ours}");
}

/// What the rate limit lets start, where one is set: a limit without a number (`rateLimit(30_000)`) nothing.
fn allowed(redis: &RedisServer) -> u64 {
    let (started, left): (Option<u64>, i64) =
        (redis.ask(&["GET", &key("limiter")]), redis.ask(&["PTTL", &key("limiter")]));
    let max: Option<u64> = redis.ask(&["HGET", &key("meta"), "max"]);
    let Some(started) = started.filter(|_| left > 0) else { return u64::MAX };
    max.map_or(0, |max| max.saturating_sub(started))
}

fn key(part: &str) -> String {
    format!("bull:counted:{part}")
}

#[tokio::test]
async fn bullmq_4_counts_the_same() {
    agree_on_every_seed(4).await;
}

#[tokio::test]
async fn bullmq_5_counts_the_same() {
    agree_on_every_seed(5).await;
}

#[tokio::test]
async fn bullmq_6_counts_the_same() {
    agree_on_every_seed(6).await;
}

/// Another prefix, several queues of several versions in one pipeline: each report is its own queue's.
#[tokio::test]
async fn several_queues_under_another_prefix_are_told_apart() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    let mut driver = Driver::start(&redis.url());
    let queues = ["four", "five", "six"];
    let mut reading = observer(&redis, "{our}:prefix", &queues);
    // A queue of the same name under the usual prefix must not be mistaken for it.
    driver.random(999, 5, "five", "bull");
    let mut different = 0;
    for seed in 1..=12 {
        let theirs: Vec<_> = queues
            .iter()
            .zip([4, 5, 6])
            .map(|(queue, version)| counted(&driver.random(seed, version, queue, "{our}:prefix")))
            .collect();
        let reports = reading.report().await.expect("Redis answers");
        let reports: Vec<QueueReport> = reports.into_iter().map(|report| report.expect("it exists")).collect();
        assert_eq!(reports.iter().map(|report| report.queue.as_str()).collect::<Vec<_>>(), queues);
        let ours: Vec<Value> = reports.iter().map(written).collect();
        assert_eq!(ours.iter().map(counted).collect::<Vec<_>>(), theirs, "seed {seed}");
        different += u32::from(theirs[0] != theirs[1] && theirs[1] != theirs[2]);
    }
    assert!(different >= 6, "the queues must differ, so that a mix-up shows");
}

/// Unknown is not zero: a queue that never existed is an error, and one that was emptied is not.
#[tokio::test]
async fn a_queue_that_never_existed_is_an_error_that_says_so() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    let mut driver = Driver::start(&redis.url());
    driver.random(3, 5, "there", "bull");
    driver.delete("never", "bull");
    let mut reading = observer(&redis, "bull", &["there", "never"]);
    let reports = reading.report().await.expect("Redis answers");
    assert!(reports[0].is_ok(), "{reports:?}");
    let problem = reports[1].as_ref().expect_err("it never existed").to_string();
    assert!(problem.contains("queue \"never\" has never existed in Redis"), "{problem}");
    assert!(problem.contains("prefix \"bull\"") && problem.contains(&redis.port().to_string()), "{problem}");
    // Whether it ever existed the ledger knows, not Redis: an observation says that it is missing, never that it is
    // empty.
    let seen = reading.observe().await.expect("Redis answers").0.queues;
    let missing: Vec<Option<&str>> = seen.iter().map(|queue| queue.missing.as_deref()).collect();
    assert_eq!(missing, [None, Some(problem.as_str())]);

    let mut elsewhere = observer(&redis, "other", &["there"]);
    assert!(elsewhere.report().await.expect("Redis answers")[0].is_err(), "the prefix is part of the name");

    // What BullMQ leaves of a queue without jobs.
    let ids: Vec<String> = redis.ask(&["KEYS", "bull:there:*"]);
    for key in ids.iter().filter(|key| !key.ends_with(":meta")) {
        redis.ask::<u64>(&["DEL", key]);
    }
    let mut emptied = observer(&redis, "bull", &["there"]);
    let report = report(&mut emptied).await;
    assert_eq!((report.waiting, report.demand), (0, 0));
}

/// What only decorates a report never takes its counts away: times as Python writes them, limits that are none, and
/// worse.
#[tokio::test]
async fn odd_times_and_limits_leave_the_counts_as_they_are() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    let mut driver = Driver::start(&redis.url());
    let id = driver.fractions("odd", "bull");
    let mut reading = observer(&redis, "bull", &["odd"]);
    let first = report(&mut reading).await;
    assert_eq!((first.waiting, first.demand, first.concurrency), (1, 1, None));
    let age = written(&first)["oldest_age_seconds"].as_f64().expect("an age");
    assert!((60.0..600.0).contains(&age), "{age}");

    let job = format!("bull:odd:{id}");
    for (key, field, value, is_age_known) in [
        (job.as_str(), "opts", "{\"delay\":\"soon\"}", true),
        (&job, "opts", "[", true),
        (&job, "timestamp", "1e999", false),
        (&job, "timestamp", "yesterday", false),
        (&job, "timestamp", "-1", false),
        (&job, "timestamp", "", false),
        ("bull:odd:meta", "concurrency", "many", false),
        ("bull:odd:meta", "concurrency", "", false),
    ] {
        redis.ask::<u64>(&["HSET", key, field, value]);
        let odd = report(&mut reading).await;
        assert_eq!((odd.waiting, odd.demand, odd.concurrency), (1, 1, None), "{key} {field} {value:?}");
        assert_eq!(!written(&odd)["oldest_age_seconds"].is_null(), is_age_known, "{key} {field} {value:?}");
    }
    // Of another kind altogether; what is no list or set of the queue's own counts is no count either.
    for key in [job.as_str(), "bull:odd:id", "bull:odd:completed", "bull:odd:failed", "bull:odd:waiting-children"] {
        redis.ask::<u64>(&["DEL", key]);
        redis.ask::<u64>(&["SADD", key, "x"]);
        let odd = report(&mut reading).await;
        assert_eq!((odd.waiting, odd.demand), (1, 1), "{key}");
    }
    // A count is never guessed: the queue and the key are named.
    redis.ask::<u64>(&["DEL", "bull:odd:wait"]);
    redis.ask::<u64>(&["SADD", "bull:odd:wait", "x"]);
    let problem = reading.report().await.expect("Redis answers").remove(0).expect_err("no list").to_string();
    assert!(problem.contains("queue \"odd\"") && problem.contains("bull:odd:wait"), "{problem}");
}

/// The producer's ioredis and the observer read one and the same URL.
#[tokio::test]
async fn a_url_leads_to_the_database_that_ioredis_takes_from_it() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    for query in ["?db=1", "/2", "/?db=3", "/4?db=5&family=4"] {
        let url = format!("{}{query}", redis.url());
        let mut driver = Driver::start(&url);
        let client = Redis::new("test", &url).expect("a URL");
        let mut reading = QueueObserver::new(client, "bull", &["counted".to_owned()]);
        let mut jobs = 0;
        for seed in 1..=4 {
            let theirs = counted(&driver.random(seed, 5, "counted", "bull"));
            let ours = report(&mut reading).await;
            jobs += ours.waiting + ours.delayed + ours.active;
            assert_eq!(counted(&written(&ours)), theirs, "{query}, seed {seed}");
        }
        assert!(jobs > 0, "{query}: nothing was compared");
        assert!(!redis.ask::<bool>(&["EXISTS", "bull:counted:meta"]), "{query}: database 0");
    }
}
