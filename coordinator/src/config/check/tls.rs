//! Checks of `[grpc.tls]`: plaintext never leaves this host.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::Check;
use crate::config::{ConfigError, OwnCertificate, Tls, TlsSection};
use crate::tls::is_name;

/// None: plaintext, which only a `grpc.listen` on loopback may be.
pub(super) fn check(check: &Check<'_>, section: TlsSection, listen: SocketAddr) -> Result<Option<Tls>, ConfigError> {
    let TlsSection { mode, certificate_file, key_file, names } = section;
    let is_on = match mode.as_deref().unwrap_or("auto") {
        "auto" => !listen.ip().is_loopback(),
        "on" => true,
        "off" if listen.ip().is_loopback() => false,
        "off" => {
            let detail = format!(
                "\"off\" is for a grpc.listen on loopback, and {listen} is reached over the network: remove it, or set \
                 grpc.listen to 127.0.0.1:{}",
                listen.port()
            );
            return Err(check.bad("grpc.tls.mode", detail));
        }
        other => {
            return Err(
                check.bad("grpc.tls.mode", format!("\"{other}\" is unknown: write \"auto\", \"on\" or \"off\""))
            );
        }
    };
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        let detail = format!("\"{name}\" is no host name and no address: write \"primary.example\", for example");
        return Err(check.bad("grpc.tls.names", detail));
    }
    let given = |path: Option<String>| path.filter(|path| !path.is_empty()).map(PathBuf::from);
    let own = match (given(certificate_file), given(key_file)) {
        (Some(certificate_file), key_file) => {
            let key_file = key_file.unwrap_or_else(|| certificate_file.clone());
            Some(OwnCertificate { certificate_file, key_file })
        }
        (None, Some(_)) => {
            let detail = "has no certificate: set grpc.tls.certificate_file too, or remove this";
            return Err(check.bad("grpc.tls.key_file", detail));
        }
        (None, None) => None,
    };
    Ok(is_on.then_some(Tls { own, names }))
}
