//! `spillway queues` needs only REDIS_URL and QUEUE_NAMES, whatever the connection to Redis; it prints JSON too; errors
//! come with the fix and an exit status, and no output shows a password.

use std::path::Path;

use serde_json::{Value, json};
use spillway_tests::coordinator::{Environment, spillway};
use spillway_tests::process::{command, output, run, text};
use spillway_tests::redis_server::RedisServer;
use spillway_tests::stage::directory;
use spillway_tests::{QUEUE, jobs, ports, programs};

/// As the issue lists them.
const KEYS: [&str; 16] = [
    "queue",
    "waiting",
    "prioritized",
    "delayed",
    "delayed_due",
    "active",
    "waiting_children",
    "completed",
    "failed",
    "paused",
    "concurrency",
    "demand",
    "oldest_age_seconds",
    "finished_per_minute",
    "mean_duration_seconds",
    "workers",
];

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn reports(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }
}

fn queues(variables: &[(&str, &str)], arguments: &[&str]) -> Said {
    let environment: Environment =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let out = output(spillway(&environment).arg("queues").args(arguments));
    Said { code: out.status.code(), out: text(&out.stdout), err: text(&out.stderr) }
}

/// The waiting jobs that it finds at this URL.
fn waiting_at(url: &str, more: &[(&str, &str)]) -> Value {
    let said = queues(&[&[("REDIS_URL", url), ("QUEUE_NAMES", QUEUE)], more].concat(), &["--json"]);
    assert_eq!(said.code, Some(0), "{url}: {}", said.err);
    said.reports()[0]["waiting"].clone()
}

