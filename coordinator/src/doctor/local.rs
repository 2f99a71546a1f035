//! This machine: ports, certificates, how agents and operators are known.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::Finding;
use crate::config::{OperatorsKind, Settings, TrustKind, for_operators};
use crate::tls;

/// A certificate that ends so soon should have been renewed.
const SOON: Duration = Duration::from_secs(14 * 86_400);
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn examine(settings: &Settings, say: &mut impl FnMut(Finding)) {
    let runs = coordinator_answers(for_operators(settings.grpc_listen)).await;
    say(match runs {
        true => Finding::ok("coordinator.running", "a coordinator answers on this machine"),
        false => Finding::warn(
            "coordinator.running",
            "no coordinator answers on this machine",
            "systemctl enable --now spillway, once nothing here fails",
        ),
    });
    // Where it runs the ports are its own.
    if !runs {
        say(port("grpc.port", "grpc.listen", settings.grpc_listen).await);
        say(port("http.port", "http.listen", settings.http_listen).await);
    }
    say(exposed(settings.http_listen));
    say(trust(settings));
    say(operators(settings));
    say(certificate(settings));
}

async fn coordinator_answers(address: SocketAddr) -> bool {
    let asked = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let mut health = HealthClient::new(endpoint.connect().await.ok()?);
        health.check(HealthCheckRequest::default()).await.ok()
    };
    tokio::time::timeout(ANSWERS_WITHIN, asked).await.ok().flatten().is_some()
}

async fn port(id: &'static str, key: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address).await {
        Ok(_) => Finding::ok(id, format!("{key} {address} is free")),
        Err(error) => Finding::fail(
            id,
            format!("cannot listen on {key} {address}: {error}"),
            format!("see who has it (ss -ltnp), or set {key} to another address"),
        ),
    }
}

fn exposed(http: SocketAddr) -> Finding {
    const ID: &str = "http.loopback";
    if http.ip().is_loopback() {
        return Finding::ok(ID, "pages and metrics are for this machine alone");
    }
    Finding::warn(
        ID,
        format!("http.listen {http} shows queues and instances to whoever reaches it, without a password"),
        "set http.listen to 127.0.0.1:7480, and reach it by ssh or a proxy that asks who it is",
    )
}

fn trust(settings: &Settings) -> Finding {
    const ID: &str = "grpc.trust";
    let listens_here: IpAddr = settings.grpc_listen.ip();
    match settings.trust {
        TrustKind::Aws => Finding::ok(ID, "agents prove by their instance profile which instance they are"),
        TrustKind::Token if listens_here.is_loopback() => Finding::ok(ID, "agents are on this machine"),
        TrustKind::Token => Finding::warn(
            ID,
            "whoever has the join token can register as any instance (grpc.trust = \"token\")",
            "set grpc.trust = \"aws\"",
        ),
    }
}

fn operators(settings: &Settings) -> Finding {
    const ID: &str = "grpc.operators";
    match (settings.operators, &settings.operator_token_file) {
        (OperatorsKind::Loopback, _) => Finding::ok(ID, "operators are whoever is on this machine"),
        (OperatorsKind::Token, Some(file))
            if std::fs::metadata(file).is_err_and(|it| it.kind() == std::io::ErrorKind::NotFound) =>
        {
            Finding::fail(
                ID,
                format!("there is no {} with the operators' token", file.display()),
                "make it: openssl rand -hex 32, mode 0600",
            )
        }
        (OperatorsKind::Token, _) => Finding::ok(ID, "operators show a token, or come by the Unix socket"),
    }
}

fn certificate(settings: &Settings) -> Finding {
    const ID: &str = "tls.certificate";
    let Some(tls) = &settings.tls else {
        return Finding::ok(ID, "gRPC is in plaintext, on loopback alone");
    };
    if let Some(own) = &tls.own {
        return match tls::own_is_valid_for(own) {
            Ok(left) if left < SOON => Finding::warn(
                ID,
                format!("your certificate ends in {}", spillway_words::in_words(left)),
                "replace both files: they are read anew by themselves",
            ),
            Ok(left) => Finding::ok(ID, format!("your certificate is valid for {}", spillway_words::in_words(left))),
            Err(problem) => {
                Finding::fail(ID, problem.to_string(), "put a certificate there that is valid, with its key")
            }
        };
    }
    let published = Path::new("/run/spillway").join(tls::CA_FILE);
    match (&settings.state_directory, published.exists()) {
        (_, true) => Finding::ok(ID, format!("this installation's CA is in {}", published.display())),
        (Some(directory), false) => {
            Finding::ok(ID, format!("the first start makes a CA below {}", directory.display()))
        }
        (None, false) => Finding::fail(
            ID,
            "there is no place for this installation's CA",
            "set state_directory, or grpc.tls.certificate_file with a certificate of your own",
        ),
    }
}
