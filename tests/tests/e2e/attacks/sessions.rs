//! Attacks by who registers when, and by what a registration was granted.

use std::net::IpAddr;
use std::time::Duration;

use spillway_brain::InstanceId;
use spillway_coordinator::ledger::{Claim, Grant, Leadership, Sessions};
use spillway_coordinator::redis_client::Redis;
use spillway_proto::v1;
use spillway_proto::v1::session_request::Message as Said;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::process::text;
use spillway_tests::prover::{Prover, Signed};
use spillway_tests::stage::in_phase;
use tonic::Code;

use super::Scene;

async fn beats(session: &AgentSession) -> bool {
    let beat = v1::Heartbeat { phase: v1::AgentPhase::Booting.into(), ..v1::Heartbeat::default() };
    session.sender.send(v1::SessionRequest { message: Some(Said::Heartbeat(beat)) }).await.is_ok()
}

pub(super) async fn at_once(scene: &Scene) {
    let agent = scene.agent().await;
    let mut proving = tokio::task::JoinSet::new();
    // Eight challenges of an address are good at a time: each of those connections sends its proof.
    let mut waiting = Vec::new();
    for _ in 0..8 {
        let mut client = agent.connect().await;
        let challenge = agent.challenge(&mut client).await.expect("a challenge");
        waiting.push((client, agent.sign(&Signed::answering(&challenge))));
    }
    for (client, proof) in waiting {
        for _ in 0..13 {
            let (agent, mut client, proof) = (agent.clone(), client.clone(), proof.clone());
            proving.spawn(async move { agent.send(&mut client, proof).await });
        }
    }
    let answers = proving.join_all().await;
    assert_eq!(answers.len(), 104);
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let tokens: Vec<String> = won.into_iter().flatten().map(|registered| registered.session_token).collect();
    // Those that are judged after another was registered too: all were challenged before.
    assert_eq!(tokens.len(), 1, "{} refused", lost.len());
    agent.session(&tokens[0]).await.expect("it is good");
    scene.plant(tokens);
    one_claim_wins(scene).await;
}

/// In the ledger itself, whatever coordinators do: a hundred that all have read the same, then one of another leader.
async fn one_claim_wins(scene: &Scene) {
    let redis = || Redis::new("ledger.url", &scene.stage.redis.url()).expect("a URL");
    let set = |key: &str, value: &str| scene.stage.redis.ask::<()>(&["SET", &format!("cas:pool:p:{key}"), value]);
    set("leader", "one");
    set("epoch", "7");
    let id = InstanceId("i-1".to_owned());
    let grant = |number: u64| Grant { at_ms: number, ..Grant::default() };
    let mut claiming = tokio::task::JoinSet::new();
    for number in 0..100 {
        // As many coordinators: each has a connection of its own.
        let (sessions, id) = (Sessions::new(redis(), "cas:"), id.clone());
        claiming.spawn(async move {
            let of = Leadership { pool: "p", holder: "one", epoch: 7 };
            sessions.claim(of, &id, "", &grant(number)).await.expect("Redis answers")
        });
    }
    let claims = claiming.join_all().await;
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::Won).count(), 1);
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::Lost).count(), 99);
    let sessions = Sessions::new(redis(), "cas:");
    let before = sessions.read("p", &id).await.expect("Redis answers");
    set("leader", "two");
    set("epoch", "8");
    for (holder, epoch, expect) in [
        ("one", 7, Claim::NotLeader),
        ("two", 7, Claim::NotLeader),
        ("one", 8, Claim::NotLeader),
        ("two", 8, Claim::Won),
    ] {
        let of = Leadership { pool: "p", holder, epoch };
        let claim = sessions.claim(of, &id, &before, &grant(1000)).await.expect("Redis answers");
        assert_eq!(claim, expect, "{holder} {epoch}");
    }
}

pub(super) async fn not_expected(scene: &Scene) {
    let agent = scene.agent().await;
    let unknown = Prover { id: "i-0fffffffffffffff1".to_owned(), ..agent.clone() };
    scene.refused("not launched", unknown.register().await, Code::Unavailable, "is not in the ledger");
    // Its credentials are good for hours, as EC2's are.
    scene.stage.emulator().interrupt(&agent.id, Duration::ZERO).expect("an end");
    let is_gone = |pool: &v1::Pool| in_phase(pool, "gone").find(|it| it.id == agent.id).map(drop);
    scene.stage.until_pool("the instance is gone", is_gone).await;
    scene.refused("terminated", agent.register().await, Code::Unavailable, "is not in the ledger");
}

