//! `spillway run`: starts the pools and servers, reports its state to systemd, and stops within five seconds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future;
use metrics_exporter_prometheus::PrometheusHandle;
use sd_notify::NotifyState;
use spillway_proto::sts::Endpoint;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::agents::Agents;
use crate::beside::Beside;
use crate::clock;
use crate::cloud::Cloud;
use crate::config::{Settings, TrustKind, beside_for_operators};
use crate::doors::{Door, Doors};
use crate::ledger::Sessions;
use crate::notify::Notifier;
use crate::pools::{PoolList, Started, Starter};
use crate::prices::PriceBook;
use crate::reconcile::{Message, PoolStatus};
use crate::redis_client::Redis;
use crate::registration::Proofs;
use crate::rpc::{self, Context, Registration, Trust};
use crate::settling::Settling;
use crate::telemetry::traces::Exporting;
use crate::tls::{self, Keeper};
use crate::web::{Pages, Served};
use crate::{fleet, leading, operators, retire, telemetry, web};

/// For stopping the pools and releasing the lease: within systemd's five seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// And the records of their ends.
const RECORD_TIMEOUT: Duration = Duration::from_millis(500);
/// A pool's loop that has published nothing for this long hangs.
const HANG_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a running coordinator listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub grpc: std::net::SocketAddr,
    pub http: std::net::SocketAddr,
}

/// Sessions beyond the `max_instances` of all pools. A cap that is lowered by more keeps the agents that are there: a
/// session comes back by its token, and only a new registration is refused.
const SESSIONS_BESIDE: usize = 32;

/// Runs until `stop` turns true or its sender is dropped. `started` is called with the addresses once it listens (a
/// port 0 in the settings takes a free one); `page` writes what `/` shows.
///
/// # Errors
/// It cannot listen, a URL of Redis is invalid, or a server stopped.
pub async fn run(
    settings: Settings,
    pages: Pages,
    started: impl FnOnce(Addresses),
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let metrics = telemetry::install_metrics();
    let traces = telemetry::traces::begin()?;
    let Listening { grpc, http, addresses, keeper } = Listening::begin(&settings).await?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = runtime_directory();
    let door = operators::open(&settings, &[runtime.as_deref(), settings.state_directory.as_deref()])?;
    let agents = Agents::default();
    let mut pools = Pools::start(&settings, &agents).await?;
    let context = Context {
        pools: pools.list.clone(),
        agents: agents.clone(),
        registration: Registration {
            trust: trust(&settings, &pools)?,
            heartbeat_interval: settings.heartbeat_interval,
            sessions: pools.sessions.clone(),
            max_sessions: max_sessions(&settings),
        },
        operators: door.operators,
        operator_accounts: door.accounts.into(),
    };
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let mut servers = JoinSet::new();
    let keeping = tokio::spawn(async { future::OptionFuture::from(keeper.map(Keeper::run)).await });
    if let Some(socket) = door.socket {
        servers.spawn(rpc::serve_operators(socket, context.clone(), stopped(stop.clone())));
    }
    servers.spawn(rpc::serve_until(grpc, context, stopped(stop.clone())));
    let served = Served {
        pools: pools.list.clone(),
        metrics: metrics.clone(),
        prices: pools.prices.clone(),
        pages,
        listen: addresses.http,
        operators: settings.operators,
    };
    servers.spawn(web::serve(http, served, stopped(stop.clone())));
    tracing::info!(grpc = %addresses.grpc, http = %addresses.http, pools = pools.list.configured().len(), "started");
    started(addresses);
    let reporting = tokio::spawn(report_state(pools.list.clone(), agents, metrics, pools.prices.clone()));
    let ended = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        Some(server) = servers.join_next() => server.context("a server stopped unexpectedly")?,
        // Only by a panic. The lease is released, so that a standby takes over.
        Some(ended) = pools.loops.join_next() => {
            Err(anyhow::anyhow!("a pool's loop stopped unexpectedly: {ended:?}"))
        }
        settled = &mut pools.settling => settled.context("it stopped unexpectedly which installation this is")?,
    };
    tracing::info!("stopping: instances are left running");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    reporting.abort();
    keeping.abort();
    pools.stop().await;
    servers.abort_all();
    future::OptionFuture::from(traces.map(Exporting::end)).await;
    ended
}

/// What all pools may have, and what a cap that was lowered or a replacement needs beside.
fn max_sessions(settings: &Settings) -> usize {
    let pools = settings.pools.iter().map(|pool| usize::try_from(pool.brain.max_instances).unwrap_or(usize::MAX));
    pools.fold(SESSIONS_BESIDE, usize::saturating_add)
}

