//! HTTP on loopback: `/metrics` for Prometheus, `/healthz` (the process runs), `/readyz` (queues and EC2 can be
//! read; its JSON has the other parts too), and the status as text on `/`.

use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use spillway_proto::v1;
use spillway_words::shown::visible;

use crate::doors::{Door, Peer, WatchedLayer};
use crate::pools::PoolList;
use crate::rpc::{PARTS, is_well, parts};
use crate::{clock, fleet, telemetry};

/// Writes the status page.
pub type StatusPage = fn(&v1::GetFleetResponse, SystemTime) -> String;

#[derive(Clone)]
struct Context {
    pools: PoolList,
    metrics: PrometheusHandle,
    page: StatusPage,
}

/// Serves until `shutdown` completes.
pub async fn serve(
    door: Door,
    pools: PoolList,
    metrics: PrometheusHandle,
    page: StatusPage,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/", get(status))
        .route("/metrics", get(prometheus))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Context { pools, metrics, page })
        .layer(WatchedLayer);
    axum::serve(door, routes.into_make_service_with_connect_info::<Peer>()).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

async fn prometheus(State(context): State<Context>) -> impl IntoResponse {
    let statuses: Vec<_> = context.pools.shown().iter().map(|pool| pool.status.borrow().clone()).collect();
    telemetry::record(&statuses);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], context.metrics.render())
}

async fn ready(State(context): State<Context>) -> impl IntoResponse {
    let parts = parts(context.pools.configured());
    let status = if is_well(parts) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body: serde_json::Map<_, _> =
        PARTS.iter().zip(parts).map(|(name, serves)| ((*name).to_owned(), json!(serves))).collect();
    (status, axum::Json(body))
}

async fn status(State(context): State<Context>) -> impl IntoResponse {
    let now = clock::system_now();
    let statuses = context.pools.shown().iter().map(|pool| pool.status.borrow().clone()).collect();
    let leader = context.pools.configured().iter().all(|pool| pool.status.borrow().leading);
    let fleet = v1::GetFleetResponse { leader, ..fleet::of(statuses, clock::now()) };
    // Whoever fetches it may look at it in a terminal.
    visible(&(context.page)(&fleet, now))
}
