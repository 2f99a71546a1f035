//! An agent's session with the coordinator, opened by the test itself.

use std::time::Duration;

use spillway_proto::v1;
use spillway_proto::v1::agent_service_client::AgentServiceClient;
use spillway_proto::v1::register_request::Proof;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::wait::TIMEOUT;

const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Both directions of a session.
#[derive(Debug)]
pub struct AgentSession {
    pub sender: mpsc::Sender<v1::SessionRequest>,
    pub commands: Streaming<v1::SessionResponse>,
}

impl AgentSession {
    /// Registers at `server` (`host:port`) as this instance, without a proof of identity, and opens a session.
    pub async fn open(server: &str, instance: &str) -> Self {
        Self::open_with(server, instance, None).await
    }

    /// The same, with a proof.
    pub async fn open_with(server: &str, instance: &str, proof: Option<Proof>) -> Self {
        let identity = Some(v1::Identity { instance_id: instance.to_owned(), ..v1::Identity::default() });
        Self::register(server, v1::RegisterRequest { identity, proof, ..v1::RegisterRequest::default() }).await
    }

    /// Registers with these words, and opens a session.
    pub async fn register(server: &str, request: v1::RegisterRequest) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("an address");
        Self::register_over(endpoint.connect().await.expect("the coordinator"), request).await
    }

    /// The same over a connection of the caller's, with TLS for example.
    pub async fn register_over(channel: Channel, request: v1::RegisterRequest) -> Self {
        let mut client = AgentServiceClient::new(channel);
        let end = Instant::now() + TIMEOUT;
        let outcome = loop {
            match client.register(request.clone()).await {
                Ok(answer) => break answer.into_inner().outcome,
                // Only so many a second are registered: an agent retries.
                Err(refused) if refused.message().contains("too many registrations") && Instant::now() < end => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(refused) => panic!("not registered: {refused}"),
            }
        };
        let Some(v1::register_response::Outcome::Registered(registered)) = outcome else { panic!("a challenge") };
        let (sender, receiver) = mpsc::channel(64);
        let mut session = tonic::Request::new(ReceiverStream::new(receiver));
        let bearer = format!("Bearer {}", registered.session_token).parse().expect("ASCII");
        session.metadata_mut().insert("authorization", bearer);
        let commands = client.session(session).await.expect("a session").into_inner();
        AgentSession { sender, commands }
    }
}
