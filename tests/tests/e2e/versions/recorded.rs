//! Agents as they were released, by a recording of their sessions: what they said, this coordinator understands; what
//! their coordinator told them, this one tells too. `agent/src/session/recorded.rs` is the other way round.
//!
//! `SPILLWAY_RECORD=1 cargo test --workspace --test e2e versions::recorded` records the agent of this version, once,
//! for its release.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use spillway_emulator::Refuse;
use spillway_proto::v1;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use spillway_proto::v1::session_request::Message as Said;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::recording::{self, Line, Recorder};
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{jobs, ports};

use super::NO_AGENT;

/// Versions whose sessions are recorded.
const RECORDED: [&str; 1] = ["0.1.0"];
/// Of a rehearsed interruption.
const NOTICE: Duration = Duration::from_secs(30);

/// EC2 refuses terminations, so that the agent is told to power off. With one instance no replacement comes in between.
async fn stage(setup: Setup) -> Stage {
    let environment = vec![("EC2_SPOT_MAX_COUNT", "1".to_owned())];
    let stage = Stage::start(Setup { environment, trusts: true, ..setup }).await;
    let refused = Refuse {
        action: "TerminateInstances".to_owned(),
        code: "UnauthorizedOperation".to_owned(),
        calls: 1_000_000,
        message: None,
    };
    stage.emulator().refuse(refused).expect("a fault");
    stage
}

