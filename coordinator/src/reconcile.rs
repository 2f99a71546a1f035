//! The I/O loop of one pool: performs the pool's effects, and feeds their outcomes back. Decides nothing: when and
//! whether to act is decided by `spillway-pool`, what to do with instances by `spillway-brain`.
//!
//! ```text
//!   queue observer ─┐                  ┌─► ledger: saved before any action
//!   EC2's answers ──┼─► inputs ─► Pool ┤
//!   agents, operators┘    ▲            └─► effects: EC2 calls, commands to agents, hand-backs, replies
//!                         └──── outcomes come back as inputs ◄──┘
//! ```
//!
//! Calls run concurrently with the loop, each once. The loop waits only for the ledger, which answers or fails within
//! seconds.

mod log;
mod perform;
mod primary;
mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use spillway_attention::{Led, Watcher};
use spillway_brain::{AlertKind, InstanceId, QueueBacklog, Timestamp};
use spillway_pool::{Admission, Asker, Denied, FromAgent, Granted, Input, Now, Pool, Wish};
use spillway_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::agents::Agents;
use crate::beside::Beside;
use crate::cloud::{Cloud, LeftVolumes, ListedInstance};
use crate::hand_back::HandBacks;
use crate::ledger::{Ledger, Sessions};
use crate::prices::PriceBook;
use crate::queue::{JobsObserver, QueueObserver};
use crate::record::{Past, Recording};
use crate::registration::Expected;
use crate::telemetry::traces::Ticks;
use crate::telemetry::{self, Lives};
use crate::{clock, config};
use perform::Outcome;

/// Messages to a pool that may be queued; agents and operators wait when the channel is full.
const QUEUE_LENGTH: usize = 1024;
/// The status is published after each tick, and this often for what agents reported since.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);
/// So many more make it longer by as much again.
const INSTANCES_OF_AN_INTERVAL: u32 = 200;

/// A message to a pool's loop.
#[derive(Debug)]
pub enum Message {
    Agent(InstanceId, FromAgent),
    /// Answered with what will happen, or why the request is rejected.
    Operator(Request, oneshot::Sender<Result<Granted, Denied>>),
    Explain(usize, oneshot::Sender<Vec<v1::PlanRecord>>),
    /// It is known which installation this is.
    Identified(String),
    Lead {
        epoch: u64,
    },
    StandBy,
    /// Why this version does not read the pool's ledger, so that the lease is left to others; None: it does.
    LedgerRefused(Option<String>),
    /// Saves and stops; instances are left running.
    Stop,
}

/// An operator's request, and who makes it.
#[derive(Clone, Debug)]
pub struct Request {
    pub wish: Wish,
    pub by: String,
}

/// A pool's status, published after each tick and twice a second.
#[derive(Clone, Debug, Default)]
pub struct PoolStatus {
    pub view: v1::Pool,
    /// Which agents are admitted.
    pub admission: Admission,
    pub ready: usize,
    pub queue_serving: bool,
    pub cloud_serving: bool,
    pub launches: Launches,
    /// EC2 terminates what it is asked to.
    pub terminations_serving: bool,
    pub leading: bool,
    /// The epoch of its current leadership, or of the last one.
    pub epoch: u64,
    /// When it last ticked; None before the first tick as the leader.
    pub ticked_at: Option<Timestamp>,
    /// When the loop last published, by `clock::up`: a loop that hangs does not.
    pub alive_at: Option<Duration>,
    /// As last observed, one by one.
    pub queues: Vec<QueueBacklog>,
    /// How long jobs should wait at most.
    pub target: Duration,
    /// The breaker holds launches back.
    pub is_breaker_open: bool,
    /// What a person was told of, and is not over.
    pub alerts: BTreeSet<AlertKind>,
    /// Of the whole installation: every pool of a coordinator has the same.
    pub left_volumes: Option<LeftVolumes>,
    /// What EC2 says of the instances that it lists: what their agents must prove.
    pub placed: Arc<BTreeMap<InstanceId, Expected>>,
}

/// What becomes of launches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launches {
    /// Nothing that a person must fix keeps EC2 or the breaker from launching.
    pub serving: bool,
    /// EC2's answers since the ledger began, by outcome.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Whether launching is blocked, by class of refusal; and by the breaker.
    pub blocked: Vec<(&'static str, bool)>,
}

