//! HTTP on loopback: the dashboard and what it asks for, `/metrics` for Prometheus, `/healthz` (the process runs),
//! `/readyz` (queues and EC2 can be read; its JSON has the other parts too). `/` is text for who asks for none of HTML.
//!
//! - `guard`: who may look and who may act: Host and Origin, and the headers of every answer
//! - `api`: status, history, plans, as JSON
//! - `stream`: the status as it changes
//! - `actions`: what operators ask for by buttons
//! - `files`: the page's files

mod actions;
mod api;
mod files;
mod guard;
mod stream;

use std::net::SocketAddr;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use spillway_proto::v1;
use spillway_words::shown::visible;

use crate::config::OperatorsKind;
use crate::doors::{Door, Peer, WatchedLayer};
use crate::pools::PoolList;
use crate::prices::{self, PriceBook};
use crate::rpc::{PARTS, is_well, parts};
use crate::{clock, fleet, telemetry};
use stream::Statuses;

/// How what is shown is written: by the crate whose words the command line uses too.
#[derive(Clone, Copy, Debug)]
pub struct Pages {
    /// `/` for terminals.
    pub text: fn(&v1::GetFleetResponse, SystemTime) -> String,
    /// `spillway status --json`.
    pub status: fn(&v1::GetFleetResponse) -> Value,
}

/// What the server serves.
#[derive(Clone, Debug)]
pub struct Served {
    pub pools: PoolList,
    pub metrics: PrometheusHandle,
    pub prices: PriceBook,
    pub pages: Pages,
    pub listen: SocketAddr,
    pub operators: OperatorsKind,
}

#[derive(Clone, Debug)]
struct Context {
    served: Served,
    statuses: Statuses,
}

/// Serves until `shutdown` completes.
pub async fn serve(
    door: Door,
    served: Served,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let statuses = Statuses::begin(served.pools.clone(), served.pages.status);
    let context = Context { served, statuses };
    let api = Router::new()
        .route("/session", get(api::session))
        .route("/status", get(api::status))
        .route("/stream", get(stream::stream))
        .route("/history", get(api::history))
        .route("/plans", get(api::plans))
        .route("/money", get(api::money))
        .route("/actions/{action}", post(actions::act));
    let routes = Router::new()
        .route("/", get(front))
        .route("/assets/{name}", get(files::asset))
        .route("/runbook", get(files::runbook))
        .nest("/api/v1", api)
        .layer(middleware::from_fn(guard::guard))
        .route("/metrics", get(prometheus))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(context)
        .layer(WatchedLayer);
    axum::serve(door, routes.into_make_service_with_connect_info::<Peer>()).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

async fn prometheus(State(context): State<Context>) -> impl IntoResponse {
    let pools = context.served.pools.shown();
    let statuses: Vec<_> = pools.iter().map(|pool| pool.status.borrow().clone()).collect();
    telemetry::record(&statuses);
    let mut text = context.served.metrics.render();
    text.push_str(&prices::lines(&context.served.prices, &pools));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn ready(State(context): State<Context>) -> impl IntoResponse {
    let parts = parts(context.served.pools.configured());
    let status = if is_well(parts) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body: serde_json::Map<_, _> =
        PARTS.iter().zip(parts).map(|(name, serves)| ((*name).to_owned(), json!(serves))).collect();
    (status, axum::Json(body))
}

/// The page for a browser, and text for everybody else.
async fn front(State(context): State<Context>, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/html") {
        return files::page(&headers);
    }
    // Whoever fetches it may look at it in a terminal.
    visible(&(context.served.pages.text)(&fleet::shown(&context.served.pools), clock::system_now())).into_response()
}
