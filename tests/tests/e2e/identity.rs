//! Agents that prove which instance they are: what their sessions outlive, and what those are told that cannot.

use std::time::Duration;

use spillway_brain::InstanceId;
use spillway_coordinator::config::Proxies;
use spillway_coordinator::registration::{Expected, Proofs};
use spillway_proto::sts::Endpoint;
use spillway_proto::v1;
use spillway_proto::v1::register_request::Proof;
use spillway_proto::v1::session_request::Message as Said;
use spillway_tests::agent_session::AgentSession;
use spillway_tests::jobs;
use spillway_tests::moto::Moto;
use spillway_tests::prover::Prover;
use spillway_tests::stage::{Setup, Stage, directory, in_phase};
use tokio::sync::watch;
use tonic::Code;

const NO_AGENT: Option<&str> = Some("#!/bin/sh\nexec sleep 100000\n");

/// A stage with an instance whose agent is the test itself.
async fn stage() -> (Stage, Prover) {
    let stage = Stage::start(Setup { user_data: NO_AGENT, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 1.0);
    let id = stage.until_booting().await;
    let is_listed = |pool: &v1::Pool| in_phase(pool, "booting").find(|it| it.ec2_state == "running").map(drop);
    stage.until_pool("EC2 lists it", is_listed).await;
    let agent = Prover::of(&stage, &stage.instance(&id)).await;
    (stage, agent)
}

async fn is_heard(stage: &Stage, session: &AgentSession, problem: &str) {
    let phase = v1::AgentPhase::Booting.into();
    let beat = v1::Heartbeat { phase, problem: problem.to_owned(), ..v1::Heartbeat::default() };
    let message = v1::SessionRequest { message: Some(Said::Heartbeat(beat)) };
    session.sender.send(message).await.expect("the session is open");
    let heard = |pool: &v1::Pool| {
        let instances = pool.instances.iter().filter_map(|it| it.heartbeat.as_ref());
        instances.filter(|beat| beat.problem == problem).map(|_| ()).next()
    };
    stage.until_pool("its heartbeat is heard", heard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_its_coordinator_without_another_registration() {
    let (mut stage, agent) = stage().await;
    let token = agent.register().await.expect("registered").session_token;
    let session = agent.session(&token).await.expect("a session");
    is_heard(&stage, &session, "before").await;
    // The second is on other ports, and leads while the first is away.
    let other = stage.another_coordinator().await;
    let mut first = stage.coordinator.take().expect("it runs");
    first.process.signal(libc::SIGKILL);
    first.process.end_within(Duration::from_secs(10)).await;
    let elsewhere = agent.at(other.server());
    let session = until_open(&elsewhere, &token).await;
    stage.coordinator = Some(other);
    is_heard(&stage, &session, "at another leader").await;
    let log = stage.coordinator().process.log();
    assert!(log.contains("agent connected") && !log.contains("agent registered"), "{log}");
    // And back, in order.
    let mut second = stage.coordinator.take().expect("it runs");
    second.process.end().await;
    stage.start_coordinator().await;
    let session = until_open(&agent, &token).await;
    is_heard(&stage, &session, "back").await;
    // Of three coordinators each believes the ledger, not what it once knew itself.
    drop(session);
    let thief = Prover { boot: "another-boot".to_owned(), ..agent.clone() };
    let refused = thief.session(&token).await.expect_err("another boot");
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
}

/// Until the lease of who was killed has run out.
async fn until_open(agent: &Prover, token: &str) -> AgentSession {
    for _ in 0..600 {
        match agent.session(token).await {
            Ok(session) => return session,
            Err(status) => assert_ne!(status.code(), Code::PermissionDenied, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_proves_nothing_is_told_what_to_do() {
    let (stage, agent) = stage().await;
    let of_before = |proof: Option<Proof>| v1::RegisterRequest { can_prove: false, proof, ..agent.request(None) };
    for proof in [None, Some(Proof::JoinToken("let-me-in".to_owned()))] {
        let mut client = agent.connect().await;
        let refused = client.register(of_before(proof)).await.expect_err("it proves nothing");
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(refused.message().contains("update the agent, or set grpc.trust = \"token\""), "{refused}");
    }
    let log = stage.coordinator().process.log();
    assert!(log.contains("registration rejected") && !log.contains("let-me-in"), "{log}");
    assert!(!stage.emulator().calls().counts.contains_key("GetCallerIdentity"), "STS is not asked");
}

/// What somebody else's STS makes of the request: it understands it. It answers in XML, which lets nobody in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_understands_the_request_and_its_answer_lets_nobody_in() {
    let directory = directory();
    let moto = Moto::start(directory.path()).await;
    let (stage, agent) = stage().await;
    let audience = watch::channel(Some("prod-1".to_owned())).1;
    let endpoint = Endpoint::of("us-east-1").expect("a region");
    let url = Some(format!("http://127.0.0.1:{}/", moto.port()));
    let proofs = Proofs::new(endpoint, url, &Proxies::default(), None, audience).expect("no proxy");
    let (peer, id) = ("127.0.0.1:1".parse().expect("an address"), InstanceId(agent.id.clone()));
    let challenge = proofs.challenge(peer, &id).expect("a challenge");
    let proof = agent.sign(&spillway_tests::prover::Signed::answering(&challenge));
    let expected = async {
        let (account, profile) = ("123456789012".to_owned(), "spillway-worker".to_owned());
        Ok(Expected { account, profile, address: peer.ip() })
    };
    let refused = proofs.prove(peer, &id, &proof, expected).await.expect_err("it is no JSON");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.to_string().contains("its answer is no JSON"), "{refused}");
    drop(stage);
}
