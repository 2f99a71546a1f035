//! The Redis users that `spillway acl` prints, with a real Redis, BullMQ and agent.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::FromRedisValue as _;
use spillway_tests::coordinator::{ServingStatus::Serving, spillway};
use spillway_tests::process::{output, text};
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{jobs, other_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WARNING: &str = "may write the ledger";
/// Of each job.
const SECONDS: f64 = 4.0;
/// Of each job that must not end by itself before it is handed back, however busy the host is.
const LONG: f64 = 12.0;

/// The users are in Redis; the URLs of BullMQ's, the ledger's, the agents' and the coordinator's.
fn apply(stage: &Stage) -> [String; 4] {
    let out = output(spillway(&stage.environment).arg("acl"));
    assert!(out.status.success(), "{}", text(&out.stderr));
    for command in text(&out.stdout).lines() {
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(stage.redis.ask::<String>(&words), "OK", "{command}");
    }
    let said = text(&out.stderr);
    let url = |user: &str| {
        let is_it = |word: &&str| word.starts_with(&format!("redis://{user}:"));
        said.split_whitespace().find(is_it).unwrap_or_else(|| panic!("no URL of {user}: {said}")).to_owned()
    };
    [url("bullmq"), url("spillway-ledger"), url("spillway-agent"), url("spillway")]
}

fn ask(url: &str, words: &[&str]) -> redis::RedisResult<redis::Value> {
    let mut connection = redis::Client::open(url).expect("a URL").get_connection().expect("it may connect");
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query(&mut connection)
}

fn assert_denied(url: &str, words: &[&str]) {
    let refused = ask(url, words).expect_err(&format!("it may not {words:?}")).to_string();
    // Redis 7.0 has words of its own to a script, and no code.
    let is_denied = ["ermission", "NOPERM", "can't access at least one", "can't run this command"]
        .iter()
        .any(|it| refused.contains(it));
    assert!(is_denied, "{words:?}: {refused}");
}

/// Each refusal since the last reset: of which command, key or channel.
fn denied(redis: &RedisServer) -> Vec<String> {
    let log: Vec<BTreeMap<String, redis::Value>> = redis.ask(&["ACL", "LOG"]);
    let object = |mut entry: BTreeMap<String, redis::Value>| String::from_redis_value(entry.remove("object")?).ok();
    log.into_iter().map(|entry| object(entry).expect("an entry has an object")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bullmq_and_spillway_work_with_the_users_of_acl_and_bullmqs_cannot_write_the_ledger() {
    let mut stage = Stage::without_coordinator(Setup::default()).await;
    stage.start_coordinator().await;
    stage.until("it warns of the default user", || stage.coordinator().process.log().contains(WARNING)).await;
    let mut coordinator = stage.coordinator.take().expect("it runs");
    coordinator.process.signal(libc::SIGTERM);
    coordinator.process.end_within(Duration::from_secs(20)).await;

    let [bullmq, ledger, _, coordinators] = apply(&stage);
    let state = "spillway:pool:spillway:state";
    for words in [
        &["SET", state, "x"][..],
        &["DEL", "spillway:pool:spillway:leader"],
        &["XADD", "spillway:pool:spillway:plans", "*", "plan", "{}"],
        &["RENAME", "bull:x", state],
        &["EVAL", "return redis.call('SET', 'spillway:pool:spillway:state', 'x')", "0"],
        &["FLUSHALL"],
        &["ACL", "SETUSER", "bullmq", "~*"],
    ] {
        assert_denied(&bullmq, words);
    }
    assert!(ask(&ledger, &["LLEN", "bull:transcode:wait"]).is_err(), "the ledger's user sees no queue");
    assert_eq!(stage.redis.ask::<String>(&["ACL", "LOG", "RESET"]), "OK");

    let password = |url: &str| url.split([':', '@']).nth(2).expect("a password").to_owned();
    let passwords = [&bullmq, &ledger, &coordinators].map(|url| password(url));
    stage.environment.insert("EC2_LAUNCH_TEMPLATE_ID".to_owned(), stage.template(&bullmq));
    stage.environment.insert("REDIS_URL".to_owned(), coordinators);
    stage.environment.insert("SPILLWAY_LEDGER_URL".to_owned(), ledger);
    // The test's worker has keys of its own.
    assert_eq!(stage.redis.ask::<String>(&["ACL", "SETUSER", "bullmq", "~spillway-demo:*"]), "OK");
    jobs::add_as(&bullmq, 6, SECONDS);
    stage.start_coordinator().await;
    let id = stage.until_ready(1).await.remove(0);
    // It ends in the middle of a job: the coordinator hands the job back as its own user.
    let is_its = |job: &jobs::Job| job.by.as_deref() == Some(&*id) && job.has_long_to_go(&stage.redis, SECONDS);
    let is_busy = || jobs::active(&stage.redis).iter().any(|job| is_its(&jobs::job(&stage.redis, job)));
    stage.until("it runs a job with most of it left", is_busy).await;
    assert!(other_client::call(&stage, &[("Action", "TerminateInstances"), ("InstanceId.1", &id)]).await);
    stage.until("all jobs complete", || jobs::completed(&stage.redis) == 6).await;
    let status = stage.coordinator().status();
    assert!(status["jobs_handed_back_total"].as_u64() > Some(0), "{status}");
    stage.until_zero().await;
    let logs = stage.coordinator().process.log();
    let (_, log) = logs.rsplit_once(" started grpc=").expect("it started twice");
    assert_eq!(log.lines().find(|line| line.contains(WARNING) || line.contains("NOPERM")), None);
    assert!(passwords.iter().all(|password| !logs.contains(password)), "a password is in the log");
    assert_eq!(stage.coordinator().health("").await, Serving);
    assert_eq!(denied(&stage.redis), ["set"], "only whether the coordinator's user for queues may write the ledger");
}

/// Whatever a program of this user's would like to do to queues and ledger.
fn assert_can_only_look_and_hand_back(url: &str) {
    for words in [
        &["DEL", "bull:video-processing:1"][..],
        &["DEL", "bull:video-processing:wait"],
        &["UNLINK", "bull:video-processing:wait"],
        &["LREM", "bull:video-processing:wait", "0", "1"],
        &["LPOP", "bull:video-processing:wait"],
        &["RPUSH", "bull:video-processing:active", "1"],
        &["LPUSH", "bull:video-processing:wait", "1"],
        &["ZADD", "bull:video-processing:completed", "1", "1"],
        &["ZREM", "bull:video-processing:prioritized", "1"],
        &["SET", "bull:video-processing:1:lock", "mine"],
        &["PEXPIRE", "bull:video-processing:1", "1"],
        &["HSET", "bull:video-processing:1", "data", "{}"],
        &["RENAME", "bull:video-processing:wait", "bull:x"],
        &["GET", "spillway:pool:spillway:state"],
        &["SET", "spillway:pool:spillway:state", "x"],
        &["EVAL", "return redis.call('DEL', KEYS[1])", "1", "bull:video-processing:wait"],
        &["EVAL", "return redis.call('SET', 'spillway:pool:spillway:state', 'x')", "0"],
        &["KEYS", "*"],
        &["FLUSHALL"],
        &["CONFIG", "GET", "*"],
        &["ACL", "LIST"],
        &["CLIENT", "KILL", "TYPE", "normal"],
        &["SHUTDOWN"],
    ] {
        assert_denied(url, words);
    }
}

/// With the agent's password and Redis' port, as a process that has taken over an instance's agent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_with_its_own_user_works_and_a_hostile_one_can_look_and_hand_back_and_no_more() {
    let secrets = tempfile::tempdir().expect("a directory");
    let file = secrets.path().join("redis-url");
    let keys: &'static str = Box::leak(format!("redis_url_file = {file:?}\n").into_boxed_str());
    let mut stage = Stage::without_coordinator(Setup { agent_keys: keys, ..Setup::default() }).await;
    let [_, _, agent, coordinators] = apply(&stage);
    std::fs::write(&file, format!("{agent}\n")).expect("written");
    jobs::add(&stage.redis, 6, LONG);
    for user in [&agent, &coordinators] {
        assert_can_only_look_and_hand_back(user);
    }
    assert_eq!(stage.redis.ask::<u64>(&["LLEN", "bull:video-processing:wait"]), 6, "nothing was touched");
    assert_eq!(stage.redis.ask::<String>(&["ACL", "LOG", "RESET"]), "OK");
    stage.start_coordinator().await;
    let id = stage.until_ready(1).await.remove(0);
    // Interrupted with less notice than the agent's margin: it hands the job back at once, as its own user.
    let is_its = |job: &jobs::Job| job.by.as_deref() == Some(&*id) && job.has_long_to_go(&stage.redis, LONG);
    let is_busy = || jobs::active(&stage.redis).iter().any(|job| is_its(&jobs::job(&stage.redis, job)));
    stage.until("it runs a job with most of it left", is_busy).await;
    stage.emulator().interrupt(&id, Duration::from_secs(10)).expect("an interruption");
    stage.until("all jobs complete", || jobs::completed(&stage.redis) == 6).await;
    stage.until_zero().await;
    assert_eq!(denied(&stage.redis), Vec::<String>::new(), "it lacks nothing that it needs");
    let status = stage.coordinator().status();
    assert!(status["jobs_handed_back_total"].as_u64() > Some(0), "{status}");
    assert!(!stage.coordinator().process.log().contains(&agent), "its URL is in no log");
}

/// A Redis of before selectors is not to be had here: one that says so is enough, since `acl` asks nothing else of it.
#[tokio::test]
async fn on_redis_6_there_are_two_users_and_what_remains_is_said() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("redis://{}", listener.local_addr().expect("an address"));
    let old = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut request = Vec::new();
            while client.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
                let commands = text(&request).to_uppercase();
                let count = |word: &str| commands.matches(word).count();
                let mut answer = "+OK\r\n".repeat(count("SETINFO"));
                if count("\r\nINFO\r\n") > 0 {
                    answer += "$22\r\nredis_version:6.2.14\r\n\r\n";
                }
                request.clear();
                client.write_all(answer.as_bytes()).await.expect("written");
            }
        }
    });
    let environment =
        BTreeMap::from([("REDIS_URL".to_owned(), url), ("QUEUE_NAMES".to_owned(), "video-processing".to_owned())]);
    let out = tokio::task::spawn_blocking(move || output(spillway(&environment).arg("acl"))).await.expect("it ends");
    old.abort();
    let (commands, said) = (text(&out.stdout), text(&out.stderr));
    let users: Vec<&str> = commands.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(users, ["bullmq", "spillway-ledger"], "{said}");
    for words in ["this Redis is version 6.2.14", "may add, change and delete any job", "then run this again"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!said.contains("redis_url_file"), "{said}");
}
