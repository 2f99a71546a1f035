//! The conversation with the coordinator over gRPC. Owns one registration or one stream at a time and what its status
//! codes mean; never decides when the next one is due (the machine does).

pub mod messages;

use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use spillway_machine::{Command, Refusal, agreed};
use spillway_proto::sts::BOOT_KEY;
use spillway_proto::times;
use spillway_proto::v1::agent_service_client::AgentServiceClient;
use spillway_proto::v1::register_request::Proof;
use spillway_proto::v1::session_response::Command as Wire;
use spillway_proto::v1::{
    Challenge, Drain, PowerOff, RegisterRequest, Rehearse, SessionRequest, SessionResponse, StsProof, register_response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::identity::proof::ProofError;
use crate::secret::Secret;
use crate::tls::{Address, Untrusted};

/// Messages that may wait for a coordinator that reads slowly; one that reads slower counts as disconnected.
pub const MESSAGES_WAITING: usize = 256;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A proof is judged by STS, which may take its time.
const JUDGED_WITHIN: Duration = Duration::from_secs(20);

/// What every connection of this agent says of itself.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// The instance's private address, from which it connects; `None` where this host does not have it.
    pub address: Option<IpAddr>,
    /// Of this boot of the machine.
    pub boot_id: String,
}

impl Here {
    /// `private_ip`, as the metadata service tells it, where a connection can come from it.
    pub fn new(private_ip: &str, boot_id: &str) -> Self {
        let address = private_ip.parse().ok().filter(|address: &IpAddr| UdpSocket::bind((*address, 0)).is_ok());
        Self { address, boot_id: boot_id.to_owned() }
    }
}

/// The result of a registration.
#[derive(Clone, Debug)]
pub struct Registered {
    /// For the session.
    pub token: Secret,
    /// The pool that this instance works for.
    pub pool: String,
    /// Set by the coordinator.
    pub heartbeat_interval: Duration,
}

/// Received over a session.
#[derive(Debug)]
pub enum Inbound {
    /// The session is open.
    Welcome {
        /// Of the leader lease.
        epoch: u64,
        /// The coordinator's.
        version: String,
    },
    /// The coordinator sent a command.
    Command {
        /// Of the leader lease.
        epoch: u64,
        /// The command's.
        id: String,
        command: CoordinatorCommand,
    },
    /// A command that this agent does not know, or that lacks a field.
    Unknown {
        /// The command's.
        id: String,
    },
}

/// A command as the wire has it: its times are the wall clock's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoordinatorCommand {
    /// Stop the worker by then.
    Drain {
        /// When the worker must be stopped.
        deadline: SystemTime,
        /// How long after the command was sent that is.
        left: Option<Duration>,
        /// For the log.
        reason: String,
    },
    /// Cancel the drain and take jobs again.
    CancelDrain,
    /// End the instance: EC2 refuses to terminate it.
    PowerOff {
        /// For the log.
        reason: String,
    },
    /// Behave as if EC2 interrupted the instance then.
    Rehearse {
        /// When it would.
        deadline: SystemTime,
        /// How long after the command was sent that is.
        left: Option<Duration>,
    },
}

