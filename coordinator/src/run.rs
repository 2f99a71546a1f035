//! `spillway run`: starts the pools and servers, reports its state to systemd, and stops within five seconds.

use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use spillway_pool::lease::RENEWED_EACH;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::agents::Agents;
use crate::clock;
use crate::cloud::Cloud;
use crate::config::Settings;
use crate::hand_back::HandBacks;
use crate::ledger::{Lease, LeaseChange, Ledger};
use crate::queue::QueueObserver;
use crate::reconcile::{Message, Parts, PoolHandle, PoolStatus, Reconciler};
use crate::redis_client::Redis;
use crate::rpc::{self, Context, Registration};
use crate::web::StatusPage;
use crate::{telemetry, web};

/// For stopping the pools and releasing the lease: within systemd's five seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// A pool's loop that has published nothing for this long hangs.
const HANG_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a running coordinator listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub grpc: std::net::SocketAddr,
    pub http: std::net::SocketAddr,
}

/// Runs until `stop` turns true or its sender is dropped. `started` is called with the addresses once it listens (a port 0
/// in the settings takes a free one); `page` writes what `/` shows.
///
/// # Errors
/// It cannot listen, a URL of Redis is invalid, or a server stopped.
pub async fn run(
    settings: Settings,
    page: StatusPage,
    started: impl FnOnce(Addresses),
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let metrics = telemetry::install_metrics();
    let grpc = bind(settings.grpc_listen, "grpc.listen").await?;
    let http = bind(settings.http_listen, "http.listen").await?;
    let addresses = Addresses { grpc: grpc.local_addr()?, http: http.local_addr()? };
    let agents = Agents::default();
    let mut pools = Pools::start(&settings, &agents).await?;
    if settings.join_token.is_none() {
        tracing::warn!(
            "grpc.join_token is not set: any process that can reach the gRPC port can register as an instance in the ledger"
        );
    }
    let context = Context {
        pools: pools.handles.clone(),
        agents: agents.clone(),
        registration: Registration {
            join_token: settings.join_token.clone(),
            heartbeat_interval: settings.heartbeat_interval,
        },
        leader_address: pools.leader_address.clone(),
    };
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let mut servers = JoinSet::new();
    servers.spawn(rpc::serve_until(grpc, context, stopped(stop.clone())));
    servers.spawn(web::serve(http, pools.handles.clone(), metrics, page, stopped(stop.clone())));
    tracing::info!(grpc = %addresses.grpc, http = %addresses.http, pools = pools.handles.len(), "started");
    started(addresses);
    let reporting = tokio::spawn(report_state(pools.handles.clone(), agents));
    let ended = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        Some(server) = servers.join_next() => server.context("a server stopped unexpectedly")?,
        // Only by a panic. The lease is released, so that a standby takes over.
        Some(ended) = pools.loops.join_next() => {
            Err(anyhow::anyhow!("a pool's loop stopped unexpectedly: {ended:?}"))
        }
    };
    tracing::info!("stopping: instances are left running");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    reporting.abort();
    pools.stop().await;
    servers.abort_all();
    ended
}

/// The running loops of all pools, and the leader lease that they share.
struct Pools {
    handles: Vec<PoolHandle>,
    loops: JoinSet<()>,
    leader_address: watch::Receiver<Option<String>>,
    /// Renews the lease until `release` is dropped.
    leading: JoinHandle<()>,
    release: mpsc::Sender<()>,
}