pub(super) async fn before_the_agent(scene: &Scene) {
    let agent = scene.agent().await;
    let thief = agent.register().await.expect("nobody can tell yet");
    let first = agent.session(&thief.session_token).await.expect("a session");
    assert!(beats(&first).await);
    scene.refused("the second", agent.register().await, Code::Unavailable, "has a session: retry");
    let words = format!("a second agent proved to be {}", agent.id);
    assert!(beats(&first).await);
    scene.stage.until("a person is told", || scene.stage.coordinator().explained(&words)).await;
    scene.refused("the second", agent.register().await, Code::PermissionDenied, "the instance is replaced");
    let drains = |pool: &v1::Pool| in_phase(pool, "draining").find(|it| it.id == agent.id).map(drop);
    scene.stage.until_pool("it is drained", drains).await;
    let text = text(&scene.stage.coordinator().command(&["drain", "--cancel", &agent.id]).stderr);
    assert!(text.contains("it has no drain that can be cancelled"), "{text}");
}

pub(super) async fn stolen(scene: &Scene) {
    let agent = scene.agent().await;
    let token = agent.register().await.expect("registered").session_token;
    scene.plant([token.clone()]);
    let elsewhere = Prover { address: IpAddr::from([127, 9, 9, 7]), ..agent.clone() };
    let after_a_reboot = Prover { boot: "boot-2".to_owned(), ..agent.clone() };
    for (what, thief) in [("elsewhere", elsewhere), ("in another boot", after_a_reboot)] {
        scene.refused(what, thief.session(&token).await.map(drop), Code::Unauthenticated, "unknown session token");
    }
    let (id, secret) = token.split_once('.').expect("two parts");
    let last = if secret.ends_with('0') { "1" } else { "0" };
    let almost = format!("{id}.{}{last}", &secret[..secret.len() - 1]);
    for wrong in [&*almost, secret, &format!("{id}."), ""] {
        let answer = agent.session(wrong).await.map(drop);
        scene.refused("a wrong token", answer, Code::Unauthenticated, "unknown session token");
    }
    let mut session = agent.session(&token).await.expect("its own");
    assert!(session.commands.message().await.expect("a message").is_some());
    // A newer registration's token takes its place, once the session is closed.
    drop(session);
    let newer = register_again(&agent).await;
    let answer = agent.session(&token).await.map(drop);
    scene.refused("the older token", answer, Code::Unauthenticated, "unknown session token");
    agent.session(&newer).await.expect("the newer");
    scene.plant([newer.clone()]);
    scene.stage.emulator().interrupt(&agent.id, Duration::ZERO).expect("an end");
    let is_gone = |pool: &v1::Pool| in_phase(pool, "gone").find(|it| it.id == agent.id).map(drop);
    scene.stage.until_pool("the instance is gone", is_gone).await;
    scene.refused("of one that is gone", agent.session(&newer).await.map(drop), Code::Unauthenticated, "is gone");
    let key = format!("spillway:pool:spillway:session:{}", agent.id);
    let kept = || scene.stage.redis.ask::<Option<String>>(&["GET", &key]);
    scene.stage.until("its record is deleted", || kept().is_none()).await;
}

/// The coordinator learns of the closed session a moment later.
async fn register_again(agent: &Prover) -> String {
    loop {
        match agent.register().await {
            Ok(registered) => return registered.session_token,
            Err(status) if status.code() == Code::Unavailable => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(status) => panic!("{status}"),
        }
    }
}

/// Nothing that the others have sent or received is in what anybody reads.
pub(super) async fn secrets_in_outputs(scene: &Scene) {
    let coordinator = scene.stage.coordinator();
    let asked = |arguments: &[&str]| {
        let out = coordinator.command(arguments);
        text(&[out.stdout, out.stderr].concat())
    };
    let outputs = [
        coordinator.process.log(),
        asked(&["status"]),
        asked(&["status", "--json"]),
        asked(&["explain", "--limit", "500", "--json"]),
    ];
    let planted = scene.planted();
    assert!(planted.len() > 20, "the other attacks have planted some");
    for secret in planted {
        assert!(outputs.iter().all(|output| !output.contains(&secret)), "it is in an output: {secret}");
    }
    // The ledger has no session token either: only what it can be compared by.
    let keys: Vec<String> = scene.stage.redis.ask(&["KEYS", "spillway:pool:spillway:session:*"]);
    assert!(!keys.is_empty());
    for key in keys {
        let record: String = scene.stage.redis.ask(&["GET", &key]);
        assert!(scene.planted().iter().all(|secret| !record.contains(secret)), "{record}");
    }
}
