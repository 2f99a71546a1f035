//! By what agents are known, and where STS is asked about it. Owns what the settings mean; the proof itself is
//! `registration`'s.

use std::net::SocketAddr;

use tonic::transport::Uri;

use super::ConfigError;
use super::variables::Variables;

/// Of tests and demos: where connections to STS go. It never changes what is signed, or whose answer is believed.
const STS: &str = "AWS_ENDPOINT_URL_STS";

/// `grpc.trust`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrustKind {
    /// The instance profile's signature, judged by STS.
    #[default]
    Aws,
    /// The image's join token; on loopback being in the ledger is enough.
    Token,
}

impl TrustKind {
    /// What is written, or what goes with where the agents connect to.
    pub(super) fn of(written: Option<&str>, listen: SocketAddr) -> Option<Self> {
        match written {
            Some("aws") => Some(Self::Aws),
            Some("token") => Some(Self::Token),
            Some(_) => None,
            None if listen.ip().is_loopback() => Some(Self::Token),
            None => Some(Self::Aws),
        }
    }
}

/// Instead of STS' own address: `http://` on loopback alone, since whoever answers there says who an agent is.
pub(super) fn sts_endpoint(variables: &Variables) -> Result<Option<String>, ConfigError> {
    let Some(given) = variables.get(STS) else { return Ok(None) };
    let text = given.text.trim();
    let is_local = |uri: &Uri| {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        uri.scheme_str() == Some("http") && is_loopback && matches!(uri.path(), "" | "/") && uri.query().is_none()
    };
    match text.parse::<Uri>().ok().filter(is_local) {
        Some(_) => Ok(Some(format!("{}/", text.trim_end_matches('/')))),
        None => Err(ConfigError::Bad {
            origin: given.place.clone(),
            key: STS.to_owned(),
            detail: "is not http://127.0.0.1:PORT: whoever answers there says who an agent is, so only an emulator on this host \
                     may. Unset it to ask AWS"
                .to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_prove_themselves_unless_it_is_loopback_or_written_otherwise() {
        let (loopback, network) = ("127.0.0.1:1".parse().expect("it"), "0.0.0.0:1".parse().expect("it"));
        assert_eq!(TrustKind::of(None, loopback), Some(TrustKind::Token));
        assert_eq!(TrustKind::of(None, network), Some(TrustKind::Aws));
        assert_eq!(TrustKind::of(Some("aws"), loopback), Some(TrustKind::Aws));
        assert_eq!(TrustKind::of(Some("token"), network), Some(TrustKind::Token));
        assert_eq!(TrustKind::of(Some("AWS"), network), None);
    }

    #[test]
    fn sts_is_somewhere_else_on_loopback_alone() {
        let of = |text: &str| {
            let environment = [(STS.to_owned(), text.to_owned())].into();
            sts_endpoint(&Variables::of_process(&environment)).map_err(|error| error.to_string())
        };
        assert_eq!(of("http://127.0.0.1:7470"), Ok(Some("http://127.0.0.1:7470/".to_owned())));
        assert_eq!(of("http://[::1]:7470/"), Ok(Some("http://[::1]:7470/".to_owned())));
        for text in [
            "https://127.0.0.1:1",
            "http://localhost:1",
            "http://127.0.0.1.evil.com:1",
            "http://10.0.0.1:1",
            "http://user@127.0.0.2@evil.com",
            "http://127.0.0.1:1/x",
            "http://127.0.0.1:1/?x",
            "127.0.0.1:1",
            "http://",
        ] {
            let refused = of(text).expect_err(text);
            assert!(refused.contains("AWS_ENDPOINT_URL_STS") && refused.contains("Unset it to ask AWS"), "{refused}");
        }
    }
}
