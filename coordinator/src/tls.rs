//! TLS of gRPC: this installation's CA, or the operator's own certificate, and what is served of it.
//!
//! Agents pin a CA that signs for nothing but this installation. It is made at the first start and kept in the state
//! directory; whoever has it is the coordinator for every agent. Of a certificate for the server nothing is kept: it is
//! issued at each start and long before it ends, so that there is no key to copy and no file to be half written. It is
//! exchanged for new connections only: no session ends by it.
//!
//! - `authority`: the CA, made, read and used
//! - `own`: the operator's certificate instead
//! - `names`: the names and addresses that agents may connect to
//! - `keeper`: what is served, renewed before it ends
//! - `files`: read and written whole or not at all
//!
//! It never decides who may speak: that is what `rpc` asks of agents and operators.

mod authority;
mod files;
mod keeper;
mod names;
mod own;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::clock;
use crate::config::{OwnCertificate, Settings};
pub use authority::Authority;
pub use keeper::{Keeper, Lifetime};
pub use names::Names;
pub(crate) use names::is_name;

/// Below the state directory.
pub const DIRECTORY: &str = "tls";
/// What agents pin: everybody may read it.
pub const CA_FILE: &str = "ca.pem";
/// Nobody but the coordinator may read it.
pub const CA_KEY_FILE: &str = "ca.key";
/// gRPC alone is served.
const ALPN: &[u8] = b"h2";

/// Why there can be no TLS. A person must change something.
#[derive(Debug, Error)]
pub enum TlsProblem {
    #[error(
        "gRPC on {listen} needs TLS, and there is no place for its CA: set state_directory (SPILLWAY_STATE_DIRECTORY), or \
         grpc.tls.certificate_file with a certificate of your own"
    )]
    NoPlace { listen: std::net::SocketAddr },
    /// Something is wrong with a file; says what to do.
    #[error("{}: {detail}", file.display())]
    File { file: PathBuf, detail: String },
    #[error("cannot make the CA of gRPC in {} ({source}): let this user write there, or set state_directory", directory.display())]
    Unwritable { directory: PathBuf, source: std::io::Error },
    /// The libraries refuse what they were given.
    #[error("TLS of gRPC: {0}")]
    Library(String),
}

/// What is served, by settings: None where gRPC is in plaintext. The second value renews it.
///
/// # Errors
/// A file is missing, damaged or does not fit; there is no place for a CA.
pub fn of(settings: &Settings, published: Option<&Path>) -> Result<Option<(TlsAcceptor, Keeper)>, TlsProblem> {
    let Some(tls) = &settings.tls else { return Ok(None) };
    let lifetime = Lifetime::default();
    let keeper = match (&tls.own, &settings.state_directory) {
        (Some(own), _) => Keeper::of_own(own, lifetime)?,
        (None, Some(state)) => {
            let (listen, advertise) = (settings.grpc_listen, settings.grpc_advertise.clone());
            let further = tls.names.clone();
            let names = move || Names::of_this_machine(listen, advertise.as_deref(), &further);
            Keeper::of_authority(&state.join(DIRECTORY), published.map(Path::to_owned), Box::new(names), lifetime)?
        }
        (None, None) => return Err(TlsProblem::NoPlace { listen: settings.grpc_listen }),
    };
    Ok(Some((acceptor(&keeper)?, keeper)))
}

/// Accepts TLS 1.3 with whatever the keeper serves at the time.
///
/// # Errors
/// The library refuses its own defaults.
pub fn acceptor(keeper: &Keeper) -> Result<TlsAcceptor, TlsProblem> {
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(|error| TlsProblem::Library(error.to_string()))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(keeper.served());
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Nothing of a session is kept for the next one: strangers could fill it, and an agent connects once.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// For how long the operator's own certificate is still valid.
///
/// # Errors
/// A file cannot be read, the two do not belong together, or it is not valid now.
pub fn own_is_valid_for(certificate: &OwnCertificate) -> Result<Duration, TlsProblem> {
    let issued = own::read(certificate)?;
    issued.validity.left(clock::system_now()).ok_or_else(|| TlsProblem::File {
        file: certificate.certificate_file.clone(),
        detail: "it has expired, or is not valid yet".to_owned(),
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
mod tests;
