//! Planted secrets: no command, log level, page, process title or console shows one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use spillway_stage::ec2;
use spillway_tests::coordinator::{Environment, spillway};
use spillway_tests::jobs;
use spillway_tests::process::output;
use spillway_tests::stage::{Setup, Stage};

const REDIS: &str = "planted-of-redis-7d1c";
const JOIN: &str = "planted-join-token-5e2b-0123456789abcdef";
const OPERATORS: &str = "planted-operators-token-9a3f-0123456789";

/// Every command that a person has, and mistakes in it.
const COMMANDS: &[&[&str]] = &[
    &["status"],
    &["status", "--json"],
    &["explain"],
    &["explain", "--json"],
    &["queues"],
    &["queues", "--json"],
    &["hold", "--reason", "a look"],
    &["resume", "--json"],
    &["drain", "i-0123456789abcdef0"],
    &["gameday", "--wait", "1s"],
    &["drill", "--instances", "0"],
    &["acl"],
    &["config", "check"],
    &["config", "show", "--effective"],
    &["config", "show", "--json"],
    &["--help"],
    &["no-such-command"],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_secrets_are_shown_nowhere() {
    let place = tempfile::tempdir().expect("a directory");
    let operators = place.path().join("operators");
    fs::write(&operators, OPERATORS).expect("written");
    fs::set_permissions(&operators, PermissionsExt::from_mode(0o600)).expect("a mode");
    let mut stage = Stage::without_coordinator(Setup {
        environment: vec![
            ("SPILLWAY_LOG", "trace".to_owned()),
            ("SPILLWAY_GRPC_JOIN_TOKEN", JOIN.to_owned()),
            ("SPILLWAY_GRPC_OPERATORS", "token".to_owned()),
            ("SPILLWAY_GRPC_OPERATOR_TOKEN_FILE", operators.display().to_string()),
        ],
        ..Setup::default()
    })
    .await;
    let _: String = stage.redis.ask(&["ACL", "SETUSER", "app", "on", &format!(">{REDIS}"), "~*", "&*", "+@all"]);
    let url = stage.redis.url().replace("redis://", &format!("redis://app:{REDIS}@"));
    let template = stage.template(&url);
    stage.environment.insert("REDIS_URL".to_owned(), url);
    stage.environment.insert("EC2_LAUNCH_TEMPLATE_ID".to_owned(), template);
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 6, 1.0);
    stage.until("the jobs are completed", || jobs::completed(&stage.redis) == 6).await;

    let mut seen = Vec::new();
    let server = stage.coordinator().server();
    let token_file = operators.display().to_string();
    for arguments in COMMANDS {
        let mut environment: Environment = stage.environment.clone();
        environment.insert("SPILLWAY_SERVER".to_owned(), server.clone());
        environment.insert("SPILLWAY_OPERATOR_TOKEN_FILE".to_owned(), token_file.clone());
        let out = output(spillway(&environment).args(*arguments).current_dir("/"));
        seen.push((format!("{arguments:?}"), [out.stdout, out.stderr].concat()));
    }
    let wrong = stage.environment.iter().map(|(name, value)| (name.clone(), format!("{value} x")));
    let mistaken: Environment = wrong.collect();
    let out = output(spillway(&mistaken).arg("queues").current_dir("/"));
    seen.push(("a mistake in every variable".to_owned(), [out.stdout, out.stderr].concat()));
    for page in ["", "metrics", "healthz", "readyz"] {
        let url = format!("http://127.0.0.1:{}/{page}", stage.coordinator().http_port);
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let text = http.get(&url).send().await.expect("an answer").text().await.expect("a text");
        seen.push((url, text.into_bytes()));
    }
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        for part in ["cmdline", "comm"] {
            let title = fs::read(entry.path().join(part)).unwrap_or_default();
            seen.push((format!("{}/{part}", entry.path().display()), title));
        }
    }
    for record in stage.instances() {
        seen.push((
            format!("console of {}", record.id),
            stage.emulator().console(&record.id).unwrap_or_default().into(),
        ));
    }
    let http_port = stage.coordinator().http_port;
    let log = fs::read(stage.directory.path().join(format!("coordinator-{http_port}.log"))).expect("a log");
    assert!(String::from_utf8_lossy(&log).contains("TRACE"), "the log has every level");
    seen.push(("the coordinator's log".to_owned(), log));
    let secrets = [REDIS, JOIN, OPERATORS, ec2::secret(stage.emulator())];
    for (place, text) in &seen {
        let text = String::from_utf8_lossy(text);
        for secret in secrets {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{place} shows {secret}: {line:?}");
        }
    }
    assert!(seen.len() > COMMANDS.len() + 10);
}
