//! Versions live side by side: agents stay in images for months, and coordinators are upgraded and downgraded under
//! them.

mod recorded;
mod released;

use std::time::Duration;

use serde_json::{Value, json};
use spillway_proto::v1;
use spillway_proto::v1::session_request::Message as Said;
use spillway_proto::v1::session_response::Command;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::coordinator::ServingStatus;
use spillway_tests::jobs;
use spillway_tests::process::end_of;
use spillway_tests::stage::{Setup, Stage};

/// The unit says five seconds; a busy host gets more.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// An instance whose agent is the test itself.
const NO_AGENT: Option<&str> = Some("#!/bin/sh\nexec sleep 100000\n");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_the_versions_of_coordinator_and_agents_and_another_one_is_no_error() {
    let stage = Stage::start(Setup { user_data: NO_AGENT, trusts: true, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    let coordinator = stage.coordinator();
    let version = || coordinator.status()["instances"][0]["agent_version"].clone();
    assert_eq!(version(), Value::Null, "it has not registered");
    assert_eq!(coordinator.json(&["status"])["coordinator_version"], env!("CARGO_PKG_VERSION"));

    // An image of last winter, one of next summer, one that does not tell, and one whose word is not to be trusted.
    let hostile = format!("9\u{1b}[31m\n{}", "x".repeat(60_000));
    let kept = format!("9\u{241b}[31m\u{240a}{}…", "x".repeat(57));
    for (told, shown) in
        [("0.0.9", json!("0.0.9")), ("12.3.4-rc.1", json!("12.3.4-rc.1")), ("", Value::Null), (&*hostile, json!(kept))]
    {
        let identity = Some(v1::Identity { instance_id: id.clone(), ..v1::Identity::default() });
        let request = v1::RegisterRequest { identity, agent_version: told.to_owned(), ..Default::default() };
        let mut session = AgentSession::register(&coordinator.server(), request).await;
        let first = session.commands.message().await.expect("a message").expect("a welcome").command;
        let Some(Command::Welcome(welcome)) = first else { panic!("{first:?}") };
        assert_eq!(welcome.coordinator_version, env!("CARGO_PKG_VERSION"));
        stage.until("its version is shown", || version() == shown).await;
        // It is heard as any other.
        let problem = format!("this is {}", shown.as_str().unwrap_or("of no version"));
        let beat = v1::Heartbeat { problem: problem.clone(), ..v1::Heartbeat::default() };
        let beat = v1::Heartbeat { phase: v1::AgentPhase::Booting.into(), ..beat };
        let said = v1::SessionRequest { message: Some(Said::Heartbeat(beat)) };
        session.sender.send(said).await.expect("the session is open");
        let heard = || coordinator.status()["instances"][0]["heartbeat"]["problem"] == *problem;
        stage.until("its beat is heard", heard).await;
        let text = String::from_utf8(coordinator.command(&["status"]).stdout).expect("text");
        let header = text.lines().find(|line| line.contains(&id)).expect("the instance's line");
        match shown.as_str() {
            Some(shown) => assert!(header.ends_with(&format!(", agent {shown}")), "{text}"),
            None => assert!(!header.contains("agent"), "{text}"),
        }
        assert!(text.starts_with(concat!("coordinator ", env!("CARGO_PKG_VERSION"), "\n")), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    let log = coordinator.process.log();
    assert!(!log.contains(&"x".repeat(200)), "the log has the whole of a long version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_of_a_newer_version_is_refused_with_the_remedy_and_left_as_it_is() {
    const STATE: &str = "spillway:pool:spillway:state";
    const LEADER: &str = "spillway:pool:spillway:leader";
    const REMEDY: &str = "the ledger spillway:pool:spillway:state was written by a newer version (2): upgrade this \
                          coordinator, or remove the key";
    let mut stage = Stage::start(Setup { user_data: NO_AGENT, trusts: true, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    end(&mut stage).await;
    let ours: String = stage.redis.ask(&["GET", STATE]);
    let newer = ours.replacen(r#"{"version":1,"#, r#"{"version":2,"written_by":"9.0.0","#, 1);
    assert_ne!(newer, ours, "{ours}");
    let unlike_ours = r#"{"version":2,"instances":{"i-1":"zzz"}}"#.to_owned();

    // By this demand a second instance is launched as soon as the ledger is read.
    jobs::add(&stage.redis, 12, 1.0);
    for text in [unlike_ours, newer] {
        let _: String = stage.redis.ask(&["SET", STATE, &text]);
        stage.start_coordinator().await;
        let coordinator = stage.coordinator();
        let problem = format!("ledger: {REMEDY}");
        let is_shown = || coordinator.json(&["status"])["pools"][0]["observation_problem"] == *problem;
        stage.until("status has the remedy", is_shown).await;
        let status = String::from_utf8(coordinator.command(&["status"]).stdout).expect("text");
        assert!(status.contains(&problem), "{status}");
        assert_eq!(coordinator.health("spillway.queue").await, ServingStatus::NotServing);
        let is_left = |stage: &Stage| stage.acts() == 1 && stage.redis.ask::<String>(&["GET", STATE]) == text;
        let lease = || stage.redis.ask::<Option<String>>(&["GET", LEADER]);
        let left = || is_left(&stage) && lease().is_none();
        stage.throughout(Duration::from_secs(6), "nothing is launched, terminated, written or led", left).await;
        // A newer version finds the lease free, and keeps it.
        let taken: Option<String> = stage.redis.ask(&["SET", LEADER, "newer@10.0.0.7:7443", "NX", "PX", "60000"]);
        assert_eq!(taken.as_deref(), Some("OK"));
        let led = || is_left(&stage) && lease().as_deref() == Some("newer@10.0.0.7:7443");
        stage.throughout(Duration::from_secs(6), "the newer version leads", led).await;
        let _: u64 = stage.redis.ask(&["DEL", LEADER]);
        let log = coordinator.process.log();
        assert_eq!(log.matches(REMEDY).count(), 1, "once in the log: {}", end_of(&log));
        end(&mut stage).await;
        assert!(is_left(&stage), "not at the end either");
    }

    // Once the ledger is one of ours it is led without a restart: its instance is known, and only what is missing is
    // launched.
    stage.start_coordinator().await;
    let problem = || stage.coordinator().json(&["status"])["pools"][0]["observation_problem"].clone();
    stage.until("the newer ledger is refused", || problem() == format!("ledger: {REMEDY}")).await;
    let _: String = stage.redis.ask(&["SET", STATE, &ours]);
    stage.until("the second instance is launched", || stage.instances().len() == 2).await;
    let pool = stage.coordinator().status();
    assert_eq!(pool["instances"][0]["id"], *id, "{pool}");
    assert_eq!((stage.acts(), &pool["launched_total"]), (2, &json!(2)), "{pool}");
    assert_eq!(problem(), Value::Null, "{pool}");
}

/// Stops the coordinator, as a person who replaces it does.
async fn end(stage: &mut Stage) {
    let mut coordinator = stage.coordinator.take().expect("it runs");
    coordinator.process.signal(libc::SIGTERM);
    let status = coordinator.process.end_within(STOPS_WITHIN).await;
    assert_eq!(status.code(), Some(0), "{}", coordinator.process.tail());
}
