//! The metadata service of one instance (IMDSv2), on a loopback port of its own; of machines, at the address that EC2's
//! has, in their network.
//!
//! What there is to read stands in `tree`; here are tokens, methods and statuses.

mod tokens;
mod tree;

use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use tokio::sync::watch;

use crate::http::{self, Answer, Peer, respond, text};
use crate::model::InstanceState;
use crate::shared::Shared;
use tokens::Tokens;

const TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Serves the metadata of the instance `id` until `closed` is true.
pub(crate) async fn serve(shared: Arc<Shared>, id: String, listener: TcpListener, closed: watch::Receiver<bool>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(instance = id, %error, "metadata service cannot listen"),
    };
    let service = Arc::new(Service { shared, id, tokens: Mutex::new(Tokens::default()) });
    http::serve(listener, closed, move |parts, _| {
        let service = Arc::clone(&service);
        async move { Ok(service.answer(&parts)) }
    })
    .await;
}

/// Serves the metadata of all machines, each by the address that it asks from, until the emulator ends.
pub(crate) async fn serve_machines(shared: Arc<Shared>, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "metadata service of the machines cannot listen"),
    };
    let services: Arc<Mutex<HashMap<String, Arc<Service>>>> = Arc::default();
    let closed = shared.stopping.subscribe();
    http::serve(listener, closed, move |parts, _| {
        let id = parts.extensions.get::<Peer>().and_then(|peer| machine_at(&shared, peer.peer.ip()));
        let service = id.map(|id| {
            let mut services = services.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Service { shared: Arc::clone(&shared), id: id.clone(), tokens: Mutex::default() });
            Arc::clone(services.entry(id.clone()).or_insert_with(new))
        });
        async move { Ok(service.map_or_else(|| refuse(StatusCode::NOT_FOUND), |service| service.answer(&parts))) }
    })
    .await;
}

/// The instance whose private address this is, while it lives.
fn machine_at(shared: &Shared, address: IpAddr) -> Option<String> {
    let (state, address) = (shared.state(), address.to_string());
    let mut instances = state.resources.instances.values();
    let found = instances.find(|it| it.private_ip == address && it.state != InstanceState::Terminated);
    found.map(|instance| instance.id.clone())
}

struct Service {
    shared: Arc<Shared>,
    id: String,
    tokens: Mutex<Tokens>,
}

impl Service {
    fn answer(&self, parts: &Parts) -> Answer {
        let instance = self.shared.state().resources.instances.get(&self.id).cloned();
        let Some(instance) = instance else { return refuse(StatusCode::NOT_FOUND) };
        if !instance.metadata.enabled {
            return refuse(StatusCode::FORBIDDEN);
        }
        let path = parts.uri.path();
        if parts.method == Method::PUT && path.trim_end_matches('/') == "/latest/api/token" {
            return self.grant(parts);
        }
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return refuse(StatusCode::METHOD_NOT_ALLOWED);
        }
        let now_ms = self.shared.clock.now_ms();
        let token = parts.headers.get(&TOKEN);
        let left = token
            .and_then(|token| token.to_str().ok())
            .and_then(|token| self.tokens.lock().unwrap_or_else(PoisonError::into_inner).seconds_left(token, now_ms));
        if left.is_none() && (token.is_some() || instance.metadata.tokens_required) {
            return refuse(StatusCode::UNAUTHORIZED);
        }
        let mut answer = match tree::read(&instance, &self.shared.region, now_ms, path) {
            Some(content) => {
                let kind = if path.ends_with("/user-data") { "application/octet-stream" } else { "text/plain" };
                respond(StatusCode::OK, kind, content)
            }
            None => refuse(StatusCode::NOT_FOUND),
        };
        if let Some(left) = left {
            answer.headers_mut().insert(TTL, HeaderValue::from(left));
        }
        answer
    }

    fn grant(&self, parts: &Parts) -> Answer {
        if parts.headers.contains_key(&FORWARDED_FOR) {
            return refuse(StatusCode::FORBIDDEN);
        }
        let seconds = parts.headers.get(&TTL).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let Some(seconds) = seconds.filter(|seconds| (1..=tokens::MAX_TTL_SECONDS).contains(seconds)) else {
            return refuse(StatusCode::BAD_REQUEST);
        };
        let now_ms = self.shared.clock.now_ms();
        let token = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).grant(seconds, now_ms);
        let mut answer = text(StatusCode::OK, token);
        answer.headers_mut().insert(TTL, HeaderValue::from(seconds));
        answer
    }
}

fn refuse(status: StatusCode) -> Answer {
    let code = status.as_u16();
    let reason = status.canonical_reason().unwrap_or("Error");
    let page = format!(
        "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n<html xmlns=\"http://www.w3.org/1999/xhtml\">\n <head>\n  \
         <title>{code} - {reason}</title>\n </head>\n <body>\n  <h1>{code} - {reason}</h1>\n </body>\n</html>\n"
    );
    respond(status, "text/html", page)
}
