//! An agent's session, recorded message by message, and read again.
//!
//! A recording is text, one message a line: `register HEX` and `said KIND HEX` of the agent, `told KIND HEX` of the
//! coordinator, and `operator WORDS`, what an operator asked for at that moment. HEX is the message as protobuf encodes
//! it.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use prost::Message;
use spillway_proto::v1;
use spillway_proto::v1::agent_service_client::AgentServiceClient;
use spillway_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use spillway_proto::v1::session_request::Message as Said;
use spillway_proto::v1::session_response::Command;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::binaries::workspace;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    Register(v1::RegisterRequest),
    Said(v1::SessionRequest),
    Told(v1::SessionResponse),
    Operator(String),
}

/// The recording of a version's agent.
pub fn file(version: &str) -> PathBuf {
    workspace().join(format!("proto/recorded/session-{version}.txt"))
}

/// The versions that are recorded, in order.
pub fn versions() -> Vec<String> {
    let folder = workspace().join("proto/recorded");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name().to_string_lossy().into_owned();
    let mut versions: Vec<String> = entries
        .map(name)
        .filter_map(|name| Some(name.strip_prefix("session-")?.strip_suffix(".txt")?.to_owned()))
        .collect();
    versions.sort();
    versions
}

/// Keeps a version's recording. The error names the file: what is there already is never changed.
pub fn keep(version: &str, text: &str) -> Result<(), String> {
    let file = file(version);
    let written = File::create_new(&file).and_then(|mut new| new.write_all(text.as_bytes()));
    written.map_err(|error| format!("{}: {error}: a recording is made once, and never changed", file.display()))
}

/// The lines of a recording. What a version said keeps its meaning: no field of it may be missing from today's
/// protocol.
pub fn read(text: &str) -> Vec<Line> {
    let known = |line| parse(line).unwrap_or_else(|| panic!("today's protocol does not know all of it: {line}"));
    text.lines().map(known).collect()
}

fn parse(line: &str) -> Option<Line> {
    let (what, rest) = line.split_once(' ')?;
    Some(match what {
        "register" => Line::Register(whole(rest)?),
        "said" => Line::Said(whole(rest)?),
        "told" => Line::Told(whole(rest)?),
        "operator" => Line::Operator(rest.to_owned()),
        _ => return None,
    })
}

/// The message at the end of a line; None where today's protocol does not know all of it.
fn whole<M: Message + Default>(rest: &str) -> Option<M> {
    let encoded = bytes(rest.rsplit(' ').next()?)?;
    M::decode(&*encoded).ok().filter(|message| message.encode_to_vec() == encoded)
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = (0..hex.len()).step_by(2).map(|at| hex.get(at..at + 2));
    digits.map(|two| u8::from_str_radix(two?, 16).ok()).collect()
}

fn hex(message: &impl Message) -> String {
    message.encode_to_vec().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What the agent says, by its name in the protocol.
pub fn said(message: &v1::SessionRequest) -> &'static str {
    match message.message {
        Some(Said::Heartbeat(_)) => "heartbeat",
        Some(Said::BootStep(_)) => "boot_step",
        Some(Said::Notice(_)) => "notice",
        Some(Said::Drained(_)) => "drained",
        Some(Said::CommandResult(_)) => "command_result",
        Some(Said::Farewell(_)) => "farewell",
        None => "nothing",
    }
}

/// What the coordinator says, by its name in the protocol.
pub fn told(message: &v1::SessionResponse) -> &'static str {
    match message.command {
        Some(Command::Welcome(_)) => "welcome",
        Some(Command::Drain(_)) => "drain",
        Some(Command::CancelDrain(_)) => "cancel_drain",
        Some(Command::Rehearse(_)) => "rehearse",
        Some(Command::PowerOff(_)) => "power_off",
        None => "nothing",
    }
}

/// A relay between agents and their coordinator that keeps what goes through.
#[derive(Debug)]
pub struct Recorder {
    lines: Arc<Mutex<Vec<Line>>>,
    serves: tokio::task::JoinHandle<()>,
}

impl Recorder {
    /// Listens on `port` for the coordinator on `coordinator`.
    pub async fn start(port: u16, coordinator: u16) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port");
        let relay = Relay { lines: lines.clone(), coordinator: format!("http://127.0.0.1:{coordinator}") };
        let server = tonic::transport::Server::builder().add_service(AgentServiceServer::new(relay));
        let serves = tokio::spawn(async move {
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Recorder { lines, serves }
    }

    /// An operator asks for something now.
    pub fn operator(&self, words: &str) {
        self.lines.lock().expect("lines").push(Line::Operator(words.to_owned()));
    }

    /// All so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().expect("lines").clone()
    }

    /// As text, without the heartbeats that say what the one before said.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut before = None;
        for line in self.lines() {
            let line = match &line {
                Line::Register(request) => format!("register {}", hex(request)),
                Line::Told(message) => format!("told {} {}", told(message), hex(message)),
                Line::Operator(words) => format!("operator {words}"),
                Line::Said(message) => {
                    if let Some(Said::Heartbeat(beat)) = &message.message {
                        let proven = beat.worker.as_ref().map(|worker| worker.proven);
                        let says = Some((beat.phase, proven, beat.active_jobs, beat.fenced, beat.problem.clone()));
                        if says == before {
                            continue;
                        }
                        before = says;
                    }
                    format!("said {} {}", said(message), hex(message))
                }
            };
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.serves.abort();
    }
}

#[derive(Debug)]
struct Relay {
    lines: Arc<Mutex<Vec<Line>>>,
    coordinator: String,
}

impl Relay {
    async fn client(&self) -> Result<AgentServiceClient<Channel>, Status> {
        let client = AgentServiceClient::connect(self.coordinator.clone()).await;
        client.map_err(|error| Status::unavailable(error.to_string()))
    }
}

#[tonic::async_trait]
impl AgentService for Relay {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        let request = request.into_inner();
        let answer = self.client().await?.register(request.clone()).await?;
        self.lines.lock().expect("lines").push(Line::Register(request));
        Ok(answer)
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (metadata, _, from_agent) = request.into_parts();
        let lines = self.lines.clone();
        // What cannot be read ends the session there.
        let kept = from_agent.map_while(Result::ok).map(move |message| {
            lines.lock().expect("lines").push(Line::Said(message.clone()));
            message
        });
        let mut onward = Request::new(kept);
        if let Some(token) = metadata.get("authorization") {
            onward.metadata_mut().insert("authorization", token.clone());
        }
        let from_coordinator = self.client().await?.session(onward).await?.into_inner();
        let lines = self.lines.clone();
        let kept = from_coordinator.map(move |message| {
            if let Ok(message) = &message {
                lines.lock().expect("lines").push(Line::Told(message.clone()));
            }
            message
        });
        Ok(Response::new(Box::pin(kept)))
    }
}