/// By what agents are known.
///
/// # Errors
/// They are to prove themselves, and the region in which STS would be asked is unknown.
fn trust(settings: &Settings, pools: &Pools) -> anyhow::Result<Trust> {
    if settings.trust == TrustKind::Token {
        if settings.join_token.is_none() {
            tracing::warn!(
                "grpc.join_token is not set: any process that can reach the gRPC port can register as an instance in the ledger"
            );
        }
        return Ok(Trust::Token(settings.join_token.clone(), Arc::default()));
    }
    let region = pools.region.as_deref().context(
        "ec2.region is not set, and nothing else says which region this is: agents prove themselves at its STS \
         (grpc.trust = \"aws\"). Set AWS_REGION",
    )?;
    let endpoint = Endpoint::of(region).context("ec2.region")?;
    if let Some(url) = &settings.sts_endpoint {
        tracing::warn!(url, "AWS_ENDPOINT_URL_STS is set: what answers there says which agent is which instance");
    }
    let (connects_to, role) = (settings.sts_endpoint.clone(), settings.role.clone());
    let proofs = Proofs::new(endpoint, connects_to, &settings.proxies, role, pools.installation.clone());
    Ok(Trust::Aws(Arc::new(proofs.context("the HTTP proxy")?)))
}

/// Every port of the coordinator, open.
struct Listening {
    grpc: Vec<Door>,
    http: Door,
    addresses: Addresses,
    /// Of the certificate; None: gRPC is in plaintext.
    keeper: Option<Keeper>,
}

impl Listening {
    async fn begin(settings: &Settings) -> anyhow::Result<Self> {
        let grpc = bind(settings.grpc_listen, "grpc.listen").await?;
        let http = bind(settings.http_listen, "http.listen").await?;
        let addresses = Addresses { grpc: grpc.local_addr()?, http: http.local_addr()? };
        let (tls, keeper) = tls::of(settings, runtime_directory().as_deref())?.unzip();
        let doors = Doors::new();
        let door = |listener, name| doors.door(listener, name).with_tls(tls.clone());
        let mut grpc = vec![door(grpc, "grpc.listen")];
        // Operators are answered over loopback only, and an address of the network is none.
        if let Some(operators) = beside_for_operators(addresses.grpc) {
            let operators = bind(operators, "operators' side of grpc.listen").await?;
            grpc.push(door(operators, "grpc.listen on loopback"));
        }
        Ok(Self { grpc, http: doors.door(http, "http.listen"), addresses, keeper })
    }
}

/// The running loops of all pools, and who leads them.
struct Pools {
    list: PoolList,
    region: Option<String>,
    /// Once it is known.
    installation: watch::Receiver<Option<String>>,
    sessions: Sessions,
    loops: JoinSet<()>,
    /// Ends where this installation's identity cannot be settled, or is not what the ledger's instances say.
    settling: JoinHandle<anyhow::Result<()>>,
    /// Renew the leases until `release` is dropped.
    leading: JoinSet<()>,
    release: watch::Sender<()>,
    /// Write the records; each ends after its pool's loop.
    stores: JoinSet<()>,
    /// Reads prices.
    pricing: JoinHandle<()>,
    prices: PriceBook,
    /// Sends messages until `quiet` is dropped; none without a webhook.
    notifier: JoinSet<()>,
    quiet: watch::Sender<()>,
}

