//! The way to a running coordinator.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a coordinator is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `HOST:PORT`.
    pub address: String,
    /// Why it may be the wrong one: said where nothing answers there.
    pub doubt: Option<String>,
}

impl From<&str> for Address {
    fn from(address: &str) -> Self {
        Self { address: address.to_owned(), doubt: None }
    }
}

/// # Errors
/// It is no address, or nothing answers there.
pub async fn connect(server: &Address) -> anyhow::Result<OperatorServiceClient<Channel>> {
    let Address { address: server, doubt } = server;
    if server.parse::<SocketAddr>().is_ok_and(|address| !address.ip().to_canonical().is_loopback()) {
        anyhow::bail!(
            "operators are answered over loopback only, and {server} is not: ask on the coordinator's host, or through a \
             tunnel (ssh -L 7443:127.0.0.1:7443)"
        );
    }
    let doubt = doubt.as_ref().map(|doubt| format!("; {doubt}")).unwrap_or_default();
    let endpoint = Endpoint::from_shared(format!("http://{server}"))
        .with_context(|| format!("--server {server}: write HOST:PORT"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(user_agent())?;
    let channel = endpoint.connect().await.with_context(|| {
        format!("no coordinator answers at {server}: is `spillway run` running there? (--server HOST:PORT{doubt})")
    })?;
    Ok(OperatorServiceClient::new(channel).max_decoding_message_size(16 * 1024 * 1024))
}

/// Names whom sudo runs this for: the coordinator's log says who asked for what.
fn user_agent() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '-' | '@');
    match std::env::var("SUDO_USER") {
        Ok(user) if !user.is_empty() && user.chars().all(is_part) => format!("spillway/{version} (sudo={user})"),
        _ => format!("spillway/{version}"),
    }
}

/// The coordinator's own words, without gRPC's.
pub fn refused(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}", if status.message().is_empty() { status.to_string() } else { status.message().to_owned() })
}
