//! The way to a coordinator: TLS with a CA that the image or user data pins, or plaintext on loopback. Owns the
//! address, what makes the coordinator there trusted, and why it is not; never trusts the Web's authorities.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{CertificateError, RootCertStore};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Uri};

use crate::config::{ConfigError, Source};

/// Where the CA's certificate is unless `ca_file` says otherwise.
pub const DEFAULT_CA_FILE: &str = "/etc/spillway/ca.pem";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a coordinator is, and what makes it trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `https://HOST:PORT`, or `http://HOST:PORT` on loopback.
    url: String,
    /// None: plaintext.
    authority: Option<Authority>,
}

/// The CA or, while one takes another's place, the CAs of the coordinators.
#[derive(Clone, PartialEq, Eq)]
struct Authority {
    file: PathBuf,
    pem: Arc<str>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("file", &self.file).finish_non_exhaustive()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// The coordinator's certificate is not accepted; says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator at {url} is not trusted: {why}")]
pub struct Untrusted {
    url: String,
    why: String,
}

impl Address {
    /// The settings `coordinator` and `ca_file`.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        const WRITE: &str = "write https://HOST:7443, such as https://10.0.0.5:7443";
        let url = source.required("coordinator", "the coordinator's address, such as \"https://10.0.0.5:7443\"")?;
        let invalid = |problem: &str, remedy: &str| Err(source.invalid("coordinator", problem, remedy));
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with(':')) {
            return invalid("is not a coordinator's address", WRITE);
        }
        let host = match url.parse::<Uri>() {
            Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => host_of(&uri),
            _ => return invalid("is not a valid address", WRITE),
        };
        if url.starts_with("https://") {
            return Ok(Self { url, authority: Some(Authority::load(source)?) });
        }
        if !is_loopback(&host) {
            return invalid(
                "is in plaintext, which is for loopback alone",
                "write https://HOST:7443, and the coordinator's ca.pem into the file that ca_file names",
            );
        }
        Ok(Self { url, authority: None })
    }

    /// Another coordinator, as this one told of it: `HOST:PORT`. It is spoken to in the same way. None where that is no
    /// address, or plaintext would leave this host.
    pub fn of_leader(&self, address: &str) -> Option<Self> {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{address}");
        let uri = url.parse::<Uri>().ok()?;
        uri.host()?;
        let is_safe = self.authority.is_some() || is_loopback(&host_of(&uri));
        is_safe.then(|| Self { url, authority: self.authority.clone() })
    }

    /// For a connection.
    ///
    /// # Errors
    /// The library refuses address or CA.
    pub fn endpoint(&self) -> Result<Endpoint, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(self.url.clone())?.connect_timeout(CONNECT_TIMEOUT);
        let Some(authority) = &self.authority else { return Ok(endpoint) };
        let tls = ClientTlsConfig::new()
            .domain_name(host_of(endpoint.uri()))
            .ca_certificate(Certificate::from_pem(authority.pem.as_bytes()))
            .timeout(CONNECT_TIMEOUT);
        endpoint.tls_config(tls)
    }

    /// Why the coordinator is not trusted, where that is why there was no connection.
    pub fn untrusted(&self, error: &(dyn Error + 'static)) -> Option<Untrusted> {
        let ca_file = self.authority.as_ref()?.file.display();
        let why = match of_tls(error)? {
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    format!("its certificate is of another CA than those in ca_file {ca_file}: copy its ca.pem there")
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "its certificate has expired, by this machine's clock: is one of the two clocks wrong?".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "its certificate is not valid yet, by this machine's clock: is one of the two clocks wrong?"
                        .to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    "its certificate is not for this host: add the host to grpc.tls.names of the coordinator".to_owned()
                }
                other => format!("its certificate is refused ({other})"),
            },
            rustls::Error::InvalidMessage(_) => {
                "it does not speak TLS: is that the coordinator's gRPC port?".to_owned()
            }
            other => format!("no TLS with it ({other})"),
        };
        Some(Untrusted { url: self.url.clone(), why })
    }
}

impl Authority {
    fn load(source: &Source) -> Result<Self, ConfigError> {
        let file = PathBuf::from(source.string("ca_file")?.unwrap_or_else(|| DEFAULT_CA_FILE.to_owned()));
        let invalid = |problem: String| {
            source.invalid("ca_file", problem, "copy the ca.pem of the coordinator there, which https:// needs")
        };
        let pem = std::fs::read_to_string(&file)
            .map_err(|error| invalid(format!("{} cannot be read ({error})", file.display())))?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let is_usable = certificate.is_ok_and(|certificate| RootCertStore::empty().add(certificate).is_ok());
            if !is_usable {
                return Err(invalid(format!("{} has a certificate that is damaged", file.display())));
            }
            count += 1;
        }
        if count == 0 {
            return Err(invalid(format!("{} has no certificate in PEM", file.display())));
        }
        Ok(Self { file, pem: pem.into() })
    }
}

/// The host of an address, without the brackets of IPv6.
fn host_of(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).to_owned()
}

/// Whether it is this host for sure.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What TLS said, below tonic's own words.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let of_io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let of_io = of_io.and_then(|error| error.downcast_ref::<rustls::Error>());
        if let Some(error) = error.downcast_ref::<rustls::Error>().or(of_io) {
            return Some(error);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
pub(crate) mod tests;
