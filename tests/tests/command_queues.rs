//! `spillway queues`: REDIS_URL and QUEUE_NAMES are enough, whatever kind of Redis that is; a queue that never existed
//! is an error; a password is never shown.

use std::fs;
use std::process::Output;

use serde_json::Value;
use spillway_tests::coordinator::{Environment, spillway};
use spillway_tests::process::{command, output, run, text};
use spillway_tests::redis_server::RedisServer;
use spillway_tests::world::directory;
use spillway_tests::{QUEUE, jobs, ports, programs};

const KEYS: &str = "queue, waiting, prioritized, delayed, delayed_due, active, waiting_children, completed, failed, \
                    paused, concurrency, demand, oldest_age_seconds, finished_per_minute, mean_duration_seconds, workers";

fn queues(redis_url: &str, names: &str, more: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut environment = Environment::new();
    environment.insert("REDIS_URL".to_owned(), redis_url.to_owned());
    environment.insert("QUEUE_NAMES".to_owned(), names.to_owned());
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    output(spillway(&environment).arg("queues").args(arguments))
}

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&out.stdout)))
}

#[test]
fn it_prints_every_key_in_order_and_null_where_nothing_is_known() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    jobs::add(&redis, 3, 1.0);
    let out = queues(&redis.url(), QUEUE, &[], &["--json"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let said = text(&out.stdout);
    let mut from = 0;
    for key in KEYS.split(", ") {
        let place = said[from..].find(&format!("\"{key}\":"));
        from += place.unwrap_or_else(|| panic!("{key} is missing or out of order in {said}"));
    }
    let queue = json(&out)[0].clone();
    assert_eq!(queue.as_object().map(|keys| keys.len()), Some(KEYS.split(", ").count()));
    assert_eq!((&queue["waiting"], &queue["demand"], &queue["workers"]), (&3.into(), &3.into(), &0.into()));
    assert!(queue["oldest_age_seconds"].as_f64().is_some_and(|age| age > 0.0));
    for unknown in ["concurrency", "finished_per_minute", "mean_duration_seconds"] {
        assert_eq!(queue[unknown], Value::Null, "{unknown}");
    }
    assert!(text(&queues(&redis.url(), QUEUE, &[], &[]).stdout).contains("demand 3 = waiting 3"));
}

#[test]
fn a_queue_that_never_existed_is_an_error_beside_those_that_do() {
    let directory = directory();
    let redis = RedisServer::start(directory.path());
    jobs::add(&redis, 1, 1.0);
    let out = queues(&redis.url(), &format!("vdeo,{QUEUE}"), &[], &["--json"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("queue \"vdeo\" has never existed"), "{}", text(&out.stderr));
    assert_eq!(json(&out).as_array().map(Vec::len), Some(1));
    // The right queue under the wrong prefix is a wrong key as well.
    let out = queues(&redis.url(), QUEUE, &[("SPILLWAY_POOL_PREFIX", "other")], &["--json"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("under the prefix \"other\""), "{}", text(&out.stderr));
}

#[test]
fn a_unix_socket_and_an_observer_without_rights_to_write_do() {
    let directory = directory();
    let socket = directory.path().join("r.sock").display().to_string();
    // Users are given before jobs are added: the default one may still do all.
    let redis = RedisServer::with(directory.path(), &["--unixsocket", &socket]);
    jobs::add(&redis, 2, 1.0);
    for rule in ["on", ">s3cret", "-@all", "%R~bull:*", "+@read", "+time", "+ping", "+info", "+client|list"] {
        let _: String = redis.ask(&["ACL", "SETUSER", "observer", rule]);
    }
    for url in [
        socket.clone(),
        format!("unix://{socket}"),
        format!("redis+unix://{socket}?user=observer&pass=s3cret"),
        format!("redis://observer:s3cret@127.0.0.1:{}", redis.port()),
    ] {
        let out = queues(&url, QUEUE, &[], &["--json"]);
        assert_eq!(out.status.code(), Some(0), "{url}: {}", text(&out.stderr));
        assert_eq!((&json(&out)[0]["waiting"], &json(&out)[0]["workers"]), (&2.into(), &0.into()), "{url}");
    }
    let wrong = format!("redis://observer:wr0ng@127.0.0.1:{}", redis.port());
    let out = queues(&wrong, QUEUE, &[], &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(!text(&out.stderr).contains("wr0ng"), "{}", text(&out.stderr));
    let nobody = format!("redis://:s3cret@127.0.0.1:{}", ports::free());
    let out = queues(&nobody, QUEUE, &[], &[]);
    assert_eq!(out.status.code(), Some(1));
    let said = text(&out.stderr);
    assert!(said.contains("does not answer") && !said.contains("s3cret"), "{said}");
}

#[test]
fn tls_is_spoken_and_the_certificate_is_checked() {
    let directory = directory();
    let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("cert.pem"));
    let mut openssl = command(programs::program("openssl"));
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    // A server's own certificate, not a certificate authority's.
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
    let port = ports::free().to_string();
    let (key, certificate) = (key.display().to_string(), certificate.display().to_string());
    let tls =
        ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let more: Vec<&str> = tls.into_iter().chain(["--tls-ca-cert-file", &certificate]).collect();
    let redis = RedisServer::with(directory.path(), &more);
    jobs::add(&redis, 1, 1.0);
    let url = format!("rediss://localhost:{port}");
    let trusted = queues(&url, QUEUE, &[("SSL_CERT_FILE", &certificate)], &["--json"]);
    assert_eq!(trusted.status.code(), Some(0), "{}", text(&trusted.stderr));
    assert_eq!(json(&trusted)[0]["waiting"], 1);
    let empty = directory.path().join("nobody.pem");
    fs::write(&empty, "").expect("written");
    let unknown = queues(&url, QUEUE, &[("SSL_CERT_FILE", &empty.display().to_string())], &["--json"]);
    assert_eq!(unknown.status.code(), Some(1), "a certificate that nobody vouches for was believed");
}
