//! A client of the coordinator that speaks TLS, as an agent does.

use std::fs;
use std::path::Path;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Connects to `HOST:PORT` with the CA of this file.
///
/// # Errors
/// Nothing answers there, or it is not trusted.
pub async fn connect(server: &str, ca_file: &Path) -> Result<Channel, tonic::transport::Error> {
    let ca = Certificate::from_pem(fs::read(ca_file).expect("a CA"));
    let endpoint = Endpoint::from_shared(format!("https://{server}"))?;
    endpoint.tls_config(ClientTlsConfig::new().ca_certificate(ca))?.connect().await
}

/// This machine's own address in its network; None where it has none.
pub fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses the address that it would send from.
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