impl Pools {
    async fn start(settings: &Settings, agents: &Agents) -> anyhow::Result<Self> {
        let advertised = settings.grpc_advertise.iter().map(|address| format!("@{address}")).collect::<String>();
        let holder = format!("{}{advertised}", uuid::Uuid::new_v4());
        let cloud = Cloud::connect(settings.region.as_deref()).await;
        let mut loops = JoinSet::new();
        let mut handles = Vec::new();
        for pool in &settings.pools {
            let redis = Redis::new("redis.url", &settings.redis_url)?;
            let ledger_redis = Redis::new("ledger.url", &settings.ledger_url)?;
            let parts = Parts {
                cloud: cloud.clone(),
                agents: agents.clone(),
                ledger: Ledger::new(ledger_redis, &settings.ledger_prefix, &pool.name),
                observer: QueueObserver::new(redis, &pool.prefix, &pool.queues),
                hand_backs: HandBacks {
                    redis_url: settings.redis_url.clone(),
                    prefix: pool.prefix.clone(),
                    queues: pool.queues.clone(),
                },
                holder: holder.clone(),
            };
            let (reconciler, handle) = Reconciler::new(pool.clone(), parts);
            loops.spawn(reconciler.run());
            handles.push(handle);
        }
        let lease = Lease::new(Redis::new("ledger.url", &settings.ledger_url)?, &settings.ledger_prefix, &holder);
        let (release, released) = mpsc::channel(1);
        let (address, leader_address) = watch::channel(None);
        let leading = tokio::spawn(hold_lease(lease, handles.clone(), address, released));
        Ok(Self { handles, loops, leader_address, leading, release })
    }

    /// Stops the loops, which save their state, and then releases the lease.
    async fn stop(mut self) {
        for pool in &self.handles {
            let _ = pool.messages.send(Message::Stop).await;
        }
        let stopped = tokio::time::timeout(STOP_TIMEOUT, async {
            while self.loops.join_next().await.is_some() {}
            // The lease is released last: until then no other coordinator may write what is being saved.
            drop(self.release);
            let _ = self.leading.await;
        });
        if stopped.await.is_err() {
            tracing::warn!("stopping timed out: calls that still ran are abandoned; every decision is in the ledger");
        }
    }
}

async fn bind(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} ({key}): is another coordinator running? Set {key} to another address")
    })
}

/// Renews the lease and tells the pools whether they lead, until `released` closes; then releases it.
async fn hold_lease(
    mut lease: Lease,
    pools: Vec<PoolHandle>,
    leader_address: watch::Sender<Option<String>>,
    mut released: mpsc::Receiver<()>,
) {
    let mut interval = tokio::time::interval(RENEWED_EACH);
    let mut was_reachable = true;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = released.recv() => break,
        }
        let (change, problem) = lease.renew().await;
        if let (Some(problem), true) = (&problem, was_reachable) {
            tracing::warn!(%problem, "cannot renew the leader lease: retrying");
        }
        was_reachable = problem.is_none();
        leader_address.send_replace(lease.leader_address());
        for pool in &pools {
            let message = match change {
                LeaseChange::Gained { epoch } => Message::Lead { epoch },
                LeaseChange::Lost => Message::StandBy,
                LeaseChange::Unchanged => continue,
            };
            let _ = pool.messages.send(message).await;
        }
    }
    lease.release().await;
}

/// Reports to systemd that the loops run (its watchdog restarts a coordinator that hangs), and updates the metrics.
async fn report_state(pools: Vec<PoolHandle>, agents: Agents) {
    let watchdog = sd_notify::watchdog_enabled();
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    let mut is_ready = false;
    loop {
        interval.tick().await;
        let now = clock::now();
        let statuses: Vec<PoolStatus> = pools.iter().map(|pool| pool.status.borrow().clone()).collect();
        telemetry::record(&statuses);
        let is_alive = |status: &PoolStatus| status.alive_at.is_some_and(|at| now.since(at) < HANG_TIMEOUT);
        let all_alive = statuses.iter().all(is_alive);
        if all_alive && !is_ready {
            is_ready = true;
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
        if all_alive && watchdog.is_some() {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let lines: Vec<String> = statuses.iter().map(status_line).collect();
        let _ = sd_notify::notify(&[NotifyState::Status(&lines.join("; "))]);
        agents.keep_only(|id| {
            statuses.iter().any(|status| status.view.instances.iter().any(|instance| instance.id == id.0))
        });
    }
}

fn status_line(status: &PoolStatus) -> String {
    let desired = status.view.desired.map_or("?".to_owned(), |desired| desired.to_string());
    let demand = status.view.backlog.as_ref().map_or("?".to_owned(), |backlog| backlog.demand.to_string());
    format!("{}: {demand} jobs ready to run, {} of {desired} desired instances ready", status.view.name, status.ready)
}
