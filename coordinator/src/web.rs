//! HTTP on loopback: `/metrics` for Prometheus, `/healthz` (the process lives), `/readyz` (queues and EC2 are seen), and
//! the status as text on `/`.

use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use spillway_proto::v1;
use tokio::net::TcpListener;

use crate::reconcile::PoolHandle;
use crate::rpc::{PARTS, parts};
use crate::{clock, telemetry};

/// Writes the status page: the pools, whether this coordinator leads them, and the time.
pub type StatusPage = fn(&[v1::Pool], bool, SystemTime) -> String;

#[derive(Clone)]
struct Shown {
    pools: Vec<PoolHandle>,
    metrics: PrometheusHandle,
    page: StatusPage,
}

/// Serves until `shutdown` completes.
pub async fn serve(
    listener: TcpListener,
    pools: Vec<PoolHandle>,
    metrics: PrometheusHandle,
    page: StatusPage,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/", get(status))
        .route("/metrics", get(prometheus))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(Shown { pools, metrics, page });
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

async fn prometheus(State(shown): State<Shown>) -> impl IntoResponse {
    let statuses: Vec<_> = shown.pools.iter().map(|pool| pool.status.borrow().clone()).collect();
    telemetry::record(&statuses);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shown.metrics.render())
}

async fn ready(State(shown): State<Shown>) -> impl IntoResponse {
    let parts = parts(&shown.pools);
    let [queue, cloud, _] = parts;
    let status = if queue && cloud { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let said: serde_json::Map<_, _> =
        PARTS.iter().zip(parts).map(|(name, serves)| ((*name).to_owned(), json!(serves))).collect();
    (status, axum::Json(said))
}

async fn status(State(shown): State<Shown>) -> impl IntoResponse {
    let pools = shown.pools.iter().map(|pool| pool.status.borrow().view.clone()).collect::<Vec<_>>();
    let leads = shown.pools.iter().all(|pool| pool.status.borrow().leading);
    (shown.page)(&pools, leads, clock::system_now())
}
