//! The reconcile loop of one pool: observe, feed the brain, tick, persist, execute.
//!
//! ```text
//!   queue observer ─┐                        ┌─► ledger: saved before anything is done
//!   EC2's list ─────┼─► events ─► Controller ┤
//!   agents, people ─┘      ▲        tick     └─► executed: EC2 calls and commands to agents
//!                          └──────── outcomes come back as events ◄──┘
//! ```
//!
//! Calls run beside the loop, each once; the loop itself never waits for EC2 or for the queues. When the ledger cannot
//! be written the tick is undone: nothing is done that a restart would not know of.

mod execute;
mod history;
mod lead;
mod observe;

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_brain::{Controller, Event, InstanceId, Plan, Timestamp};
use spillway_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::agents::Agents;
use crate::clock;
use crate::cloud::{Cloud, ListedInstance};
use crate::config::Pool;
use crate::hand_back::{HandBacks, Looks};
use crate::ledger::{Ledger, LedgerProblem, Recorded};
use crate::queue::QueueObserver;
use crate::view;
use history::History;
use observe::Outcome;

/// Messages to a pool that may wait; agents and people wait when it is full.
const QUEUE_LENGTH: usize = 1024;
/// What is shown is renewed at once after a tick, and this often for what agents said since.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(500);
/// Between two ticks that nothing but the time asks for.
const SOONEST_TICK: Duration = Duration::from_secs(1);
/// Interruptions by EC2's word are looked for this often: agents see their own within a second.
const INTERRUPTIONS_INTERVAL: Duration = Duration::from_secs(30);

