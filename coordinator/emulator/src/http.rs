//! Serves HTTP/1.1 on loopback: limits connections, bodies and waiting, and rejects web pages as clients.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, ORIGIN};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

const MAX_CONNECTIONS: usize = 512;
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Also how long a connection may be idle: longer than any client's interval, so that none is closed in use.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept, for example without free descriptors, rather than a busy loop.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

pub(crate) type Answer = Response<Full<Bytes>>;

/// The ends of a connection; in the extensions of each request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The listener's address.
    own: Option<IpAddr>,
    /// Who asks.
    pub(crate) peer: SocketAddr,
}

/// The connection is to be dropped without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is dropped by a `lose` fault")]
pub(crate) struct Lost;

/// Serves until `stop` is true, and then drops all connections.
pub(crate) async fn serve<H, F>(listener: TcpListener, mut stop: watch::Receiver<bool>, handle: H)
where
    H: Fn(Parts, Bytes) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Answer, Lost>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // A machine's metadata service has an address that is not loopback, in the machine's own network.
    let own = listener.local_addr().map(|address| address.ip()).ok();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let place = Arc::clone(&room).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
        };
        let (Ok(place), Ok((stream, peer))) = accepted else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        let handle = handle.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, Peer { own, peer }, handle.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(place);
        });
    }
    connections.shutdown().await;
}

async fn answer<H, F>(request: Request<Incoming>, peer: Peer, handle: H) -> Result<Answer, Lost>
where
    H: Fn(Parts, Bytes) -> F,
    F: Future<Output = Result<Answer, Lost>>,
{
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(peer);
    if !is_local(&parts, peer.own) {
        return Ok(text(
            StatusCode::FORBIDDEN,
            "The emulator serves local programs only: requests with an Origin header, or a Host that is not loopback, are rejected",
        ));
    }
    let body = match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            return Ok(text(StatusCode::PAYLOAD_TOO_LARGE, "The request body is larger than 1 MiB, or incomplete"));
        }
        Err(_) => return Ok(text(StatusCode::REQUEST_TIMEOUT, "The request body did not arrive in time")),
    };
    handle(parts, body).await
}

/// A web page in the user's browser can reach loopback as well. It is recognized by its `Origin`, or, if its own name
/// resolves to this host, by its `Host`.
fn is_local(parts: &Parts, own: Option<IpAddr>) -> bool {
    if parts.headers.contains_key(ORIGIN) {
        return false;
    }
    let Some(host) = parts.headers.get(HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || Some(address) == own)
        || is_sts(name)
}

/// STS' own name, which is part of what is signed for it: no page of a stranger has one of AWS's names.
fn is_sts(name: &str) -> bool {
    let region = name.strip_prefix("sts.").and_then(|rest| {
        ["amazonaws.com", "amazonaws.com.cn"].iter().find_map(|suffix| rest.strip_suffix(suffix)?.strip_suffix('.'))
    });
    region.is_some_and(|region| crate::region::Region::new(region).is_some())
}

pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Answer {
    respond(status, "text/plain", body.into())
}

pub(crate) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    answer
}
