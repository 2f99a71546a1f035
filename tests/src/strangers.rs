//! Strangers at the coordinator's port: connections that say nothing, and registrations with the wrong token, while
//! honest agents and an operator go on. For the test that this harms nobody, and for the figures.
//!
//! - `handshakes`: strangers that speak TLS

mod handshakes;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_proto::v1;
use spillway_proto::v1::agent_service_client::AgentServiceClient;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use spillway_proto::v1::register_request::Proof;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tonic::Code;

use crate::agent_session::AgentSession;
use crate::stage::{Setup, Stage, in_phase};
use crate::{jobs, secure, wait};
pub use handshakes::Handshakes;

/// What the honest agents show.
pub const TOKEN: &str = "5f2c1c6d7f0e4c0a";
const BEAT: Duration = Duration::from_secs(1);
/// Lengths of an instance id: as one is, as long as a message may have it, and too long to be read.
const LENGTHS: [usize; 3] = [17, 60_000, 200_000];

/// A stage with that many instances, which run nothing: their agents are the test's.
pub async fn stage(agents: u32) -> Stage {
    let steps = format!("[{{ jobs = 1, for = \"1s\", instances = {agents} }}]");
    let environment = vec![
        ("SPILLWAY_GRPC_JOIN_TOKEN", TOKEN.to_owned()),
        ("SPILLWAY_POOL_POLICY_STEPS", steps),
        ("SPILLWAY_POOL_POLICY_IDLE", "1h".to_owned()),
        ("SPILLWAY_POOL_MAX_INSTANCES", agents.to_string()),
        ("SPILLWAY_POOL_LAUNCHES_PER_TICK", agents.to_string()),
        ("SPILLWAY_POOL_BOOT_TIMEOUT", "1h".to_owned()),
        ("SPILLWAY_POOL_HEARTBEAT_TIMEOUT", "10s".to_owned()),
    ];
    let setup = Setup { environment, empty: true, trusts: true, ..Setup::default() };
    let mut stage = Stage::without_coordinator(setup).await;
    stage.hide_launch_image();
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 1, 1.0);
    let known = |pool: &v1::Pool| (in_phase(pool, "booting").count() == agents as usize).then_some(());
    stage.until_pool("all instances are booting", known).await;
    stage
}

/// An agent that sends a numbered heartbeat each second until it is told to end.
#[derive(Debug)]
pub struct Honest {
    pub id: String,
    beating: tokio::task::JoinHandle<Option<u64>>,
    end: tokio::sync::watch::Sender<bool>,
}

impl Honest {
    pub async fn open(stage: &Stage, id: &str) -> Self {
        let proof = Some(Proof::JoinToken(TOKEN.to_owned()));
        let identity = Some(v1::Identity { instance_id: id.to_owned(), ..v1::Identity::default() });
        let request = v1::RegisterRequest { identity, proof, ..v1::RegisterRequest::default() };
        let channel = secure::connect(&stage.coordinator().server(), &stage.ca_file()).await.expect("the coordinator");
        let AgentSession { sender, mut commands } = AgentSession::register_over(channel, request).await;
        let (end, mut ending) = tokio::sync::watch::channel(false);
        let beating = tokio::spawn(async move {
            let mut number = 0;
            loop {
                number += 1;
                let phase = v1::AgentPhase::Booting.into();
                let beat = v1::Heartbeat { phase, problem: said(number), ..v1::Heartbeat::default() };
                let message = v1::SessionRequest { message: Some(v1::session_request::Message::Heartbeat(beat)) };
                sender.send(message).await.ok()?;
                let until = Instant::now() + BEAT;
                loop {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => break,
                        // The session was ended, which an honest agent's must not be.
                        command = commands.message() => { command.ok()??; }
                        _ = ending.wait_for(|end| *end) => {
                            // The stream stays open until its last word has been looked for.
                            tokio::spawn(async move { (sender, commands.message().await) });
                            return Some(number);
                        }
                    }
                }
            }
        });
        Self { id: id.to_owned(), beating, end }
    }

    /// Stops; the number of its last heartbeat, None where its session was ended before.
    pub async fn last(self) -> (String, Option<u64>) {
        let _ = self.end.send(true);
        (self.id, self.beating.await.expect("no panic"))
    }
}

const SAID: &str = "beat ";

/// What the heartbeat of this number says.
pub fn said(number: u64) -> String {
    format!("{SAID}{number}")
}

/// Connections that are open and say nothing, or only that they speak HTTP/2, or TLS, and stop there.
pub async fn silent(port: u16, count: usize) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for number in 0..count {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
        let first: &[u8] = match number % 4 {
            0 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            // The beginning of a ClientHello of 512 bytes.
            1 => b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
            _ => b"",
        };
        let _ = stream.write_all(first).await;
        silent.push(stream);
    }
    silent
}

/// Sends wrong registrations over that many connections, some of each at once, as fast as they are answered.
#[derive(Debug)]
pub struct Wrong {
    sending: JoinSet<Registrations>,
    began: Instant,
    end: tokio::sync::watch::Sender<bool>,
}

/// How many wrong registrations were sent, and how many of them the coordinator answered with a refusal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registrations {
    pub sent: u64,
    pub answered: u64,
}

impl Wrong {
    pub fn begin(server: &str, connections: usize) -> Self {
        let (end, ending) = tokio::sync::watch::channel(false);
        let mut sending = JoinSet::new();
        for number in 0..connections {
            sending.spawn(wrong(server.to_owned(), number, ending.clone()));
        }
        Self { sending, began: Instant::now(), end }
    }

