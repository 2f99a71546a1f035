//! The loop of one pool: performs what the pool wants done, and tells it what came of it. Decides nothing; when and whether
//! is `spillway-pool`'s, what to do with instances is `spillway-brain`'s.
//!
//! ```text
//!   queue observer ─┐                  ┌─► ledger: saved before anything is done
//!   EC2's answers ──┼─► inputs ─► Pool ┤
//!   agents, people ─┘     ▲            └─► effects: EC2 calls, commands to agents, hand-backs, answers
//!                         └──── outcomes come back as inputs ◄──┘
//! ```
//!
//! Calls run beside the loop, each once. Only the ledger is waited for, and it answers or fails within seconds.

mod log;
mod perform;
mod publish;

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_brain::{InstanceId, Timestamp};
use spillway_pool::{Admission, Asker, Denied, FromAgent, Granted, Input, Now, Pool, Wish};
use spillway_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::agents::Agents;
use crate::cloud::{Cloud, ListedInstance};
use crate::hand_back::HandBacks;
use crate::ledger::Ledger;
use crate::queue::QueueObserver;
use crate::{clock, config};
use perform::Outcome;

/// Messages to a pool that may wait; agents and people wait when it is full.
const QUEUE_LENGTH: usize = 1024;
/// What is shown is renewed at once after a tick, and this often for what agents said since.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);

/// What a pool is told.
#[derive(Debug)]
pub enum Message {
    Agent(InstanceId, FromAgent),
    /// Answered with what will happen, or why not.
    Operator(Wish, oneshot::Sender<Result<Granted, Denied>>),
    Explain(usize, oneshot::Sender<Vec<v1::PlanRecord>>),
    Lead {
        epoch: u64,
    },
    StandBy,
    /// Saves and ends; instances are left running.
    Stop,
}

/// What is shown of a pool, renewed after each tick and twice a second.
#[derive(Clone, Debug, Default)]
pub struct PoolStatus {
    pub view: v1::Pool,
    /// Which agents are let in.
    pub admission: Admission,
    pub ready: usize,
    pub queue_serving: bool,
    pub cloud_serving: bool,
    pub leading: bool,
    /// In which it leads, or led last.
    pub epoch: u64,
    /// When it last ticked: None before the first tick as the leader.
    pub ticked_at: Option<Timestamp>,
    /// When the loop last came round.
    pub alive_at: Option<Timestamp>,
    /// How long the last observation of the queues took.
    pub observation_took: Option<Duration>,
}

/// The way to a running pool.
#[derive(Clone, Debug)]
pub struct PoolHandle {
    pub name: String,
    pub messages: mpsc::Sender<Message>,
    pub status: watch::Receiver<PoolStatus>,
}

/// One pool's loop and all that it works with.
#[derive(Debug)]
pub struct Reconciler {
    config: config::Pool,
    holder: String,
    pool: Pool,
    /// Since when the pool's steady clock runs.
    began: Instant,
    cloud: Cloud,
    agents: Agents,
    ledger: Ledger,
    observer: Option<QueueObserver>,
    hand_backs: HandBacks,
    /// EC2's details of instances, for people.
    listed: BTreeMap<InstanceId, ListedInstance>,
    under_way: JoinSet<Outcome>,
    observation_took: Option<Duration>,
    /// Operators that wait for an answer.
    askers: BTreeMap<Asker, oneshot::Sender<Result<Granted, Denied>>>,
    last_asker: Asker,
    messages: mpsc::Receiver<Message>,
    status: watch::Sender<PoolStatus>,
}

/// The parts that a pool's loop works with.
#[derive(Debug)]
pub struct Parts {
    pub cloud: Cloud,
    pub agents: Agents,
    pub ledger: Ledger,
    pub observer: QueueObserver,
    pub hand_backs: HandBacks,
    /// Who this process is, in the leader lease.
    pub holder: String,
}

impl Reconciler {
    pub fn new(config: config::Pool, parts: Parts) -> (Self, PoolHandle) {
        let (sender, messages) = mpsc::channel(QUEUE_LENGTH);
        let (status, receiver) = watch::channel(PoolStatus::default());
        let handle = PoolHandle { name: config.name.clone(), messages: sender, status: receiver };
        let now = Now { wall: clock::now(), up: Duration::ZERO };
        let reconciler = Reconciler {
            pool: Pool::new(now, config.brain.clone(), nonce()),
            began: Instant::now(),
            config,
            holder: parts.holder,
            cloud: parts.cloud,
            agents: parts.agents,
            ledger: parts.ledger,
            observer: Some(parts.observer),
            hand_backs: parts.hand_backs,
            listed: BTreeMap::new(),
            under_way: JoinSet::new(),
            observation_took: None,
            askers: BTreeMap::new(),
            last_asker: 0,
            messages,
            status,
        };
        (reconciler, handle)
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) {
        let mut publishing = tokio::time::interval(PUBLISH_INTERVAL);
        publishing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.publish();
        loop {
            self.performs().await;
            let wakes_at = self.began + self.pool.next_deadline(self.now());
            tokio::select! {
                () = tokio::time::sleep_until(wakes_at) => {}
                _ = publishing.tick() => self.publish(),
                Some(outcome) = self.under_way.join_next() => self.came_back(outcome),
                message = self.messages.recv() => match message {
                    Some(Message::Stop) | None => break,
                    Some(message) => self.receive(message),
                },
            }
            // What came in the meantime belongs to the same tick.
            while let Ok(message) = self.messages.try_recv() {
                if matches!(message, Message::Stop) {
                    return self.stop().await;
                }
                self.receive(message);
            }
        }
        self.stop().await;
    }

    fn now(&self) -> Now {
        Now { wall: clock::now(), up: self.began.elapsed() }
    }

    fn tell(&mut self, input: Input) {
        self.pool.handle(self.now(), input);
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Agent(id, said) => self.tell(Input::FromAgent(id, said)),
            Message::Operator(wish, reply) => {
                self.last_asker += 1;
                self.askers.insert(self.last_asker, reply);
                self.tell(Input::Operator(self.last_asker, wish));
            }
            Message::Explain(limit, reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(self.newest_plans(limit));
            }
            Message::Lead { epoch } => self.tell(Input::Lead { epoch }),
            Message::StandBy => self.tell(Input::StandBy),
            Message::Stop => {}
        }
    }

    /// Performs everything that the pool wants done, and shows what changed by it.
    async fn performs(&mut self) {
        while let Some(effect) = self.pool.poll(self.now()) {
            self.perform(effect).await;
        }
        let is_shown = {
            let shown = self.status.borrow();
            let pool = &self.pool;
            (shown.leading, shown.epoch, shown.ticked_at) == (pool.is_leader(), pool.epoch(), pool.ticked_at())
        };
        if !is_shown {
            self.publish();
        }
    }

    /// Saves what is known and ends.
    async fn stop(mut self) {
        self.tell(Input::Stop);
        self.performs().await;
        self.under_way.shutdown().await;
    }
}

/// Makes this ledger's launch tokens unlike any other's.
fn nonce() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("spillway-{}", &id[..12])
}
