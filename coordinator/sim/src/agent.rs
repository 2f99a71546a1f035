//! The inside of an instance: its operating system, its agent with a real Machine, and the worker's processes. Owns
//! which of them end together; nothing happens on a host that is off.

mod act;
mod check;
mod hand_back;
mod idle;
mod inputs;
mod invariants;
mod life;
mod worker;

use spillway_machine::{Machine, Timestamp};

use crate::agenda::C;
use crate::cloud::Event;

pub use idle::Idle;
pub use worker::Proc;

/// Boot steps: pull, install, start.
const STEPS: usize = 3;

/// The inside of one instance.
#[derive(Debug)]
pub struct Host {
    is_on: bool,
    /// Its operating system hangs for good.
    is_hung: bool,
    /// When the machine's clock is 0.
    zero: u64,
    /// Its wall clock's error.
    pub skew: i64,
    pub agent_generation: u32,
    agent: Option<Agent>,
    /// Its image is bad: this boot step always fails.
    bad_step: Option<usize>,
    slow: u64,
    /// Boot steps done, as kept on its disk.
    steps_done: usize,
    has_ticket: bool,
    pub procs: Vec<Proc>,
    next_pid: u32,
    next_number: u64,
    /// The shims' mark file: a new process starts fenced.
    fence_mark: bool,
    fences_at: u64,
    stop: Option<Stop>,
    /// When its last message and command arrive: sessions keep their order.
    pub last_sent: u64,
    pub last_received: u64,
    // What the invariant checks remember of it.
    pub was_ready: bool,
    pub took_jobs: bool,
    pub was_adopted: bool,
    /// When the leader last got a heartbeat of its agent.
    pub heard_at: u64,
    /// When its agent last read Redis, and since when it drains.
    saw_redis_at: u64,
    draining_since: u64,
    pub told_at: Option<u64>,
    pub told_deadline: u64,
    /// The last scan of Redis that showed a coordinator no job of it, and its last certain hand-back that left none.
    pub zero_seen_at: u64,
    pub emptied_at: u64,
    /// When its wall clock was last set right.
    pub clock_right_at: u64,
    /// Until when its agent says that the worker is stopped as soon as it drains, and holds no job; and whether it ever
    /// did.
    pub lies_until: u64,
    pub has_lied: bool,
    /// Why its worker takes no job although its agent may call it ready, and since when.
    idle: Option<(Idle, u64)>,
    /// Its last heartbeat.
    said: Option<spillway_brain::Report>,
    /// Which process of its agent was the last to say that its worker is stopped, and when the present one started.
    drained_by: u32,
    agent_started_at: u64,
    /// When a coordinator last saw a job of it in Redis.
    pub held_at: u64,
    /// When a fault last hit it: its drain may not succeed.
    pub disturbed_at: u64,
    /// Its dead worker's jobs must be handed back, not found by a stall check.
    pub owes_hand_back: bool,
    /// The highest epoch that its agent has seen since it started.
    epoch: u64,
}

/// A stop of the worker under way.
#[derive(Debug, Default)]
struct Stop {
    killed: bool,
}

/// The agent's process.
#[derive(Debug)]
struct Agent {
    machine: Machine,
    session: Option<Session>,
    sessions: u32,
    wake: Option<u64>,
    idle_wakes: u32,
    woken_at: u64,
    check: u64,
    pace: u64,
    step: Option<u64>,
    seen: check::Seen,
    base_restarts: u32,
    told_jobs: usize,
    beat_for_jobs_at: u64,
    /// When EC2 reclaims the instance: as its metadata say, and by the machine.
    notice: Option<(u64, Timestamp)>,
    rebalance: Option<u64>,
    /// What EC2 has scheduled, once the metadata service has shown it: an event, or nothing.
    schedule: Option<Option<Event>>,
    must_refuse: Option<u64>,
    /// A registration that is not answered yet.
    asking: Option<u64>,
    /// PM2 is being asked to start the worker again.
    starting: Option<u64>,
    leader: Option<C>,
}

/// Its side of a session.
#[derive(Clone, Copy, Debug)]
struct Session {
    c: C,
    number: u32,
    is_welcome: bool,
}

impl Host {
    /// A fault hits it, and lasts until then. An earlier one may last longer.
    pub fn disturb(&mut self, until: u64) {
        self.disturbed_at = self.disturbed_at.max(until);
    }

    /// Its agent said that the worker is stopped, has started anew since, and no coordinator has heard it yet.
    pub fn was_drained_before_restart(&self) -> bool {
        let is_another = self.drained_by > 0 && self.drained_by != self.agent_generation;
        is_another && self.heard_at < self.agent_started_at
    }

    /// How many milliseconds after now EC2 ends it, by the notice that its agent saw.
    pub fn expects_end_in(&self, now: u64) -> Option<u64> {
        let (_, ends_at) = self.agent.as_ref()?.notice?;
        ends_at.0.checked_sub(self.machine_time(now).0)
    }

    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Which coordinator it connects to next.
    pub fn points_to(&mut self, leader: Option<C>) {
        if let Some(agent) = &mut self.agent {
            agent.leader = leader;
        }
    }

    pub fn is_hung_or_off(&self) -> bool {
        self.is_hung || !self.is_on
    }

    pub fn is_reporting(&self) -> bool {
        self.agent.is_some()
    }

    fn machine_time(&self, now: u64) -> Timestamp {
        Timestamp(now - self.zero)
    }

    /// A wall clock's time, as the agent takes it for its machine.
    fn of_wall(&self, wall: u64) -> Timestamp {
        Timestamp(wall.saturating_add_signed(-self.skew).saturating_sub(self.zero))
    }

    /// What its clock shows.
    fn wall(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.skew)
    }

    fn to_wall(&self, at: Timestamp) -> u64 {
        at.0.saturating_add(self.zero).saturating_add_signed(self.skew)
    }

    pub fn told_to_drain(&mut self, now: u64, deadline: u64) {
        // Another leader may not know of the later one.
        self.told_deadline = if self.told_at.is_some() { deadline.min(self.told_deadline) } else { deadline };
        self.told_at.get_or_insert(now);
    }

    /// A process of its worker exists, whether it works or not.
    pub fn has_worker(&self) -> bool {
        self.procs.iter().any(|process| process.is_up || process.is_starting)
    }

    /// A new number each time.
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Its agent runs, and nothing keeps it from hearing.
    pub fn has_agent(&self) -> bool {
        self.is_on && !self.is_hung && self.agent.is_some()
    }

    pub fn session(&self) -> Option<(C, u32)> {
        self.agent.as_ref()?.session.map(|session| (session.c, session.number))
    }
}
