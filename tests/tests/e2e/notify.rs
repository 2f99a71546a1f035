//! Messages about what needs a person, to a webhook of the test's own: one when it opens and one when it is over,
//! whoever leads and whatever the webhook does meanwhile; and the same in status, page and metrics at the same time.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use spillway_tests::coordinator::{Coordinator, Environment, spillway};
use spillway_tests::jobs;
use spillway_tests::process::{output, text};
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::webhook::{Answers, SECRET, Webhook};

/// As an operator names it, and no digest.
fn messages_to(webhook: &Webhook, more: Vec<(&'static str, String)>) -> Setup {
    let mut environment = vec![
        ("SPILLWAY_NOTIFY_WEBHOOK_URL", webhook.url()),
        ("SPILLWAY_NOTIFY_DIGEST_AT", "off".to_owned()),
        ("SPILLWAY_POOL_INTERVAL", "500ms".to_owned()),
        ("SPILLWAY_POOL_TARGET", "4s".to_owned()),
    ];
    environment.extend(more);
    Setup { environment, empty: true, ..Setup::default() }
}

/// Steps that no test's backlog meets: nothing is launched.
const NO_LAUNCH: &str = "[{ jobs = 1000, for = \"1h\", instances = 1 }]";

fn nothing_is_launched(webhook: &Webhook) -> Setup {
    messages_to(webhook, vec![("SPILLWAY_POOL_POLICY_STEPS", NO_LAUNCH.to_owned())])
}

/// A queue that is not there yet is unknown, which would be an incident of its own.
async fn with_three_jobs(webhook: &Webhook) -> Stage {
    let mut stage = Stage::without_coordinator(nothing_is_launched(webhook)).await;
    jobs::add(&stage.redis, 3, 1.0);
    stage.start_coordinator().await;
    leads(&stage).await;
    stage
}

/// Until the coordinator leads, operators' requests are refused.
async fn leads(stage: &Stage) {
    stage.until_pool("it leads", |pool| pool.plan.as_ref().map(|_| ())).await;
}

async fn until_told(stage: &Stage, webhook: &Webhook, count: usize) -> Vec<String> {
    stage.until(&format!("{count} messages"), || webhook.texts().len() >= count).await;
    webhook.texts()
}

async fn get(coordinator: &Coordinator, path: &str) -> String {
    let url = format!("http://127.0.0.1:{}/{path}", coordinator.http_port);
    reqwest::get(url).await.expect("an answer").text().await.expect("a text")
}

fn kinds(pool: &Value) -> Vec<String> {
    let all = pool["attention"].as_array().expect("a list").iter();
    all.map(|it| it["kind"].as_str().expect("a kind").to_owned()).collect()
}

/// Status, page and metric have it, or none of them has.
async fn is_shown(coordinator: &Coordinator, kind: &str) -> bool {
    let in_status = kinds(&coordinator.status()).iter().any(|it| it == kind);
    let page: Value = serde_json::from_str(&get(coordinator, "api/v1/status").await).expect("JSON");
    let on_page = kinds(&page["pools"][0]).iter().any(|it| it == kind);
    let line = format!("spillway_attention{{pool=\"spillway\",kind=\"{kind}\"}} 1");
    let in_metrics = get(coordinator, "metrics").await.lines().any(|it| it == line);
    in_status && on_page && in_metrics
}

async fn until_shown(stage: &Stage, kind: &str, shown: bool) {
    let what = format!("{kind} is shown in status, page and metrics: {shown}");
    stage.until_async(&what, async || is_shown(stage.coordinator(), kind).await == shown).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_while_jobs_wait_is_told_in_all_places_once_and_its_end_too() {
    let webhook = Webhook::start().await;
    let stage = with_three_jobs(&webhook).await;
    let held = stage.coordinator().command(&["hold", "--reason", "a look at <it>"]);
    assert!(held.status.success(), "{}", text(&held.stderr));
    let told = until_told(&stage, &webhook, 1).await;
    assert!(told[0].starts_with("Spillway, pool spillway, warn: Held while jobs wait\n"), "{told:?}");
    assert!(
        told[0].contains("A look at &lt;it&gt;, by ") && told[0].contains("3 jobs ready to run meanwhile."),
        "{told:?}"
    );
    assert!(told[0].contains("To do: `spillway resume`"), "{told:?}");
    until_shown(&stage, "held", true).await;
    stage.coordinator().command(&["resume"]);
    let told = until_told(&stage, &webhook, 2).await;
    assert!(told[1].starts_with("Spillway, pool spillway: over after "), "{told:?}");
    until_shown(&stage, "held", false).await;
    stage.throughout(Duration::from_secs(3), "nothing more is told", || webhook.texts().len() == 2).await;
    let messages = webhook.taken();
    assert_ne!(messages[0].key, messages[1].key);
    assert!(messages.iter().all(|it| it.key.starts_with("spillway-") && it.content_type == "application/json"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_that_is_reached_while_the_backlog_grows_is_told_in_all_places() {
    let webhook = Webhook::start().await;
    let steps = "[{ jobs = 1, for = \"500ms\", instances = 2 }]";
    let setup = messages_to(
        &webhook,
        vec![("EC2_SPOT_MAX_COUNT", "1".to_owned()), ("SPILLWAY_POOL_POLICY_STEPS", steps.to_owned())],
    );
    let stage = Stage::start(Setup { empty: false, ..setup }).await;
    jobs::add(&stage.redis, 9, 1.0);
    stage.until_ready(1).await;
    let is_told = || webhook.texts().iter().any(|it| it.contains("At the cap of 1 instance while the backlog grows"));
    let what = "the cap is told";
    stage
        .until_async(what, async || {
            jobs::add(&stage.redis, 9, 1.0);
            is_told()
        })
        .await;
    stage
        .until_async("it is shown everywhere", async || {
            jobs::add(&stage.redis, 9, 1.0);
            is_shown(stage.coordinator(), "cap_reached").await
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_unreachable_is_told_although_the_ledger_is_there_and_so_is_its_end() {
    let webhook = Webhook::start().await;
    let setup =
        Setup { redis: vec!["--appendonly", "yes", "--appendfsync", "always"], ..nothing_is_launched(&webhook) };
    let mut stage = Stage::without_coordinator(setup).await;
    jobs::add(&stage.redis, 1, 1.0);
    stage.start_coordinator().await;
    leads(&stage).await;
    let standby = stage.another_coordinator().await;
    stage.redis.kill();
    let told = until_told(&stage, &webhook, 1).await;
    assert!(told[0].starts_with("Spillway, pool spillway, stop: Cannot read the queues\n"), "{told:?}");
    until_shown(&stage, "queues_unknown", true).await;
    // Beyond the lease: it leads no more, and nobody does.
    tokio::time::sleep(Duration::from_secs(17)).await;
    stage.redis.restart();
    stage
        .until("that it is over is told", || {
            webhook.texts().iter().any(|it| it.contains("over after") && it.contains("Cannot read the queues"))
        })
        .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let told = webhook.texts();
    let about = |words: &str| told.iter().filter(|it| it.contains(words)).count();
    assert_eq!((about("Cannot read the queues"), told.len()), (2, 2), "{told:?}");
    drop(standby);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_not_over_because_the_lease_is_lost() {
    let webhook = Webhook::start().await;
    let setup =
        Setup { redis: vec!["--appendonly", "yes", "--appendfsync", "always"], ..nothing_is_launched(&webhook) };
    let mut stage = Stage::without_coordinator(setup).await;
    jobs::add(&stage.redis, 3, 1.0);
    stage.start_coordinator().await;
    leads(&stage).await;
    // It is told by who is cut off already, from memory.
    webhook.answers(Answers::Closes);
    assert!(stage.coordinator().command(&["hold"]).status.success());
    stage.until("it is to be told", || webhook.asked() > 0).await;
    stage.redis.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    webhook.answers(Answers::Status(200, String::new()));
    let about = |words: &str| webhook.texts().iter().filter(|it| it.contains(words)).count();
    stage.until("the hold is told", || about("Held while jobs wait") > 0).await;
    // Beyond the lease, and for longer than what is over takes to be told.
    let is_over = || webhook.texts().iter().any(|it| it.contains("over") && it.contains("Held while jobs wait"));
    stage.throughout(Duration::from_secs(28), "nobody tells that it is over", || !is_over()).await;
    stage.redis.restart();
    leads(&stage).await;
    stage.until("it is resumed", || stage.coordinator().command(&["resume"]).status.success()).await;
    stage.until("that it is over is told", is_over).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_dead_for_a_while_loses_no_message_and_delays_no_tick() {
    let webhook = Webhook::start().await;
    let stage = with_three_jobs(&webhook).await;
    webhook.answers(Answers::Closes);
    assert!(stage.coordinator().command(&["hold"]).status.success());
    let mut asked = 0;
    for answers in [
        Answers::Closes,
        Answers::Status(503, String::new()),
        Answers::Status(429, "retry-after: 1\r\n".to_owned()),
        Answers::Hangs,
    ] {
        webhook.answers(answers.clone());
        stage.until(&format!("it is asked ({answers:?})"), || webhook.asked() > asked).await;
        asked = webhook.asked();
    }
    // While the webhook hangs, the pool goes on.
    let ticks = async || {
        let text = get(stage.coordinator(), "metrics").await;
        let line = text.lines().find(|line| line.starts_with("spillway_observation_seconds_count")).map(str::to_owned);
        line.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let before = ticks().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = ticks().await;
    assert!(after - before >= 5.0, "{before} {after}");
    assert_eq!(webhook.texts(), Vec::<String>::new());
    webhook.answers(Answers::Status(200, String::new()));
    let told = until_told(&stage, &webhook, 1).await;
    assert!(told[0].contains("Held while jobs wait"), "{told:?}");
    // The webhook has the message before its sender has the answer.
    stage.until("its sender says so", || log(&stage).contains("messages are taken again")).await;
    let log = log(&stage);
    for words in [
        "the webhook cannot be reached",
        "the webhook answered HTTP 503",
        "too many messages (HTTP 429)",
        "did not answer within 8 s",
    ] {
        assert!(log.contains(words), "{words} is not in\n{log}");
    }
    assert!(!log.contains(SECRET), "the log shows the URL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_takes_messages_and_never_answers_has_the_digest_too() {
    let webhook = Webhook::start().await;
    let mut setup = nothing_is_launched(&webhook);
    setup.environment.push(("SPILLWAY_NOTIFY_DIGEST_AT", within_the_hour()));
    let mut stage = Stage::without_coordinator(setup).await;
    jobs::add(&stage.redis, 3, 1.0);
    // Both are to be told by the time that it takes anything.
    webhook.answers(Answers::Status(503, String::new()));
    stage.start_coordinator().await;
    leads(&stage).await;
    assert!(stage.coordinator().command(&["hold"]).status.success());
    tokio::time::sleep(Duration::from_secs(4)).await;
    webhook.answers(Answers::Keeps);
    let about = |words: &str| webhook.texts().iter().filter(|it| it.contains(words)).count();
    stage.until("the hold is told", || about("Spillway, pool spillway, warn: Held while jobs wait") > 0).await;
    stage.until("the digest is told", || about("Spillway, the last 24 hours") > 0).await;
    webhook.answers(Answers::Status(200, String::new()));
    stage.until("messages are taken", || log(&stage).contains("messages are taken again")).await;
    let keys: std::collections::BTreeSet<String> = webhook.taken().into_iter().map(|it| it.key).collect();
    assert_eq!(keys.len(), 2, "each is sent again as it was: {:?}", webhook.taken());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_leader_tells_nothing_twice_and_forgets_nothing() {
    let webhook = Webhook::start().await;
    let mut stage = with_three_jobs(&webhook).await;
    let second = stage.another_coordinator().await;
    assert!(stage.coordinator().command(&["hold"]).status.success());
    until_told(&stage, &webhook, 1).await;
    // One that is killed, and then one that is stopped.
    let mut first = stage.coordinator.replace(second).expect("the first");
    first.process.kill();
    leads(&stage).await;
    stage.throughout(Duration::from_secs(4), "nothing is told again", || webhook.texts().len() == 1).await;
    let third = stage.another_coordinator().await;
    drop(stage.coordinator.replace(third));
    leads(&stage).await;
    stage.throughout(Duration::from_secs(4), "nothing is told again", || webhook.texts().len() == 1).await;
    stage.coordinator().command(&["resume"]);
    let told = until_told(&stage, &webhook, 2).await;
    assert!(told[1].contains("over after") && told[1].contains("Held while jobs wait"), "{told:?}");
    let ledger: String = stage.redis.ask(&["GET", "spillway:pool:spillway:incidents"]);
    assert!(ledger.contains("\"held\"") && !ledger.contains(SECRET), "{ledger}");
}

/// A time of the day whose digest is due now.
fn within_the_hour() -> String {
    let at = time::OffsetDateTime::now_utc() - time::Duration::minutes(5);
    format!("{:02}:{:02}", at.hour(), at.minute())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_digest_is_sent_once_whoever_leads() {
    let webhook = Webhook::start().await;
    let mut setup = nothing_is_launched(&webhook);
    setup.environment.push(("SPILLWAY_NOTIFY_DIGEST_AT", within_the_hour()));
    let mut stage = Stage::without_coordinator(setup).await;
    jobs::add(&stage.redis, 1, 1.0);
    stage.start_coordinator().await;
    let told = until_told(&stage, &webhook, 1).await;
    assert!(told[0].starts_with("Spillway, the last 24 hours\nPool spillway: no jobs done, 0 failed"), "{told:?}");
    assert!(told[0].ends_with("Nothing needs attention."), "{told:?}");
    let second = stage.another_coordinator().await;
    drop(stage.coordinator.replace(second));
    leads(&stage).await;
    stage.throughout(Duration::from_secs(4), "it is not sent again", || webhook.texts().len() == 1).await;
}

/// The coordinator's log.
fn log(stage: &Stage) -> String {
    let file = format!("coordinator-{}.log", stage.coordinator().http_port);
    fs::read_to_string(stage.directory.path().join(file)).expect("a log")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_message_says_what_the_webhook_answered_and_nothing_shows_its_url() {
    let webhook = Webhook::start().await;
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("webhook");
    fs::write(&file, webhook.url() + "\n").expect("written");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
    let mut environment: Environment = [
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("QUEUE_NAMES", "video"),
        ("EC2_LAUNCH_TEMPLATE_ID", "lt-0123456789abcdef0"),
        ("SPILLWAY_LOG", "trace"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let mut seen = String::new();
    let mut run = |environment: &Environment, arguments: &[&str]| {
        let out = output(spillway(environment).args(arguments).current_dir("/"));
        let said = text(&out.stdout) + &text(&out.stderr);
        seen.push_str(&said);
        (out.status.code(), said)
    };
    let (code, said) = run(&environment, &["notify", "--test"]);
    assert!(code == Some(1) && said.contains("notify.webhook_url is not set"), "{said}");
    environment.insert("SPILLWAY_NOTIFY_WEBHOOK_URL_FILE".to_owned(), file.display().to_string());
    let (code, said) = run(&environment, &["notify", "--test"]);
    assert!(code == Some(0) && said.contains("the webhook took a test message: HTTP 200: ok"), "{said}");
    assert!(webhook.texts()[0].contains("a test, by `spillway notify --test`"), "{:?}", webhook.texts());
    for (answers, words) in [
        (Answers::Status(404, String::new()), "the webhook refused the message (HTTP 404: no_service /…)"),
        (Answers::Status(500, String::new()), "the webhook answered HTTP 500"),
        (Answers::Status(429, String::new()), "too many messages"),
        (Answers::Status(301, String::new()), "a redirection (HTTP 301), which is not followed"),
        (Answers::Closes, "the webhook cannot be reached"),
        (Answers::Hangs, "the webhook did not answer within 8 s"),
    ] {
        webhook.answers(answers);
        let (code, said) = run(&environment, &["notify", "--test"]);
        assert!(code == Some(1) && said.contains(words), "{words} is not in {said}");
    }
    for arguments in [&["config", "show", "--effective"][..], &["config", "show", "--json"], &["config", "check"]] {
        let (code, said) = run(&environment, arguments);
        assert!(code == Some(0), "{said}");
    }
    fs::write(&file, "http://hooks.example/".to_owned() + SECRET).expect("written");
    let (code, said) = run(&environment, &["notify", "--test"]);
    assert!(code == Some(2) && said.contains("in plaintext: write https://"), "{said}");
    assert!(!seen.contains(SECRET), "{seen}");
}
