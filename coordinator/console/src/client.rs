//! The way to a running coordinator.

use std::time::Duration;

use anyhow::Context as _;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub async fn connect(server: &str) -> anyhow::Result<OperatorServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{server}"))
        .with_context(|| format!("--server {server}: write HOST:PORT"))?
        .connect_timeout(CONNECT_TIMEOUT);
    let channel = endpoint.connect().await.with_context(|| {
        format!("no coordinator answers at {server}: is `spillway run` running there? (--server HOST:PORT)")
    })?;
    Ok(OperatorServiceClient::new(channel).max_decoding_message_size(16 * 1024 * 1024))
}

/// The coordinator's own words, without gRPC's.
pub fn refused(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}", if status.message().is_empty() { status.to_string() } else { status.message().to_owned() })
}
