//! `spillway run`: puts the parts together, says to systemd how it is, and stops within five seconds.

use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use spillway_pool::lease::RENEWED_EACH;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::agents::Agents;
use crate::clock;
use crate::cloud::Cloud;
use crate::config::Settings;
use crate::hand_back::HandBacks;
use crate::ledger::{Lease, LeaseChange, Ledger};
use crate::queue::QueueObserver;
use crate::reconcile::{Message, Parts, PoolHandle, PoolStatus, Reconciler};
use crate::redis_client::Redis;
use crate::rpc::{self, AgentDoor, Context};
use crate::web::StatusPage;
use crate::{telemetry, web};

/// What is left of systemd's five seconds when the servers have been asked to end.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// Where a running coordinator listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub grpc: std::net::SocketAddr,
    pub http: std::net::SocketAddr,
}

/// Runs until `stop` turns true or its sender is gone. `started` is told the addresses once it listens (a port 0 in the
/// settings means a free one); `page` writes what `/` shows.
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
    let advertised = settings.grpc_advertise.iter().map(|address| format!("@{address}")).collect::<String>();
    let holder = format!("{}{advertised}", uuid::Uuid::new_v4());
    let cloud = Cloud::connect(settings.region.as_deref()).await;
    let mut loops = JoinSet::new();
    let mut pools = Vec::new();
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
        pools.push(handle);
    }
    if settings.join_token.is_none() {
        tracing::warn!(
            "no grpc.join_token: any process that reaches the port may register as an instance in the ledger"
        );
    }
    let lease = Lease::new(Redis::new("ledger.url", &settings.ledger_url)?, &settings.ledger_prefix, &holder);
    let (give_up, giving_up) = mpsc::channel(1);
    let (leader_at, leader_seen) = watch::channel(None);
    let leading = tokio::spawn(hold_lease(lease, pools.clone(), leader_at, giving_up));
    let door = AgentDoor { join_token: settings.join_token.clone(), heartbeat_interval: settings.heartbeat_interval };
    let context = Context { pools: pools.clone(), agents: agents.clone(), door, leader_at: leader_seen };
    let ends = |mut stop: watch::Receiver<bool>| async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let mut servers = JoinSet::new();
    servers.spawn(rpc::serve_until(grpc, context, ends(stop.clone())));
    servers.spawn(web::serve(http, pools.clone(), metrics, page, ends(stop.clone())));
    tracing::info!(grpc = %addresses.grpc, http = %addresses.http, pools = pools.len(), "started");
    started(addresses);
    let tended = tokio::spawn(tend(pools.clone(), agents));
    let ended = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        Some(server) = servers.join_next() => server.context("a server ended")?,
        // Never of itself: it panicked. Another coordinator must lead.
        Some(ended) = loops.join_next() => Err(anyhow::anyhow!("a pool's loop ended: {ended:?}")),
    };
    tracing::info!("stopping: instances are left running");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tended.abort();
    for pool in &pools {
        let _ = pool.messages.send(Message::Stop).await;
    }
    let finished = tokio::time::timeout(STOP_WITHIN, async {
        while loops.join_next().await.is_some() {}
        // The lease goes last: until then nobody else may write what is being saved.
        drop(give_up);
        let _ = leading.await;
    });
    if finished.await.is_err() {
        tracing::warn!("not everything ended in time; the ledger has what was decided");
    }
    servers.abort_all();
    ended
}

async fn bind(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} ({key}): is another coordinator running? Set {key} to another address")
    })
}

/// Renews the lease and tells the pools who leads, until `giving_up` closes.
async fn hold_lease(
    mut lease: Lease,
    pools: Vec<PoolHandle>,
    leader_at: watch::Sender<Option<String>>,
    mut giving_up: mpsc::Receiver<()>,
) {
    let mut interval = tokio::time::interval(RENEWED_EACH);
    let mut was_reachable = true;
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = giving_up.recv() => break,
        }
        let (change, problem) = lease.renew().await;
        if let (Some(problem), true) = (&problem, was_reachable) {
            tracing::warn!(%problem, "the leader lease cannot be renewed");
        }
        was_reachable = problem.is_none();
        leader_at.send_replace(lease.leader_at());
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

/// Tells systemd that the loops tick (its watchdog restarts a coordinator that hangs), and keeps the metrics.
async fn tend(pools: Vec<PoolHandle>, agents: Agents) {
    let watchdog = sd_notify::watchdog_enabled();
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    let mut is_ready = false;
    loop {
        interval.tick().await;
        let now = clock::now();
        let statuses: Vec<PoolStatus> = pools.iter().map(|pool| pool.status.borrow().clone()).collect();
        telemetry::record(&statuses);
        let comes_round = |status: &PoolStatus| status.alive_at.is_some_and(|at| now.since(at) < ALIVE_WITHIN);
        let all_alive = statuses.iter().all(comes_round);
        if all_alive && !is_ready {
            is_ready = true;
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
        if all_alive && watchdog.is_some() {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let words: Vec<String> = statuses.iter().map(status_line).collect();
        let _ = sd_notify::notify(&[NotifyState::Status(&words.join("; "))]);
        agents.keep_only(|id| {
            statuses.iter().any(|status| status.view.instances.iter().any(|instance| instance.id == id.0))
        });
    }
}

/// A loop that has shown nothing for so long hangs.
const ALIVE_WITHIN: Duration = Duration::from_secs(20);

fn status_line(status: &PoolStatus) -> String {
    let desired = status.view.desired.map_or("?".to_owned(), |desired| desired.to_string());
    let waiting = status.view.backlog.as_ref().map_or("?".to_owned(), |backlog| backlog.demand.to_string());
    format!("{}: {waiting} waiting, {} of {desired} instances ready", status.view.name, status.ready)
}