/// The channels to a running pool.
#[derive(Clone, Debug)]
pub struct PoolHandle {
    pub name: String,
    /// What its workers must work.
    pub queues: Vec<String>,
    pub prefix: String,
    /// This process' name in the pool's lease.
    pub holder: String,
    pub messages: mpsc::Sender<Message>,
    pub status: watch::Receiver<PoolStatus>,
    /// The leader's address for agents; None if unknown.
    pub leader: watch::Receiver<Option<String>>,
    /// Who leads it, as the lease was last seen.
    pub led: watch::Receiver<Led>,
    /// It is in no settings any more.
    pub is_retired: bool,
    /// Its settings, for whoever shows them.
    pub config: Arc<config::Pool>,
    pub past: Past,
    pub prices: PriceBook,
}

#[cfg(test)]
impl PoolHandle {
    /// Of a pool whose loop does not run; what is sent to it waits in the other value.
    pub(crate) fn without_loop(name: &str) -> (Self, mpsc::Receiver<Message>) {
        let (messages, receiver) = mpsc::channel(1);
        let pool = PoolHandle {
            name: name.to_owned(),
            queues: vec!["q".to_owned()],
            prefix: "bull".to_owned(),
            holder: String::new(),
            messages,
            status: watch::channel(PoolStatus::default()).1,
            leader: watch::channel(None).1,
            led: watch::channel(Led::Here).1,
            is_retired: false,
            config: Arc::default(),
            past: Past::default(),
            prices: PriceBook::default(),
        };
        (pool, receiver)
    }
}

/// One pool's loop, with its connections and calls.
#[derive(Debug)]
pub struct Reconciler {
    config: config::Pool,
    holder: String,
    /// None until it is known.
    installation: Option<String>,
    beside: watch::Sender<Beside>,
    pool: Pool,
    cloud: Cloud,
    agents: Agents,
    ledger: Ledger,
    observer: Option<QueueObserver>,
    /// None while it looks.
    jobs: Option<JobsObserver>,
    hand_backs: HandBacks,
    recording: Recording,
    /// EC2's details of instances, for operators.
    listed: BTreeMap<InstanceId, ListedInstance>,
    placed: Arc<BTreeMap<InstanceId, Expected>>,
    sessions: Sessions,
    calls: JoinSet<Outcome>,
    primary: primary::Primary,
    lives: Lives,
    ticks: Ticks,
    attention: Watcher,
    /// Operators that wait for a reply.
    askers: BTreeMap<Asker, (Request, oneshot::Sender<Result<Granted, Denied>>)>,
    last_asker: Asker,
    messages: mpsc::Receiver<Message>,
    status: watch::Sender<PoolStatus>,
}

/// The parts that a pool's loop works with.
#[derive(Debug)]
pub struct Parts {
    pub recording: Recording,
    pub past: Past,
    pub prices: PriceBook,
    pub cloud: Cloud,
    pub agents: Agents,
    pub ledger: Ledger,
    pub observer: QueueObserver,
    pub jobs: JobsObserver,
    pub hand_backs: HandBacks,
    /// This process' name in the leader lease.
    pub holder: String,
    /// What listings show beside the pool's own instances.
    pub beside: watch::Sender<Beside>,
    pub sessions: Sessions,
}

impl Reconciler {
    /// `leader` tells the leader's address for agents, `led` who leads.
    pub fn new(
        config: config::Pool,
        parts: Parts,
        leader: watch::Receiver<Option<String>>,
        led: watch::Receiver<Led>,
    ) -> (Self, PoolHandle) {
        let (sender, messages) = mpsc::channel(QUEUE_LENGTH);
        let (status, receiver) = watch::channel(PoolStatus::default());
        let (name, is_retired) = (config.name.clone(), config.brain.retired);
        let (queues, prefix) = (config.queues.clone(), config.prefix.clone());
        let holder = parts.holder.clone();
        let handle = PoolHandle {
            name,
            queues,
            prefix,
            holder,
            messages: sender,
            status: receiver,
            leader,
            led,
            is_retired,
            config: Arc::new(config.clone()),
            past: parts.past,
            prices: parts.prices,
        };
        let reconciler = Reconciler {
            pool: Pool::new(clock::both(), config.brain.clone(), nonce()),
            config,
            holder: parts.holder,
            installation: None,
            beside: parts.beside,
            cloud: parts.cloud,
            agents: parts.agents,
            ledger: parts.ledger,
            observer: Some(parts.observer),
            jobs: Some(parts.jobs),
            hand_backs: parts.hand_backs,
            recording: parts.recording,
            listed: BTreeMap::new(),
            placed: Arc::default(),
            sessions: parts.sessions,
            calls: JoinSet::new(),
            primary: primary::Primary::default(),
            lives: Lives::default(),
            ticks: Ticks::default(),
            attention: Watcher::default(),
            askers: BTreeMap::new(),
            last_asker: 0,
            messages,
            status,
        };
        (reconciler, handle)
    }