#[test]
fn it_prints_every_key_in_order_and_null_where_it_does_not_know() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    jobs::add(&redis, 3, 1.0);
    let (url, names) = (redis.url(), QUEUE);
    let said = queues(&[("REDIS_URL", &url), ("QUEUE_NAMES", names)], &["--json"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let places: Vec<Option<usize>> = KEYS.iter().map(|key| said.out.find(&format!("\"{key}\":"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", said.out);
    let reports = said.reports();
    let report = &reports[0];
    assert_eq!((reports.as_array().map(Vec::len), report.as_object().map(|it| it.len())), (Some(1), Some(16)));
    for (key, value) in [
        ("queue", json!(QUEUE)),
        ("waiting", json!(3)),
        ("demand", json!(3)),
        ("paused", json!(false)),
        ("concurrency", json!(null)),
        ("finished_per_minute", json!(null)),
        ("mean_duration_seconds", json!(null)),
        ("workers", json!(0)),
    ] {
        assert_eq!(report[key], value, "{key} in {report}");
    }
    assert!(report["oldest_age_seconds"].as_f64() > Some(0.0), "{report}");

    let words = queues(&[("REDIS_URL", &url), ("QUEUE_NAMES", names)], &[]);
    assert!(words.out.starts_with(&format!("{QUEUE}\n  demand 3 = waiting 3 ")), "{}", words.out);
}

#[test]
fn another_prefix_and_several_queues() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    for (queue, count) in [("one", "1"), ("two", "2")] {
        let mut add = command(programs::program("node"));
        add.arg(programs::script("add.mjs")).args(["6", queue, count, "1"]);
        run(add.env("REDIS_URL", redis.url()).env("QUEUE_PREFIX", "ours"));
    }
    let url = redis.url();
    let variables = [("REDIS_URL", url.as_str()), ("QUEUE_NAMES", " two, one "), ("SPILLWAY_POOL_PREFIX", "ours")];
    let reports = queues(&variables, &["--json"]).reports();
    let found: Vec<_> = reports.as_array().into_iter().flatten().map(|it| (&it["queue"], &it["waiting"])).collect();
    assert_eq!(found, [(&json!("two"), &json!(2)), (&json!("one"), &json!(1))]);
}

#[test]
fn a_queue_that_never_existed_fails_and_the_others_are_printed_all_the_same() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    jobs::add(&redis, 1, 1.0);
    let names = format!("{QUEUE},nowhere");
    let said = queues(&[("REDIS_URL", &redis.url()), ("QUEUE_NAMES", &names)], &["--json"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.reports().as_array().map(Vec::len), Some(1), "{}", said.out);
    assert!(said.err.contains("queue \"nowhere\" has never existed in Redis"), "{}", said.err);
    assert!(said.err.contains("under the prefix \"bull\""), "{}", said.err);
}

#[test]
fn what_is_wrong_is_said_with_the_exit_status() {
    let nobody = format!("redis://127.0.0.1:{}", ports::free());
    for (variables, code, words) in [
        (vec![], 2, "redis.url is not set: set REDIS_URL"),
        (vec![("REDIS_URL", nobody.as_str())], 2, "pool.queues is not set: set QUEUE_NAMES"),
        (vec![("REDIS_URL", nobody.as_str()), ("QUEUE_NAMES", "a:b")], 2, "\"a:b\" is not a name of a BullMQ queue"),
        (vec![("REDIS_URL", nobody.as_str()), ("QUEUE_NAMES", "q")], 1, "does not answer"),
        (
            vec![("REDIS_URL", "http://127.0.0.1"), ("QUEUE_NAMES", "q")],
            2,
            "environment: REDIS_URL: is not a Redis URL",
        ),
    ] {
        let said = queues(&variables, &["--json"]);
        assert_eq!(said.code, Some(code), "{variables:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(words), "{variables:?}: {}", said.err);
    }
    assert_eq!(queues(&[], &["--jsn"]).code, Some(2));
}

#[test]
fn a_unix_socket_is_a_way_to_redis_too() {
    let directory = directory();
    let socket = directory.path().join("redis.sock").display().to_string();
    let redis = RedisServer::with(directory.path(), &["--unixsocket", &socket]);
    jobs::add(&redis, 4, 1.0);
    for url in [format!("redis+unix://{socket}"), format!("unix://{socket}"), socket] {
        assert_eq!(waiting_at(&url, &[]), 4, "{url}");
    }
}

#[test]
fn a_password_is_used_and_never_shown() {
    const SECRET: &str = "s3cret/with:signs@";
    const WRITTEN: &str = "s3cret%2Fwith%3Asigns%40";
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    jobs::add(&redis, 2, 1.0);
    redis.ask::<()>(&["CONFIG", "SET", "requirepass", SECRET]);
    let port = redis.port();
    assert_eq!(waiting_at(&format!("redis://:{WRITTEN}@127.0.0.1:{port}"), &[]), 2);
    for url in [
        format!("redis://:{WRITTEN}wrong@127.0.0.1:{port}"),
        format!("redis://:{WRITTEN}@127.0.0.1:{}", ports::free()),
        format!("http://:{WRITTEN}@127.0.0.1:{port}"),
        format!("redis://:{WRITTEN}@127.0.0.1:port"),
    ] {
        let said = queues(&[("REDIS_URL", &url), ("QUEUE_NAMES", QUEUE), ("SPILLWAY_LOG", "trace")], &["--json"]);
        assert_ne!(said.code, Some(0), "{url}: {}", said.out);
        let all = said.out + &said.err;
        assert!(!all.contains("s3cret"), "{url}: the password shows: {all}");
    }
    let without = queues(&[("REDIS_URL", &redis.url()), ("QUEUE_NAMES", QUEUE)], &["--json"]);
    assert_eq!(without.code, Some(1));
    assert!(without.err.contains("returned an error") && without.err.contains("NOAUTH"), "{}", without.err);
}

/// The permissions that `coordinator/deploy/README.md` gives an observer are enough, and are all that it uses.
#[test]
fn an_observers_permissions_are_enough() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    jobs::add(&redis, 5, 1.0);
    let rules = ["-@all", "%R~bull:*", "+@read", "+time", "+ping", "+info", "+client|list"];
    redis.ask::<()>(&[&["ACL", "SETUSER", "observer", "reset", "on", ">letmein"], rules.as_slice()].concat());
    let port = redis.port();
    let url = format!("redis://observer:letmein@127.0.0.1:{port}");
    assert_eq!(waiting_at(&url, &[]), 5);
    let said = queues(&[("REDIS_URL", &url), ("QUEUE_NAMES", QUEUE)], &["--json"]).reports();
    assert_eq!(said[0]["workers"], 0, "CLIENT LIST is allowed: {said}");
    let denied: Vec<Vec<redis::Value>> = redis.ask(&["ACL", "LOG"]);
    // Clients introduce themselves with a command that Redis 7.0 does not have.
    assert!(denied.is_empty(), "it used commands that are not allowed: {denied:?}");
    let elsewhere = [("REDIS_URL", url.as_str()), ("QUEUE_NAMES", QUEUE), ("SPILLWAY_POOL_PREFIX", "other")];
    assert_eq!(queues(&elsewhere, &["--json"]).code, Some(1), "other keys are not its business");
}

#[test]
fn tls_works_with_a_certificate_of_ones_own_and_not_without_trust() {
    let directory = directory();
    let path = |name: &str| directory.path().join(name).display().to_string();
    certificates(directory.path());
    let tls_port = ports::free();
    let redis = RedisServer::with(
        directory.path(),
        &[
            "--tls-port",
            &tls_port.to_string(),
            "--tls-cert-file",
            &path("server.pem"),
            "--tls-key-file",
            &path("server.key"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
            "--tls-auth-clients",
            "no",
        ],
    );
    jobs::add(&redis, 3, 1.0);
    let url = format!("rediss://127.0.0.1:{tls_port}");
    assert_eq!(waiting_at(&url, &[("SSL_CERT_FILE", &path("ca.pem"))]), 3);
    let said = queues(&[("REDIS_URL", &url), ("QUEUE_NAMES", QUEUE)], &["--json"]);
    assert_eq!(said.code, Some(1), "the certificate is not trusted: {}", said.out);
    assert!(said.err.to_lowercase().contains("certificate"), "{}", said.err);
}

/// An authority of our own, and a certificate of its for 127.0.0.1.
fn certificates(directory: &Path) {
    let openssl = |arguments: &str| {
        let mut openssl = command(programs::program("openssl"));
        run(openssl.args(arguments.split(' ')).current_dir(directory));
    };
    std::fs::write(directory.join("san"), "subjectAltName=IP:127.0.0.1\n").expect("a file");
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ours -keyout ca.key -out ca.pem");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=redis -keyout server.key -out server.csr");
    openssl("x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile san -out server.pem");
}
