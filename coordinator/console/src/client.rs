//! The way to a running coordinator.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, TimeoutExpired};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A coordinator has its answers ready. Of a stream it is the beginning that comes so soon.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A coordinator's operators' service.
pub type Coordinator = OperatorServiceClient<InterceptedService<Channel, Token>>;

/// Where a coordinator is asked, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// `HOST:PORT`, or `unix:PATH`.
    pub address: String,
    /// Why it may be the wrong one: said where nothing answers there.
    pub doubt: Option<String>,
    /// Has the operators' token.
    pub token_file: Option<PathBuf>,
    /// The CA that the coordinator's certificate must be of. None: plaintext, which it answers on its own host.
    pub ca_file: Option<PathBuf>,
}

impl From<&str> for Address {
    fn from(address: &str) -> Self {
        Self { address: address.to_owned(), ..Self::default() }
    }
}

/// The operators' token, in each request that there is one for.
#[derive(Clone, Debug, Default)]
pub struct Token(Option<AsciiMetadataValue>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

/// # Errors
/// It is no address, a file cannot be used, or nothing answers there.
pub async fn connect(server: &Address) -> anyhow::Result<Coordinator> {
    answering_within(server, ANSWER_TIMEOUT).await
}

async fn answering_within(server: &Address, timeout: Duration) -> anyhow::Result<Coordinator> {
    let token = token(server)?;
    let Address { address: server, doubt, ca_file, .. } = server;
    let is_elsewhere = |address: SocketAddr| !address.ip().to_canonical().is_loopback();
    if ca_file.is_none() && server.parse().is_ok_and(is_elsewhere) {
        bail!(
            "operators are answered over loopback only, and {server} is not: ask on the coordinator's host, or through a tunnel \
             (ssh -L 7443:127.0.0.1:7443). Where grpc.operators is \"token\", add --ca-file and --token-file"
        );
    }
    let doubt = doubt.as_ref().map(|doubt| format!("; {doubt}")).unwrap_or_default();
    let url = match (server.starts_with("unix:"), ca_file) {
        (true, _) => server.clone(),
        (false, Some(_)) => format!("https://{server}"),
        (false, None) => format!("http://{server}"),
    };
    let mut endpoint = Endpoint::from_shared(url)
        .with_context(|| format!("--server {server}: write HOST:PORT, or unix:PATH"))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(timeout)
        .user_agent(user_agent())?;
    if let Some(file) = ca_file.as_ref().filter(|_| !server.starts_with("unix:")) {
        let pem = std::fs::read(file).with_context(|| format!("--ca-file: cannot read {}", file.display()))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
        endpoint = endpoint.tls_config(tls).with_context(|| format!("--ca-file {}", file.display()))?;
    }
    let channel = endpoint.connect().await.with_context(|| {
        format!("no coordinator answers at {server}: is `spillway run` running there? (--server HOST:PORT{doubt})")
    })?;
    Ok(OperatorServiceClient::with_interceptor(channel, token).max_decoding_message_size(16 * 1024 * 1024))
}

/// The token never leaves this host unencrypted.
fn token(server: &Address) -> anyhow::Result<Token> {
    let Some(file) = &server.token_file else { return Ok(Token(None)) };
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("--token-file: cannot read {shown}"))?;
    let is_here = ["unix:", "127.", "localhost:", "[::1]:"].iter().any(|start| server.address.starts_with(start));
    if server.ca_file.is_none() && !is_here {
        bail!(
            "--token-file: {} is not on this host, and the token would cross the network in plaintext: add --ca-file",
            server.address
        );
    }
    let bearer = format!("Bearer {}", text.trim()).parse::<AsciiMetadataValue>();
    let mut bearer = bearer.ok().with_context(|| format!("--token-file: {shown} has something that is no token"))?;
    bearer.set_sensitive(true);
    Ok(Token(Some(bearer)))
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

/// The coordinator's own words, without gRPC's; and what to do where it has none.
pub fn refused(status: Status) -> anyhow::Error {
    let mut causes = std::iter::successors(status.source(), |cause| (*cause).source());
    if causes.any(|cause| cause.is::<TimeoutExpired>()) {
        let seconds = ANSWER_TIMEOUT.as_secs();
        return anyhow::anyhow!(
            "the connection is there, and no answer came over it within {seconds} s: is --server the coordinator's gRPC \
             address, and does it run (`systemctl status spillway`, `journalctl -u spillway`)? What changes the fleet may \
             have arrived: `spillway status` shows it"
        );
    }
    anyhow::anyhow!("{}", if status.message().is_empty() { status.to_string() } else { status.message().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_cross_the_network_in_plaintext() {
        let file = std::env::temp_dir().join(format!("spillway-token-{}", std::process::id()));
        std::fs::write(&file, "0123456789abcdef\n").expect("written");
        let at = |address: &str| Address { token_file: Some(file.clone()), ..Address::from(address) };
        assert!(token(&at("127.0.0.1:7443")).is_ok() && token(&at("unix:/run/s")).is_ok());
        let refused = token(&at("10.0.0.5:7443")).expect_err("plaintext").to_string();
        assert!(refused.contains("add --ca-file"), "{refused}");
        let with_ca = Address { ca_file: Some("/ca.pem".into()), ..at("10.0.0.5:7443") };
        assert!(!format!("{:?}", token(&with_ca).expect("TLS")).contains("0123456789abcdef"), "it is shown nowhere");
        std::fs::remove_file(&file).expect("removed");
    }
    /// As a coordinator that is stopped, or the near end of a tunnel whose far end is gone.
    #[tokio::test]
    async fn a_coordinator_that_takes_the_connection_and_never_answers_is_not_waited_for_without_an_end() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Address::from(silent.local_addr().expect("bound").to_string().as_str());
        let mut coordinator = answering_within(&server, Duration::from_millis(100)).await.expect("it is connected");
        let asked = coordinator.get_fleet(spillway_proto::v1::GetFleetRequest::default());
        let status =
            tokio::time::timeout(Duration::from_secs(60), asked).await.expect("an end").expect_err("no answer");
        let said = refused(status).to_string();
        assert!(
            said.contains("no answer came over it within 10 s") && said.contains("`journalctl -u spillway`"),
            "{said}"
        );
    }
}