    /// Runs until `Message::Stop`.
    pub async fn run(mut self) {
        self.publish();
        let mut published_at = Instant::now();
        loop {
            self.perform_effects().await;
            let now = self.now();
            let wakes_at = Instant::now() + self.pool.next_deadline(now).saturating_sub(now.up);
            tokio::select! {
                () = tokio::time::sleep_until(wakes_at) => {}
                () = tokio::time::sleep_until(published_at + self.publish_interval()) => {
                    self.publish();
                    published_at = Instant::now();
                }
                Some(outcome) = self.calls.join_next() => self.finish_call(outcome),
                message = self.messages.recv() => match message {
                    Some(Message::Stop) | None => break,
                    Some(message) => self.receive(message),
                },
            }
            // Messages that have arrived by now belong to the same tick.
            while let Ok(message) = self.messages.try_recv() {
                if matches!(message, Message::Stop) {
                    return self.stop().await;
                }
                self.receive(message);
            }
        }
        self.stop().await;
    }

    /// Longer for a large fleet: what is published has all of its instances.
    fn publish_interval(&self) -> Duration {
        let instances = u32::try_from(self.pool.state().instances().count()).unwrap_or(u32::MAX);
        PUBLISH_INTERVAL.saturating_mul(1 + instances / INSTANCES_OF_AN_INTERVAL)
    }

    fn now(&self) -> Now {
        clock::both()
    }

    fn tell(&mut self, input: Input) {
        self.pool.handle(self.now(), input);
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Agent(id, said) => self.tell(Input::FromAgent(id, said)),
            Message::Operator(request, reply) => {
                self.last_asker += 1;
                let wish = request.wish.clone();
                self.askers.insert(self.last_asker, (request, reply));
                self.tell(Input::Operator(self.last_asker, wish));
            }
            Message::Explain(limit, reply) => {
                // The operator may have disconnected.
                let _ = reply.send(self.newest_plans(limit));
            }
            Message::Identified(installation) => {
                self.pool.identify(&installation);
                self.installation = Some(installation);
            }
            Message::Lead { epoch } => self.tell(Input::Lead { epoch }),
            Message::StandBy => self.tell(Input::StandBy),
            Message::LedgerRefused(problem) => self.tell(Input::LedgerRefused { problem }),
            Message::Stop => {}
        }
    }

    /// Performs the pool's effects until none is due, and publishes if leadership or the tick changed.
    async fn perform_effects(&mut self) {
        let (began, ticked_at) = (Instant::now(), self.pool.ticked_at());
        while let Some(effect) = self.pool.poll(self.now()) {
            self.perform(effect).await;
        }
        if self.pool.ticked_at() != ticked_at {
            telemetry::ticked(&self.config.name, began.elapsed());
            self.ticks.ticked(&self.config.name, self.pool.state().desired());
        }
        let is_published = {
            let status = self.status.borrow();
            let pool = &self.pool;
            (status.leading, status.epoch, status.ticked_at) == (pool.is_leader(), pool.epoch(), pool.ticked_at())
        };
        if !is_published {
            self.publish();
        }
    }

    /// Saves the state and cancels the calls that still run.
    async fn stop(mut self) {
        self.tell(Input::Stop);
        self.perform_effects().await;
        self.recording.finish();
        self.calls.shutdown().await;
    }
}

/// Prefix of launch tokens, unique to this ledger.
fn nonce() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("spillway-{}", &id[..12])
}
