//! Who is an operator: whoever is on this host, or shows the operators' token; and on the Unix socket, the accounts
//! that the settings name. Owns that judgement and the name under which a request is logged.

use std::fmt;
use std::sync::Arc;

use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

use super::refusals::Refusals;
use super::{caller, is_loopback};
use crate::agents::equal_in_constant_time;

/// The operators' token. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorToken(Arc<str>);

impl OperatorToken {
    /// The token that is written in a file, without the blanks around it.
    pub fn new(token: &str) -> Self {
        Self(token.trim().into())
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

/// By what operators are known.
#[derive(Clone, Debug)]
pub enum Operators {
    /// They are on this host.
    Loopback,
    /// They show the token, where there is one, or come by the Unix socket.
    Token(Option<OperatorToken>),
}

/// Judges operators' requests.
#[derive(Clone, Debug)]
pub(super) struct Access {
    operators: Operators,
    /// Beside root and this process' own account, who may use the Unix socket.
    accounts: Arc<[u32]>,
    refusals: Refusals,
}

impl Access {
    pub(super) fn new(operators: Operators, accounts: Arc<[u32]>) -> Self {
        Self { operators, accounts, refusals: Refusals::of_operators() }
    }

    /// Who asks, for the log and `spillway explain`.
    ///
    /// # Errors
    /// Whoever asks is no operator; says how to become one.
    pub(super) async fn admit<T>(&self, request: &Request<T>) -> Result<String, Status> {
        match self.judge(request) {
            Ok(by) => Ok(by),
            Err(status) => {
                let peer = request.remote_addr().map(|peer| peer.ip());
                self.refusals.refused(peer, "", status.message()).await;
                Err(status)
            }
        }
    }

    fn judge<T>(&self, request: &Request<T>) -> Result<String, Status> {
        if let Some(socket) = request.extensions().get::<UdsConnectInfo>() {
            return self.by_socket(socket.peer_cred.map(|cred| cred.uid()));
        }
        let peer = request.remote_addr();
        match &self.operators {
            Operators::Loopback if is_loopback(peer) => Ok(caller::of(request)),
            Operators::Loopback => Err(Status::permission_denied(
                "operators' requests are accepted over loopback only: connect to 127.0.0.1 on the coordinator's host, or set \
                 grpc.operators = \"token\" there",
            )),
            Operators::Token(token) => {
                let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
                let given = bearer.and_then(|value| value.strip_prefix("Bearer "));
                by_token(token.as_ref(), given)?;
                Ok(format!("{} with the operators' token", caller::of(request)))
            }
        }
    }

    fn by_socket(&self, uid: Option<u32>) -> Result<String, Status> {
        let Some(uid) = uid else { return Err(Status::permission_denied("the kernel does not tell who you are")) };
        let account = caller::account(uid);
        if uid == 0 || uid == rustix::process::geteuid().as_raw() || self.accounts.contains(&uid) {
            return Ok(account);
        }
        Err(Status::permission_denied(format!(
            "{account} is no operator: use sudo, or name the account in grpc.operator_accounts"
        )))
    }
}

/// Whether the token that was given is the operators'.
fn by_token(token: Option<&OperatorToken>, given: Option<&str>) -> Result<(), Status> {
    let Some(token) = token else {
        return Err(Status::unauthenticated(
            "operators ask by the coordinator's Unix socket: --server unix:/run/spillway/operators.sock, with sudo. For a token, \
             set grpc.operator_token_file there",
        ));
    };
    match given {
        Some(given) if equal_in_constant_time(&token.0, given) => Ok(()),
        Some(_) => Err(Status::unauthenticated(
            "wrong operators' token: compare --token-file with the coordinator's grpc.operator_token_file",
        )),
        None => Err(Status::unauthenticated(
            "operators show a token here (grpc.operators = \"token\"): --token-file FILE, or with sudo \
             --server unix:/run/spillway/operators.sock",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tonic::transport::server::TcpConnectInfo;

    use super::*;

    fn request(peer: &str, token: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        let remote_addr: SocketAddr = peer.parse().expect("an address");
        request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr: Some(remote_addr) });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        }
        request
    }

    #[test]
    fn on_loopback_everybody_is_an_operator_and_elsewhere_nobody() {
        let access = Access::new(Operators::Loopback, [].into());
        assert!(access.judge(&request("127.0.0.1:9", None)).is_ok());
        assert!(access.judge(&request("[::ffff:127.0.0.1]:9", None)).is_ok());
        let refused = access.judge(&request("10.0.0.9:9", Some("t"))).expect_err("from elsewhere");
        assert!(refused.message().contains("over loopback only"), "{refused}");
    }

    #[test]
    fn a_token_is_asked_of_everybody_on_loopback_too() {
        let access = Access::new(Operators::Token(Some(OperatorToken::new("right\n"))), [].into());
        for peer in ["127.0.0.1:9", "10.0.0.9:9"] {
            assert!(access.judge(&request(peer, Some("right"))).is_ok(), "{peer}");
            for wrong in [None, Some("wrong"), Some(""), Some("right\t"), Some("righ")] {
                assert!(access.judge(&request(peer, wrong)).is_err(), "{peer} {wrong:?}");
            }
        }
        let by = access.judge(&request("10.0.0.9:9", Some("right"))).expect("the token");
        assert!(by.contains("10.0.0.9") && by.contains("with the operators' token") && !by.contains("right"), "{by}");
        let none = Access::new(Operators::Token(None), [].into());
        let refused = none.judge(&request("127.0.0.1:9", Some(""))).expect_err("there is no token");
        assert!(refused.message().contains("operators.sock"), "{refused}");
    }

    #[test]
    fn the_socket_is_for_root_for_this_account_and_for_those_that_are_named() {
        let access = Access::new(Operators::Token(None), [4242].into());
        let own = rustix::process::geteuid().as_raw();
        for uid in [0, own, 4242] {
            assert!(access.by_socket(Some(uid)).is_ok(), "{uid}");
        }
        let refused = access.by_socket(Some(4243)).expect_err("a stranger");
        assert!(refused.message().contains("uid 4243") && refused.message().contains("operator_accounts"), "{refused}");
        assert!(access.by_socket(None).is_err());
        assert_eq!(format!("{:?}", OperatorToken::new("secret")), "OperatorToken(…)");
    }
}