/// What a pool is told.
#[derive(Debug)]
pub enum Message {
    Event(Event),
    /// Answered with what will happen, or why not.
    Operator(Event, oneshot::Sender<Result<String, String>>),
    /// An agent is to behave as if EC2 had given notice so long ahead.
    Rehearse(InstanceId, Duration, oneshot::Sender<Result<String, String>>),
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

/// One pool's loop and all that it owns.
#[derive(Debug)]
pub struct Reconciler {
    pool: Pool,
    holder: String,
    epoch: u64,
    /// Whose saved state the controller holds: unchanged ledger, no need to read it again.
    loaded_epoch: Option<u64>,
    controller: Controller,
    cloud: Cloud,
    agents: Agents,
    ledger: Ledger,
    observer: Option<QueueObserver>,
    hand_backs: HandBacks,
    /// What the last attempts to hand back saw, and whether that was with certainty.
    looks: BTreeMap<InstanceId, (bool, Looks)>,
    history: History,
    listed: BTreeMap<InstanceId, ListedInstance>,
    next_listing: Instant,
    next_interruptions: Instant,
    is_listing: bool,
    failed_listings: u32,
    lead_again: Option<u64>,
    /// The epoch that is to be led, or is; None as a standby. A retry for another comes too late.
    leads_in: Option<u64>,
    /// Something happened that may change a decision.
    tick_due: bool,
    ticked: Instant,
    under_way: JoinSet<Outcome>,
    ledger_problem: Option<String>,
    observation_took: Option<Duration>,
    ticked_at: Option<Timestamp>,
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
    pub fn new(pool: Pool, parts: Parts) -> (Reconciler, PoolHandle) {
        let (sender, messages) = mpsc::channel(QUEUE_LENGTH);
        let (status, receiver) = watch::channel(PoolStatus::default());
        let handle = PoolHandle { name: pool.name.clone(), messages: sender, status: receiver };
        let controller = Controller::new(pool.brain.clone(), execute::nonce());
        let now = Instant::now();
        let reconciler = Reconciler {
            pool,
            holder: parts.holder,
            epoch: 0,
            loaded_epoch: None,
            controller,
            cloud: parts.cloud,
            agents: parts.agents,
            ledger: parts.ledger,
            observer: Some(parts.observer),
            hand_backs: parts.hand_backs,
            looks: BTreeMap::new(),
            history: History::default(),
            listed: BTreeMap::new(),
            next_listing: now,
            next_interruptions: now + INTERRUPTIONS_INTERVAL,
            is_listing: false,
            failed_listings: 0,
            lead_again: None,
            leads_in: None,
            tick_due: false,
            ticked: now,
            under_way: JoinSet::new(),
            ledger_problem: None,
            observation_took: None,
            ticked_at: None,
            messages,
            status,
        };
        (reconciler, handle)
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) {
        let mut interval = tokio::time::interval(self.pool.brain.interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut publishing = tokio::time::interval(PUBLISH_INTERVAL);
        publishing.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.publish();
        loop {
            let listing_due = tokio::time::sleep_until(self.next_listing);
            let brain_due = self.brain_due();
            tokio::select! {
                _ = interval.tick() => self.observe(),
                () = listing_due, if !self.is_listing => self.list(),
                () = tokio::time::sleep_until(brain_due.unwrap_or(self.ticked)), if brain_due.is_some() => {
                    self.tick_due = true;
                }
                _ = publishing.tick() => {
                    self.publish();
                    continue;
                }
                Some(outcome) = self.under_way.join_next() => self.came_back(outcome),
                message = self.messages.recv() => match message {
                    Some(Message::Stop) | None => break,
                    Some(message) => self.receive(message).await,
                },
            }
            // What came in the meantime belongs to the same tick.
            while let Ok(message) = self.messages.try_recv() {
                if matches!(message, Message::Stop) {
                    self.stop().await;
                    return;
                }
                self.receive(message).await;
            }
            if let Some(epoch) = self.lead_again.take().filter(|epoch| self.leads_in == Some(*epoch)) {
                self.lead(epoch).await;
            }
            if std::mem::take(&mut self.tick_due) {
                self.tick().await;
                self.publish();
            }
        }
        self.stop().await;
    }

    async fn receive(&mut self, message: Message) {
        match message {
            Message::Event(event) => self.tell(event),
            Message::Operator(event, reply) => {
                let answer = execute::operator(&self.controller, &event);
                if answer.is_ok() {
                    self.tell(event);
                }
                // Whoever asked may have gone.
                let _ = reply.send(answer);
            }
            Message::Rehearse(id, notice, reply) => {
                let _ = reply.send(self.rehearse(&id, notice));
            }
            Message::Explain(limit, reply) => {
                let _ = reply.send(self.history.newest(limit));
            }
            Message::Lead { epoch } => {
                self.leads_in = Some(epoch);
                self.lead(epoch).await;
            }
            Message::StandBy => {
                self.leads_in = None;
                tracing::warn!(pool = self.pool.name, "no longer the leader");
                self.tell(Event::LeadershipLost);
            }
            Message::Stop => {}
        }
    }

    fn tell(&mut self, event: Event) {
        self.tick_due |= self.is_news(&event);
        self.controller.handle(clock::now(), event);
    }

    /// A heartbeat that says what the last one said waits for the next observation's tick: a hundred agents must not
    /// make for a hundred ticks.
    fn is_news(&self, event: &Event) -> bool {
        let Event::AgentReported(report) = event else { return true };
        self.controller.state().instance(&report.id).is_some_and(|known| {
            known.agent.phase != Some(report.phase)
                || known.agent.proven != report.proven
                || (report.active_jobs == Some(0) && known.agent.active_jobs != Some(0))
        })
    }

    /// When the brain wants a tick although nothing happens. Not sooner than a moment after the last: what could not be
    /// decided then waits for something to happen.
    fn brain_due(&self) -> Option<Instant> {
        let state = self.controller.state();
        let due_at = self.controller.due_at().filter(|_| state.is_leader())?;
        Some((Instant::now() + clock::now().until(due_at)).max(self.ticked + SOONEST_TICK))
    }

    async fn tick(&mut self) {
        self.ticked = Instant::now();
        if !self.controller.state().is_leader() {
            return;
        }
        let before = self.controller.clone();
        let plan = self.controller.tick(clock::now());
        // Every plan that decides, and one for each observation: that is what replay needs.
        let backlog = self.controller.state().backlog().map(|(backlog, _)| backlog.clone());
        let recorded = Recorded { plan: plan.clone(), backlog };
        let is_new = !plan.decisions.is_empty()
            || before.state().backlog() != self.controller.state().backlog()
            || history::age(&self.history, plan.at).is_none_or(|age| age >= self.pool.brain.interval);
        let recorded = is_new.then_some(&recorded);
        let saved = self.ledger.save(&self.holder, self.epoch, self.controller.state(), recorded).await;
        // This process, or its machine, may have stood still since: another may lead, from a ledger that was lost meanwhile.
        let saved = saved.and_then(|until| if Instant::now() < until { Ok(()) } else { Err(LedgerProblem::TooLate) });
        match saved {
            Ok(()) => {
                self.ledger_problem = None;
                self.ticked_at = Some(plan.at);
                self.execute(&plan);
                self.history.push(&self.pool.name, plan);
            }
            Err(problem) => {
                // Undone: what is not in the ledger does not happen. Nor does what is there for whoever leads now.
                self.controller = before;
                if self.ledger_problem.is_none() {
                    tracing::warn!(pool = self.pool.name, %problem, "cannot write the ledger: nothing is done meanwhile");
                }
                let mut plan = Plan { decisions: Vec::new(), ..plan };
                plan.notes.truncate(8);
                self.ticked_at = Some(plan.at);
                self.history.push(&self.pool.name, plan);
                match problem {
                    LedgerProblem::NotLeader => self.tell(Event::LeadershipLost),
                    // The next save tells who leads.
                    LedgerProblem::TooLate => self.tick_due = true,
                    _ => {}
                }
                self.ledger_problem = Some(problem.to_string());
            }
        }
    }

    fn publish(&mut self) {
        let state = self.controller.state();
        let now = clock::now();
        let fresh = |at: Timestamp, longest: Duration| now.since(at) <= longest;
        let queue_serving = state.observation_problem().is_none()
            && self.ledger_problem.is_none()
            && state.backlog().is_some_and(|(_, at)| fresh(*at, self.pool.brain.longest_gap()));
        let cloud_serving = state.listing_problem().is_none()
            && state.listed_at().is_some_and(|at| fresh(at, self.pool.brain.longest_listing_age()));
        let mut view =
            view::pool(&self.pool.name, &self.controller, &self.agents, &self.listed, now, self.history.last());
        if let (Some(problem), true) = (&self.ledger_problem, view.observation_problem.is_empty()) {
            view.observation_problem = format!("ledger: {problem}");
        }
        let leading = state.is_leader();
        let (ticked_at, observation_took) = (self.ticked_at, self.observation_took);
        self.status.send_replace(PoolStatus {
            view,
            queue_serving,
            cloud_serving,
            leading,
            epoch: self.epoch,
            ticked_at,
            alive_at: Some(now),
            observation_took,
        });
    }

    /// Saves what is known and ends. What is under way at EC2 is answered to the next leader: its tokens are saved.
    async fn stop(&mut self) {
        if self.controller.state().is_leader()
            && let Err(problem) = self.ledger.save(&self.holder, self.epoch, self.controller.state(), None).await
        {
            tracing::warn!(pool = self.pool.name, %problem, "could not save the ledger at the end");
        }
        self.under_way.shutdown().await;
    }
}
