//! A coordinator that writes down what it hears and says what the test wants. Owns its own runtime, so that it can
//! vanish as a crashed one does.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spillway_proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use spillway_proto::v1::session_request::Message;
use spillway_proto::v1::session_response::Command;
use spillway_proto::v1::{
    AgentPhase, BootStep, CommandResult, Drained, Heartbeat, Notice, RegisterRequest, RegisterResponse, Registered,
    SessionRequest, SessionResponse, Welcome, register_request, register_response,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use crate::ports;
use crate::stage::PATIENCE;

/// The join token that it takes.
pub const JOIN_TOKEN: &str = "let-me-in";

/// What it heard, over all its lives.
#[derive(Default)]
pub struct Heard {
    pub registrations: Vec<RegisterRequest>,
    pub sessions: u32,
    pub messages: Vec<Message>,
    /// Sessions with another token are refused.
    token: u32,
    commands: Option<mpsc::Sender<Result<SessionResponse, Status>>>,
}

pub struct Coordinator {
    pub address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    runtime: Option<Runtime>,
}

impl Coordinator {
    /// One that is not there yet, but has an address.
    pub fn absent() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        Self { address, heard: Arc::default(), runtime: None }
    }

    pub fn start() -> Self {
        let mut coordinator = Self::absent();
        coordinator.appear();
        coordinator
    }

    pub fn appear(&mut self) {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let listener = runtime.block_on(listen(self.address));
        let service = AgentServiceServer::new(Service(self.heard.clone()));
        let serve = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(serve.serve_with_incoming(TcpListenerStream::new(listener)));
        self.runtime = Some(runtime);
    }

    /// Goes without a word.
    pub fn vanish(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        self.heard.lock().expect("heard").commands = None;
    }

    /// Forgets the tokens that it gave.
    pub fn forget_tokens(&self) {
        self.heard.lock().expect("heard").token += 1;
    }

    pub fn heard<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(&self.heard.lock().expect("heard"))
    }

    pub fn command(&self, id: &str, epoch: u64, command: Command) {
        let message = SessionResponse { epoch, command_id: id.to_owned(), command: Some(command) };
        let commands = self.heard(|heard| heard.commands.clone()).expect("no agent is connected");
        commands.blocking_send(Ok(message)).expect("the agent is gone");
    }

    pub fn drain(&self, id: &str, within: Duration) {
        let deadline = Some((std::time::UNIX_EPOCH.elapsed().expect("time") + within).try_into_timestamp());
        self.command(id, 1, Command::Drain(spillway_proto::v1::Drain { deadline, reason: "test".into(), left: None }));
    }

    pub fn beats(&self) -> Vec<Heartbeat> {
        self.all(|message| if let Message::Heartbeat(beat) = message { Some(beat) } else { None })
    }

    pub fn last_beat(&self) -> Heartbeat {
        self.beats().pop().unwrap_or_default()
    }

    /// Phases in the order they were heard, each once in a row.
    pub fn phases(&self) -> Vec<AgentPhase> {
        let mut phases: Vec<AgentPhase> = self.beats().iter().map(Heartbeat::phase).collect();
        phases.dedup();
        phases
    }

    pub fn steps(&self) -> Vec<BootStep> {
        self.all(|message| if let Message::BootStep(step) = message { Some(step) } else { None })
    }

    pub fn notices(&self) -> Vec<Notice> {
        self.all(|message| if let Message::Notice(notice) = message { Some(notice) } else { None })
    }

    pub fn drained(&self) -> Option<Drained> {
        self.all(|message| if let Message::Drained(drained) = message { Some(drained) } else { None }).pop()
    }

    pub fn results(&self) -> Vec<CommandResult> {
        self.all(|message| if let Message::CommandResult(result) = message { Some(result) } else { None })
    }

    pub fn said_farewell(&self) -> bool {
        !self.all(|message| if let Message::Farewell(farewell) = message { Some(farewell) } else { None }).is_empty()
    }

    fn all<T>(&self, pick: impl FnMut(Message) -> Option<T>) -> Vec<T> {
        self.heard(|heard| heard.messages.clone()).into_iter().filter_map(pick).collect()
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.vanish();
    }
}

/// On its own port again. A child that another test forks holds the listener of the life before until its exec.
async fn listen(address: SocketAddr) -> TcpListener {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            listener => return listener.unwrap_or_else(|error| panic!("{address}: {error}")),
        }
    }
}

trait IntoTimestamp {
    fn try_into_timestamp(self) -> prost_types::Timestamp;
}

impl IntoTimestamp for Duration {
    fn try_into_timestamp(self) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds: self.as_secs() as i64, nanos: self.subsec_nanos() as i32 }
    }
}

struct Service(Arc<Mutex<Heard>>);

#[tonic::async_trait]
impl AgentService for Service {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let request = request.into_inner();
        let proof = request.proof.clone();
        let mut heard = self.0.lock().expect("heard");
        heard.registrations.push(request);
        if proof != Some(register_request::Proof::JoinToken(JOIN_TOKEN.to_owned())) {
            return Err(Status::permission_denied("wrong join token"));
        }
        let registered = Registered {
            session_token: format!("token-{}", heard.token),
            pool: "test".into(),
            heartbeat_interval: Some(prost_types::Duration { seconds: 0, nanos: 300_000_000 }),
        };
        Ok(Response::new(RegisterResponse { outcome: Some(register_response::Outcome::Registered(registered)) }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (commands, outbound) = mpsc::channel(16);
        {
            let mut heard = self.0.lock().expect("heard");
            let expect = format!("Bearer token-{}", heard.token);
            if request.metadata().get("authorization").and_then(|value| value.to_str().ok()) != Some(&expect) {
                return Err(Status::unauthenticated("unknown session token"));
            }
            heard.sessions += 1;
            heard.commands = Some(commands.clone());
        }
        let welcome = Welcome { coordinator_version: "test".into() };
        let welcome = SessionResponse { epoch: 1, command_id: String::new(), command: Some(Command::Welcome(welcome)) };
        commands.send(Ok(welcome)).await.map_err(|_| Status::internal("gone"))?;
        let (heard, mut inbound) = (self.0.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Some(Ok(message)) = inbound.next().await {
                heard.lock().expect("heard").messages.extend(message.message);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbound))))
    }
}