impl CoordinatorCommand {
    /// For the machine, whose times are its own.
    pub fn for_machine(&self, clock: crate::clock::Clock) -> Command {
        let deadline = |at, left| agreed(clock.now(), clock.at(at), left);
        match *self {
            Self::Drain { deadline: at, left, .. } => Command::Drain { deadline: deadline(at, left) },
            Self::CancelDrain => Command::CancelDrain,
            Self::PowerOff { .. } => Command::PowerOff,
            Self::Rehearse { deadline: at, left } => Command::Rehearse { deadline: deadline(at, left) },
        }
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Retry soon.
    #[error("cannot reach the coordinator")]
    Unreachable(#[source] tonic::transport::Error),
    /// Check the CA, the names and the clocks. Retry soon: a coordinator renews its certificate by itself.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Retry soon.
    #[error("the coordinator is not available: {}", .0.message())]
    Unavailable(Status),
    /// Check the join token and the coordinator's log; an early retry does not help.
    #[error("the coordinator rejected this agent: {}", .0.message())]
    Refused(Status),
    /// Update the agent.
    #[error("the coordinator requires a proof of identity that this agent does not support: update the agent")]
    UnknownProof,
    /// Its words say whether an early retry helps.
    #[error("cannot prove this instance's identity")]
    NoProof(#[from] ProofError),
}

impl SessionError {
    /// For the machine.
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::Unreachable(_) | Self::Unavailable(_) | Self::Untrusted(_) | Self::NoProof(ProofError::Imds(_)) => {
                Refusal::Unavailable
            }
            Self::Refused(_) | Self::UnknownProof | Self::NoProof(_) => Refusal::Refused,
        }
    }
}

impl SessionError {
    /// The leader's address, as a standby reported it: `HOST:PORT`.
    pub fn leader(&self) -> Option<&str> {
        let Self::Unavailable(status) = self else { return None };
        status.metadata().get("spillway-leader")?.to_str().ok()
    }
}

impl From<Status> for SessionError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::Unimplemented => {
                Self::Refused(status)
            }
            _ => Self::Unavailable(status),
        }
    }
}

/// Requests a session token from the coordinator. `prove` answers its challenge, where it asks for a proof.
pub async fn register<F: Future<Output = Result<StsProof, ProofError>>>(
    coordinator: &Address,
    here: &Here,
    request: RegisterRequest,
    prove: impl FnOnce(Challenge) -> F,
) -> Result<Registered, SessionError> {
    // Both requests over one connection: a challenge is good on that alone.
    let mut client = AgentServiceClient::new(connect(coordinator, here).await?);
    match ask(&mut client, request.clone(), ANSWER_TIMEOUT).await? {
        Some(register_response::Outcome::Challenge(challenge)) => {
            let proof = Some(Proof::StsProof(prove(challenge).await?));
            registered(ask(&mut client, RegisterRequest { proof, ..request }, JUDGED_WITHIN).await?)
        }
        outcome => registered(outcome),
    }
}

async fn ask(
    client: &mut AgentServiceClient<Channel>,
    request: RegisterRequest,
    within: Duration,
) -> Result<Option<register_response::Outcome>, SessionError> {
    let mut request = Request::new(request);
    request.set_timeout(within);
    let answer = tokio::time::timeout(within, client.register(request));
    let answer = answer.await.map_err(|_| Status::deadline_exceeded("no answer in time"))??;
    Ok(answer.into_inner().outcome)
}

fn registered(outcome: Option<register_response::Outcome>) -> Result<Registered, SessionError> {
    match outcome {
        Some(register_response::Outcome::Registered(registered)) => {
            let interval = registered.heartbeat_interval.as_ref().and_then(times::from_duration);
            Ok(Registered {
                token: Secret::new(registered.session_token),
                pool: registered.pool,
                heartbeat_interval: interval
                    .filter(|interval| !interval.is_zero())
                    .unwrap_or(Duration::from_secs(5))
                    .clamp(Duration::from_millis(100), Duration::from_secs(60)),
            })
        }
        Some(register_response::Outcome::Challenge(_)) | None => Err(SessionError::UnknownProof),
    }
}

/// Holds a session until it ends, and returns why.
pub async fn hold<F: Future<Output = ()>>(
    coordinator: &Address,
    here: &Here,
    token: &Secret,
    outbound: mpsc::Receiver<SessionRequest>,
    on_inbound: impl Fn(Inbound) -> F,
) -> SessionError {
    match try_hold(coordinator, here, token, outbound, on_inbound).await {
        Ok(()) => SessionError::Unavailable(Status::unavailable("it closed the session")),
        Err(error) => error,
    }
}