impl Pools {
    async fn start(settings: &Settings, agents: &Agents) -> anyhow::Result<Self> {
        let advertised = settings.grpc_advertise.iter().map(|address| format!("@{address}")).collect::<String>();
        let cloud = Cloud::connect(settings.region.as_deref(), &settings.proxies).await;
        let cloud = cloud.context("the HTTP proxy")?;
        if let Some(proxy) = &settings.proxies.https {
            tracing::info!(%proxy, "AWS is reached through a proxy");
        }
        let (beside, beside_seen) = watch::channel(Beside::default());
        let sessions = Sessions::new(Redis::new("ledger.url", &settings.ledger_url)?, &settings.ledger_prefix);
        let region = cloud.region();
        let prices = PriceBook::new(region.as_deref(), &settings.prices);
        let starter = Starter {
            settings: Arc::new(settings.clone()),
            cloud: cloud.clone(),
            agents: agents.clone(),
            holder: format!("{}{advertised}", uuid::Uuid::new_v4()),
            beside,
            sessions: sessions.clone(),
            prices: prices.clone(),
        };
        let (mut loops, mut leading, mut stores) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let (release, released) = watch::channel(());
        let settling = Settling::begin(settings, cloud.clone())?;
        let home = settling.home();
        let (known, is_known) = watch::channel(None);
        let settling = settling.settle_first(known, beside_seen.clone()).await?;
        let mut handles = Vec::new();
        for pool in &settings.pools {
            let Started { reconciler, handle, lease, leader, store } = starter.start(pool)?;
            loops.spawn(reconciler.run());
            if let Some((store, frames)) = store {
                stores.spawn(store.run(frames));
            }
            leading.spawn(leading::hold(lease, handle.clone(), leader, is_known.clone(), released.clone()));
            handles.push(handle);
        }
        let list = PoolList::new(handles);
        let (quiet, is_quiet) = watch::channel(());
        let mut notifier = JoinSet::new();
        if let Some(of) = Notifier::of(settings, list.clone())? {
            notifier.spawn(of.run(is_quiet));
        }
        let installation = is_known.clone();
        leading.spawn(retire::watch(starter, list.clone(), home, is_known, beside_seen, released));
        let settling = tokio::spawn(settling);
        let pricing = tokio::spawn(prices.clone().keep(cloud, list.clone()));
        Ok(Self {
            list,
            region,
            installation,
            sessions,
            loops,
            settling,
            leading,
            release,
            stores,
            pricing,
            prices,
            notifier,
            quiet,
        })
    }

    /// Stops the loops, which save their state, and then releases the lease.
    async fn stop(mut self) {
        self.settling.abort();
        self.pricing.abort();
        drop(self.quiet);
        for pool in self.list.all() {
            let _ = pool.messages.send(Message::Stop).await;
        }
        let stopped = tokio::time::timeout(STOP_TIMEOUT, async {
            while self.loops.join_next().await.is_some() {}
            while self.notifier.join_next().await.is_some() {}
            // The leases are released last: until then no other coordinator may write what is being saved.
            drop(self.release);
            while self.leading.join_next().await.is_some() {}
        });
        if stopped.await.is_err() {
            tracing::warn!("stopping timed out: calls that still ran are abandoned; every decision is in the ledger");
        }
        // Behind the leases: the next leader does not wait for the record.
        let written = tokio::time::timeout(RECORD_TIMEOUT, async { while self.stores.join_next().await.is_some() {} });
        if written.await.is_err() {
            tracing::warn!("the end of the record could not be written in time: history has a gap");
        }
    }
}

/// systemd's directory for the unit, which everybody may enter: the state directory is the unit's alone.
fn runtime_directory() -> Option<PathBuf> {
    let all = std::env::var("RUNTIME_DIRECTORY").ok()?;
    all.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

async fn bind(address: std::net::SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} ({key}): is another coordinator running? Set {key} to another address")
    })
}

/// Reports to systemd that the loops run (its watchdog restarts a coordinator that hangs), and updates the metrics.
async fn report_state(pools: PoolList, agents: Agents, metrics: PrometheusHandle, prices: PriceBook) {
    let watchdog = sd_notify::watchdog_enabled();
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    let mut is_ready = false;
    let mut known = BTreeSet::new();
    loop {
        interval.tick().await;
        let now = clock::up();
        let statuses: Vec<PoolStatus> = pools.all().iter().map(|pool| pool.status.borrow().clone()).collect();
        let shown: Vec<PoolStatus> = pools.shown().iter().map(|pool| pool.status.borrow().clone()).collect();
        telemetry::record(&shown);
        prices.accrue(&pools.shown());
        telemetry::needed(&fleet::attention(&pools));
        let names: BTreeSet<String> = shown.iter().map(|status| status.view.name.clone()).collect();
        known.difference(&names).for_each(|pool| telemetry::gone(pool));
        known = names;
        // What was timed is kept one by one until somebody asks, or until this.
        metrics.run_upkeep();
        let is_alive = |status: &PoolStatus| status.alive_at.is_some_and(|at| now.saturating_sub(at) < HANG_TIMEOUT);
        let all_alive = statuses.iter().all(is_alive);
        if all_alive && !is_ready {
            is_ready = true;
            let _ = sd_notify::notify(&[NotifyState::Ready]);
        }
        if all_alive && watchdog.is_some() {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let lines: Vec<String> = shown.iter().map(status_line).collect();
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
