//! `spillway doctor`, against real parts that are well, and with one of them broken at a time. What it asks AWS is in
//! `aws`.

mod aws;

use std::collections::BTreeMap;

use serde_json::Value;
use spillway_tests::coordinator::{Environment, spillway};
use spillway_tests::process::{output, text};
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{jobs, other_client, ports};

/// Each check and how it came out; whether all is well.
fn examined(environment: &Environment) -> (BTreeMap<String, String>, bool, String) {
    let out = output(spillway(environment).args(["doctor", "--json"]).current_dir("/"));
    let said = text(&out.stdout);
    let found: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {out:?}"));
    assert_eq!(out.status.code(), Some(i32::from(found["ok"] != true)), "{out:?}");
    let findings = found["findings"].as_array().expect("findings").iter();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut levels = BTreeMap::new();
    for finding in findings {
        assert_eq!(finding["level"] == "ok", finding["remedy"].is_null(), "a remedy where one is needed: {finding}");
        levels.insert(word(&finding["id"]), word(&finding["level"]));
    }
    (levels, found["ok"] == true, said)
}

/// With this stage's environment and the coordinator's port, but for these variables.
fn with(stage: &Stage, port: u16, changes: &[(&str, &str)]) -> (BTreeMap<String, String>, bool, String) {
    let mut environment = stage.environment.clone();
    let state = stage.directory.path().join("state").display().to_string();
    environment.insert("SPILLWAY_STATE_DIRECTORY".to_owned(), state);
    environment.insert("SPILLWAY_GRPC_LISTEN".to_owned(), format!("127.0.0.1:{port}"));
    environment.insert("SPILLWAY_HTTP_LISTEN".to_owned(), format!("127.0.0.1:{}", ports::free()));
    for (name, value) in changes {
        environment.insert((*name).to_owned(), (*value).to_owned());
    }
    examined(&environment)
}

fn calls_that_change(stage: &Stage) -> usize {
    let changes = |action: &str| !action.starts_with("Describe") && !action.starts_with("Get");
    stage.emulator().calls().calls.iter().filter(|call| changes(&call.action) && call.code == "OK").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_well_is_said_and_what_is_not_fails_with_its_remedy() {
    let (stage, port) = (Stage::without_coordinator(Setup::default()).await, ports::free());
    jobs::add(&stage.redis, 1, 1.0);
    let keys = || stage.redis.ask::<u64>(&["DBSIZE"]);
    let (before, changed) = (keys(), calls_that_change(&stage));
    let (levels, is_well, said) = with(&stage, port, &[]);
    assert!(is_well, "{said}");
    for id in
        ["redis.reach", "redis.eviction", "redis.queue", "redis.hand_back", "ledger.write", "aws.launch", "grpc.port"]
    {
        assert_eq!(levels.get(id).map(String::as_str), Some("ok"), "{id}: {said}");
    }
    assert_eq!(levels["coordinator.running"], "warn", "{said}");
    assert_eq!((keys(), calls_that_change(&stage)), (before, changed), "it changes nothing");

    let nobody = format!("redis://127.0.0.1:{}", ports::free());
    for (id, name, value) in [
        ("config.valid", "EC2_SPOT_MAX_COUNT", "0"),
        ("redis.reach", "REDIS_URL", &*nobody),
        ("redis.queue", "QUEUE_NAMES", "vidoe-processing"),
        ("ledger.reach", "SPILLWAY_LEDGER_URL", &*nobody),
        ("aws.credentials", "AWS_SECRET_ACCESS_KEY", "another"),
        ("aws.template", "EC2_LAUNCH_TEMPLATE_ID", "lt-0123456789abcdef0"),
        ("aws.launch", "EC2_LAUNCH_TEMPLATE_ID", "lt-0123456789abcdef0"),
    ] {
        let (levels, is_well, said) = with(&stage, port, &[(name, value)]);
        assert!(!is_well && levels.get(id).map(String::as_str) == Some("fail"), "{id}: {said}");
    }
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("an address").to_string();
    let (levels, _, said) = with(&stage, port, &[("SPILLWAY_HTTP_LISTEN", &taken)]);
    assert_eq!(levels["http.port"], "fail", "{said}");

    let _: String = stage.redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    assert_eq!(with(&stage, port, &[]).0["redis.eviction"], "warn");
    let _: String = stage.redis.ask(&["CONFIG", "SET", "maxmemory", "1gb"]);
    assert_eq!(with(&stage, port, &[]).0["redis.eviction"], "fail");
    let _: String =
        stage.redis.ask(&["ACL", "SETUSER", "looks", "on", ">x", "~*", "+@read", "+@connection", "+info", "+time"]);
    let looks = stage.redis.url().replace("redis://", "redis://looks:x@");
    let (levels, _, said) = with(&stage, port, &[("REDIS_URL", &looks), ("SPILLWAY_LEDGER_URL", &stage.redis.url())]);
    assert_eq!((&*levels["redis.hand_back"], &*levels["ledger.protected"]), ("fail", "ok"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_coordinator_that_runs_it_names_another_installation() {
    let stage = Stage::start(Setup::default()).await;
    let port = stage.coordinator().grpc_port;
    let stranger = [
        ("Action", "RunInstances"),
        ("ImageId", "ami-0123456789abcdef0"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "ManagedBy"),
        ("TagSpecification.1.Tag.1.Value", "auto-scaler"),
        ("TagSpecification.1.Tag.2.Key", "spillway:installation"),
        ("TagSpecification.1.Tag.2.Value", "somebody-elses"),
    ];
    assert!(other_client::call(&stage, &stranger).await);
    let (levels, _, said) = with(&stage, port, &[]);
    assert_eq!((&*levels["coordinator.running"], &*levels["aws.installations"]), ("ok", "warn"), "{said}");
    assert!(said.contains("1 of somebody-elses"), "{said}");
    assert!(!levels.contains_key("grpc.port"), "the ports are the coordinator's own: {said}");
}