    /// Stops; how many there were, and for how long they were sent.
    pub async fn stop(self) -> (Registrations, Duration) {
        let _ = self.end.send(true);
        let span = self.began.elapsed();
        let all = self.sending.join_all().await.into_iter();
        let sum = all.fold(Registrations::default(), |sum, one| Registrations {
            sent: sum.sent + one.sent,
            answered: sum.answered + one.answered,
        });
        (sum, span)
    }
}

async fn wrong(server: String, number: usize, mut ending: tokio::sync::watch::Receiver<bool>) -> Registrations {
    let id = format!("i-\x1b[31m\n{}", "0".repeat(LENGTHS[number % LENGTHS.len()]));
    let mut count = Registrations::default();
    while !*ending.borrow() {
        let Ok(client) = AgentServiceClient::connect(format!("http://{server}")).await else { continue };
        let mut several = JoinSet::new();
        let one = |several: &mut JoinSet<bool>| -> AbortHandle {
            let identity = Some(v1::Identity { instance_id: id.clone(), ..v1::Identity::default() });
            let proof = Some(Proof::JoinToken("wrong".to_owned()));
            let request = v1::RegisterRequest { identity, proof, ..v1::RegisterRequest::default() };
            let mut client = client.clone();
            several.spawn(async move {
                // A refusal of the service, and no broken connection.
                client.register(request).await.is_err_and(|status| {
                    [Code::Unauthenticated, Code::InvalidArgument, Code::OutOfRange].contains(&status.code())
                })
            })
        };
        for _ in 0..8 {
            one(&mut several);
        }
        count.sent += 8;
        loop {
            tokio::select! {
                _ = ending.wait_for(|end| *end) => return count,
                Some(was_answered) = several.join_next() => {
                    if !was_answered.unwrap_or(false) {
                        break;
                    }
                    count.answered += 1;
                    one(&mut several);
                    count.sent += 1;
                }
            }
        }
    }
    count
}

/// What an operator found meanwhile.
#[derive(Debug, Default)]
pub struct Found {
    /// How long each `status` took, in milliseconds.
    pub took: Vec<f64>,
    pub problems: Vec<String>,
    pub stale: Vec<String>,
    /// The numbers of each agent's heartbeats that a `status` showed.
    beats: BTreeMap<String, BTreeSet<u64>>,
}

impl Found {
    /// Of the heartbeats that all agents sent between the first and the last that was shown: how many no `status`
    /// showed, and how many there were.
    pub fn beats_not_shown(&self) -> (u64, u64) {
        self.beats.values().fold((0, 0), |(missing, sent), numbers| {
            let (first, last) = (numbers.first().copied().unwrap_or(0), numbers.last().copied().unwrap_or(0));
            let all = last - first + 1;
            (missing + all - numbers.len() as u64, sent + all)
        })
    }
}

/// Asks for the fleet every 100 ms, on a connection of its own each time as `spillway status` does; on a thread of its
/// own, so that what the strangers' tasks take of the caller's threads is not measured.
pub async fn look(server: &str, span: Duration) -> Found {
    let server = server.to_owned();
    let looking = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(look_here(&server, span))
    });
    looking.await.expect("no panic")
}

async fn look_here(server: &str, span: Duration) -> Found {
    let mut found = Found::default();
    let until = Instant::now() + span;
    while Instant::now() < until {
        let began = Instant::now();
        let answered = async {
            let mut operator =
                OperatorServiceClient::connect(format!("http://{server}")).await.map_err(|error| error.to_string())?;
            let fleet = operator.get_fleet(v1::GetFleetRequest::default()).await;
            fleet.map(tonic::Response::into_inner).map_err(|status| status.to_string())
        };
        match answered.await {
            Ok(fleet) => {
                found.took.push(began.elapsed().as_secs_f64() * 1000.0);
                if !fleet.leader {
                    found.problems.push("it does not lead".to_owned());
                }
                let stale = fleet.pools.iter().flat_map(|pool| &pool.instances).filter(|it| it.stale);
                found.stale.extend(stale.map(|it| it.id.clone()));
                for instance in fleet.pools.into_iter().flat_map(|pool| pool.instances) {
                    let said = instance.heartbeat.map(|beat| beat.problem).unwrap_or_default();
                    if let Some(number) = said.strip_prefix(SAID).and_then(|number| number.parse().ok()) {
                        found.beats.entry(instance.id).or_default().insert(number);
                    }
                }
            }
            Err(problem) => found.problems.push(problem),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    found
}

/// Every agent's last heartbeat arrived, and its session is open.
pub async fn none_lost(stage: &Stage, honest: Vec<Honest>) {
    let mut lasts = Vec::new();
    for agent in honest {
        let (id, last) = agent.last().await;
        lasts.push((id.clone(), last.unwrap_or_else(|| panic!("the session of {id} was ended"))));
    }
    wait::until(
        "the last heartbeat of each agent is known",
        async || stage.diagnosis().await,
        async || {
            let pool = stage.coordinator().try_pool().await?;
            let is_known = |(id, last): &(String, u64)| {
                let instance = pool.instances.iter().find(|it| it.id == *id);
                let beat = instance.and_then(|it| it.heartbeat.as_ref());
                beat.is_some_and(|beat| beat.problem == said(*last))
            };
            lasts.iter().all(is_known).then_some(())
        },
    )
    .await;
}
