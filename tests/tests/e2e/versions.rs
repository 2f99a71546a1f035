//! Versions live side by side: agents stay in images for months, and coordinators are upgraded and downgraded under them.

use serde_json::{Value, json};
use spillway_proto::v1;
use spillway_proto::v1::session_request::Message as Said;
use spillway_proto::v1::session_response::Command;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage};

/// An instance whose agent is the test itself.
const NO_AGENT: Option<&str> = Some("#!/bin/sh\nexec sleep 100000\n");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_shows_the_versions_of_coordinator_and_agents_and_another_one_is_no_error() {
    let stage = Stage::start(Setup { user_data: NO_AGENT, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    let coordinator = stage.coordinator();
    let version = || coordinator.status()["instances"][0]["agent_version"].clone();
    assert_eq!(version(), Value::Null, "it has not registered");
    assert_eq!(coordinator.json(&["status"])["coordinator_version"], env!("CARGO_PKG_VERSION"));

    // An image of last winter, one of next summer, one that does not tell, and one whose word is not to be trusted.
    let hostile = format!("9\u{1b}[31m\n{}", "x".repeat(100_000));
    let kept = format!("9\u{241b}[31m\u{240a}{}…", "x".repeat(57));
    for (told, shown) in
        [("0.0.9", json!("0.0.9")), ("12.3.4-rc.1", json!("12.3.4-rc.1")), ("", Value::Null), (&*hostile, json!(kept))]
    {
        let identity = Some(v1::Identity { instance_id: id.clone(), ..v1::Identity::default() });
        let request = v1::RegisterRequest { identity, agent_version: told.to_owned(), proof: None };
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