async fn try_hold<F: Future<Output = ()>>(
    coordinator: &Address,
    here: &Here,
    token: &Secret,
    outbound: mpsc::Receiver<SessionRequest>,
    on_inbound: impl Fn(Inbound) -> F,
) -> Result<(), SessionError> {
    let mut client = AgentServiceClient::new(connect(coordinator, here).await?);
    let mut request = Request::new(ReceiverStream::new(outbound));
    let bearer = format!("Bearer {}", token.expose()).parse::<AsciiMetadataValue>();
    let mut bearer = bearer.map_err(|_| Status::unauthenticated("the session token is not a valid header value"))?;
    bearer.set_sensitive(true);
    request.metadata_mut().insert("authorization", bearer);
    if let Ok(boot) = here.boot_id.parse::<AsciiMetadataValue>() {
        request.metadata_mut().insert(BOOT_KEY, boot);
    }
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.session(request));
    let answer = answer.await.map_err(|_| Status::deadline_exceeded("no answer in time"))??;
    let mut inbound = answer.into_inner();
    let welcome = tokio::time::timeout(ANSWER_TIMEOUT, inbound.next()).await;
    let mut next = welcome.map_err(|_| Status::deadline_exceeded("no welcome in time"))?;
    while let Some(message) = next {
        on_inbound(understood(message?)).await;
        next = inbound.next().await;
    }
    Ok(())
}

async fn connect(coordinator: &Address, here: &Here) -> Result<Channel, SessionError> {
    let endpoint = coordinator.endpoint().map_err(SessionError::Unreachable)?;
    let connected = endpoint
        .local_address(here.address)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .user_agent(concat!("spillway-agent/", env!("CARGO_PKG_VERSION")))
        .map_err(SessionError::Unreachable)?
        .connect()
        .await;
    connected.map_err(|error| {
        let untrusted = coordinator.untrusted(&error);
        untrusted.map_or(SessionError::Unreachable(error), SessionError::Untrusted)
    })
}

fn understood(message: SessionResponse) -> Inbound {
    let (epoch, id) = (message.epoch, message.command_id);
    let command = match message.command {
        Some(Wire::Welcome(welcome)) => return Inbound::Welcome { epoch, version: welcome.coordinator_version },
        Some(Wire::Drain(Drain { deadline: Some(at), reason, left })) => {
            let left = left.as_ref().and_then(times::from_duration);
            CoordinatorCommand::Drain { deadline: times::system_time(&at), left, reason }
        }
        Some(Wire::CancelDrain(_)) => CoordinatorCommand::CancelDrain,
        Some(Wire::PowerOff(PowerOff { reason })) => CoordinatorCommand::PowerOff { reason },
        Some(Wire::Rehearse(Rehearse { deadline: Some(at), left })) => {
            let left = left.as_ref().and_then(times::from_duration);
            CoordinatorCommand::Rehearse { deadline: times::system_time(&at), left }
        }
        Some(Wire::Drain(_) | Wire::Rehearse(_)) | None => return Inbound::Unknown { id },
    };
    Inbound::Command { epoch, id, command }
}

#[cfg(test)]
mod recorded;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;
    use crate::clock::Clock;

    proptest! {
        #[test]
        fn any_message_is_a_command_or_not_understood(
            bytes in proptest::collection::vec(any::<u8>(), 0..60),
            seconds in any::<i64>(),
            nanos in any::<i32>(),
            has_left in any::<bool>(),
        ) {
            let clock = Clock::start();
            if let Ok(message) = SessionResponse::decode(&*bytes) {
                let _ = understood(message);
            }
            let deadline = Some(prost_types::Timestamp { seconds, nanos });
            let left = has_left.then_some(prost_types::Duration { seconds, nanos });
            for command in [
                Wire::Drain(Drain { deadline, reason: String::new(), left }),
                Wire::Rehearse(Rehearse { deadline, left }),
            ] {
                let message = SessionResponse { epoch: 1, command_id: "c".to_owned(), command: Some(command) };
                let Inbound::Command { command, .. } = understood(message) else { panic!("a command") };
                match command.for_machine(clock) {
                    Command::Drain { deadline } | Command::Rehearse { deadline } => {
                        let _ = (clock.instant(deadline), clock.wall(deadline));
                    }
                    Command::CancelDrain | Command::PowerOff => {}
                }
            }
        }
    }
}