/// What an operator asks for, by the words in a recording.
async fn operate(stage: &Stage, id: &str, words: &str) {
    match words {
        "drain" => drop(stage.coordinator().json(&["drain", id])),
        "cancel" => drop(stage.coordinator().json(&["drain", "--cancel", id])),
        "rehearse" => {
            let address = format!("http://{}", stage.coordinator().server());
            let mut operator = OperatorServiceClient::connect(address).await.expect("the coordinator");
            let notice = Some(NOTICE.try_into().expect("a duration"));
            operator.rehearse(v1::RehearseRequest { instance_id: id.to_owned(), notice }).await.expect("accepted");
        }
        _ => panic!("an operator cannot {words}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_todays_agent_has_all_that_the_protocol_has() {
    let agent_port = ports::free();
    let stage = stage(Setup { agent_port: Some(agent_port), is_plaintext: true, ..Setup::default() }).await;
    let recorder = Recorder::start(agent_port, stage.coordinator().grpc_port).await;
    let heard = |wanted: &dyn Fn(&v1::SessionRequest) -> bool| {
        recorder.lines().iter().any(|line| matches!(line, Line::Said(message) if wanted(message)))
    };
    let is_told = |kind: &str| {
        recorder.lines().iter().any(|line| matches!(line, Line::Told(message) if recording::told(message) == kind))
    };
    jobs::add(&stage.redis, 8, 5.0);
    let id = stage.until_ready(1).await.remove(0);
    let asks = async |words: &str| {
        recorder.operator(words);
        operate(&stage, &id, words).await;
    };
    asks("drain").await;
    let fenced = |message: &v1::SessionRequest| matches!(&message.message, Some(Said::Heartbeat(beat)) if beat.fenced);
    stage.until("it is fenced", || heard(&fenced)).await;
    asks("cancel").await;
    stage.until("it is told", || is_told("cancel_drain")).await;
    assert_eq!(stage.until_ready(1).await, [id.as_str()]);
    asks("rehearse").await;
    let all = ["heartbeat", "boot_step", "notice", "drained", "command_result", "farewell"];
    for kind in all {
        let is_said = |message: &v1::SessionRequest| recording::said(message) == kind;
        stage.until(&format!("the agent says {kind}"), || heard(&is_said)).await;
    }
    for kind in ["welcome", "drain", "cancel_drain", "rehearse", "power_off"] {
        stage.until(&format!("the coordinator says {kind}"), || is_told(kind)).await;
    }
    let text = recorder.text();
    assert!(recording::read(&text).len() > 20, "it is read again");
    if std::env::var_os("SPILLWAY_RECORD").is_some() {
        recording::keep(env!("CARGO_PKG_VERSION"), &text).unwrap_or_else(|problem| panic!("{problem}"));
    }
    stage.until("it ends by itself", || stage.instance(&id).ending_ms.is_some()).await;
}

#[test]
fn every_recording_is_replayed() {
    assert_eq!(recording::versions(), RECORDED, "proto/recorded, and RECORDED here");
}

#[test]
fn a_recording_that_is_there_is_never_written_again() {
    let problem = recording::keep(RECORDED[0], "").expect_err("it is there");
    assert!(problem.contains("session-0.1.0.txt"), "{problem}");
    let kept = fs::read_to_string(recording::file(RECORDED[0])).expect("it is read");
    assert!(!kept.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_released_agent_said_is_understood_and_answered() {
    for version in RECORDED {
        let file = recording::file(version);
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let stage = stage(Setup { user_data: NO_AGENT, ..Setup::default() }).await;
        jobs::add(&stage.redis, 6, 1.0);
        let id = stage.until_booting().await;
        Replay { stage, id, session: None, ids: BTreeMap::new(), told: BTreeSet::new(), is_to_work: true }
            .all(recording::read(&text))
            .await;
    }
}

/// An agent that says what another said.
struct Replay {
    stage: Stage,
    id: String,
    session: Option<AgentSession>,
    /// The commands of this coordinator, by the ids of those that they stand for.
    ids: BTreeMap<String, String>,
    told: BTreeSet<&'static str>,
    /// Nobody has asked for its end.
    is_to_work: bool,
}

impl Replay {
    async fn all(mut self, lines: Vec<Line>) {
        for line in lines {
            match line {
                Line::Register(request) => self.registers(request).await,
                Line::Operator(words) => operate(&self.stage, &self.id, &words).await,
                Line::Told(message) => self.is_told(&message).await,
                Line::Said(message) => self.says(message).await,
            }
        }
        assert_eq!(self.told.len(), 5, "{:?}", self.told);
    }

    async fn registers(&mut self, request: v1::RegisterRequest) {
        let identity = request.identity.unwrap_or_default();
        assert!(identity.instance_id.starts_with("i-"), "{identity:?}");
        let identity = Some(v1::Identity { instance_id: self.id.clone(), ..identity });
        let server = self.stage.coordinator().server();
        self.session = Some(AgentSession::register(&server, v1::RegisterRequest { identity, ..request }).await);
    }

    /// Waits for a command of this kind. What else is told in between may be said anew at any time.
    async fn is_told(&mut self, recorded: &v1::SessionResponse) {
        let kind = recording::told(recorded);
        let session = self.session.as_mut().expect("it has registered");
        let next = async {
            loop {
                let message = session.commands.message().await.expect("the session").expect("the session is open");
                if recording::told(&message) == kind {
                    return message;
                }
            }
        };
        let waited = tokio::time::timeout(spillway_tests::wait::TIMEOUT, next).await;
        let Ok(message) = waited else { panic!("it is not told {kind}\n{}", self.stage.diagnosis().await) };
        self.ids.insert(recorded.command_id.clone(), message.command_id);
        self.told.insert(kind);
        self.is_to_work = matches!(kind, "welcome" | "cancel_drain");
    }

    async fn says(&mut self, mut message: v1::SessionRequest) {
        let asked = match &mut message.message {
            Some(Said::Drained(drained)) => Some(&mut drained.command_id),
            Some(Said::CommandResult(result)) => Some(&mut result.command_id),
            _ => None,
        };
        if let Some(id) = asked
            && !id.is_empty()
        {
            let ours = self.ids.get(id.as_str());
            *id = ours.unwrap_or_else(|| panic!("{id} was never told")).clone();
        }
        let session = self.session.as_ref().expect("it has registered");
        session.sender.send(message.clone()).await.expect("the session is open");
        self.is_heard(&message).await;
    }

    /// What was said has its effect, and is shown to operators.
    async fn is_heard(&self, message: &v1::SessionRequest) {
        let (stage, id) = (&self.stage, &self.id);
        let what = format!("it is heard: {message:?}");
        let instance = async || {
            let pool = stage.coordinator().try_pool().await?;
            pool.instances.into_iter().find(|it| it.id == *id)
        };
        match &message.message {
            Some(Said::Heartbeat(beat)) => {
                let expected: &[&str] = match beat.phase() {
                    v1::AgentPhase::Ready if self.is_to_work => &["ready"],
                    v1::AgentPhase::Draining | v1::AgentPhase::Drained => &["draining", "terminating"],
                    v1::AgentPhase::Booting | v1::AgentPhase::Proving if self.is_to_work => &["booting"],
                    _ => &["booting", "ready", "draining", "terminating"],
                };
                let shown = async || {
                    let shown = instance().await;
                    shown.is_some_and(|it| it.heartbeat.as_ref() == Some(beat) && expected.contains(&it.phase.as_str()))
                };
                stage.until_async(&what, shown).await;
            }
            Some(Said::BootStep(step)) => {
                let is_shown = |it: v1::Instance| it.boot_steps.iter().any(|shown| shown == step);
                stage.until_async(&what, async || instance().await.is_some_and(is_shown)).await;
            }
            Some(Said::Notice(notice)) => {
                let is_shown = |it: v1::Instance| it.notices.iter().any(|shown| shown.action == notice.action);
                stage.until_async(&what, async || instance().await.is_some_and(is_shown)).await;
            }
            Some(Said::Drained(_)) => {
                stage.until(&what, || !stage.calls("TerminateInstances").is_empty()).await;
            }
            Some(Said::CommandResult(_) | Said::Farewell(_)) => {}
            None => panic!("an empty message is recorded"),
        }
    }
}
