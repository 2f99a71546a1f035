//! An instance from the inside: its operating system, its agent with a real Machine, and the worker's processes. Owns what
//! lives and dies together; a host that is off does nothing more.

mod act;
mod inputs;
mod look;
mod worker;

use spillway_machine::{self as machine, Machine, Timestamp};

use crate::agenda::{AgentEv, C, Ev, HostEv, N};
use crate::bull::Exec;
use crate::clock::{MINUTE, NEVER, SECOND};
use crate::counts::Met;
use crate::net::Cut;
use crate::say;
use crate::setup::Naming;
use crate::watch::Invariant;
use crate::world::World;

pub use worker::Proc;

/// Told to fence, a process obeys within it, and a drain cuts nothing off earlier than so long before its deadline.
const FENCED_WITHIN: u64 = 10 * SECOND;
const MARGIN: u64 = 12 * SECOND;
/// Boot steps: pull, install, start.
const STEPS: usize = 3;

/// One instance's inside.
#[derive(Debug)]
pub struct Host {
    is_on: bool,
    /// Its operating system stands still for good.
    is_hung: bool,
    /// The machine's clock begins here.
    zero: u64,
    /// Its wall clock's error.
    skew: i64,
    pub agent_generation: u32,
    agent: Option<Agent>,
    /// Its image is bad: a step fails whatever is tried.
    bad_step: Option<usize>,
    slow: u64,
    /// Kept on its disk.
    steps_done: usize,
    has_ticket: bool,
    pub procs: Vec<Proc>,
    next_pid: u32,
    next_number: u64,
    /// The shims' mark: a new process begins fenced.
    fence_mark: bool,
    fences_at: u64,
    stop: Option<Stop>,
    /// When its messages and commands come in order.
    pub last_said: u64,
    pub last_heard: u64,
    // What the invariants know of it.
    pub was_ready: bool,
    pub took_jobs: bool,
    pub was_adopted: bool,
    /// When the leader last heard its agent.
    pub heard_at: u64,
    /// When its agent last saw Redis, and since when it drains.
    saw_redis_at: u64,
    draining_since: u64,
    pub told_at: Option<u64>,
    pub told_deadline: u64,
    /// The last look at Redis that a coordinator was told of and that showed no job of it, and its last certain hand-back.
    pub zero_seen_at: u64,
    pub emptied_at: u64,
    /// Something touched it that it cannot help: its drain may not succeed.
    pub disturbed_at: u64,
    /// Its dead runs are to be handed back rather than found by a stall check.
    pub owes_hand_back: bool,
    /// The highest epoch that its agent heard since it started.
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
    look: u64,
    pace: u64,
    step: Option<u64>,
    seen: look::Seen,
    base_restarts: u32,
    told_jobs: usize,
    beat_for_jobs_at: u64,
    notice: Option<u64>,
    rebalance: Option<u64>,
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
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Who is asked next.
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

    fn to_wall(&self, at: Timestamp) -> u64 {
        at.0.saturating_add(self.zero).saturating_add_signed(self.skew)
    }

    pub fn told_to_drain(&mut self, now: u64, deadline: u64) {
        self.told_at.get_or_insert(now);
        self.told_deadline = deadline;
    }

    /// A process of its worker lives, whether it does something or not.
    pub fn has_worker(&self) -> bool {
        self.procs.iter().any(|process| process.is_up || process.is_starting)
    }

    /// Another each time.
    pub fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub fn session(&self) -> Option<(C, u32)> {
        self.agent.as_ref()?.session.map(|session| (session.c, session.number))
    }
}

impl World {
    pub fn host_created(&mut self, n: N, is_ours: bool) {
        let calls = self.setup.calls;
        let by_chance = |world: &mut World, per_mille| !world.is_calm && is_ours && world.rng.per_mille(per_mille);
        let bad_step = self.cloud.bad_image.is_down(self.now).then(|| self.rng.below(STEPS as u64) as usize);
        let slow = if by_chance(self, calls.slow_boot) { self.rng.between(5, 30) } else { 1 };
        let (slow, met) =
            if by_chance(self, calls.never_boots) { (NEVER, Some(Met::NeverBoots)) } else { (slow, None) };
        if let Some(met) = met.or((slow > 1).then_some(Met::SlowBoot)) {
            self.met(met);
        }
        let processes = self.setup.processes;
        self.hosts.push(Host {
            is_on: false,
            is_hung: false,
            zero: self.now,
            skew: self.rng.between(0, 4000) as i64 - 2000,
            agent_generation: 0,
            agent: None,
            bad_step,
            slow,
            steps_done: 0,
            has_ticket: false,
            procs: (0..processes).map(|_| Proc::default()).collect(),
            next_pid: 100,
            next_number: 0,
            fence_mark: false,
            fences_at: 0,
            stop: None,
            last_said: 0,
            last_heard: 0,
            was_ready: false,
            took_jobs: false,
            was_adopted: false,
            heard_at: 0,
            saw_redis_at: 0,
            draining_since: NEVER,
            told_at: None,
            told_deadline: 0,
            zero_seen_at: 0,
            emptied_at: 0,
            disturbed_at: 0,
            owes_hand_back: false,
            epoch: 0,
        });
        self.net.session.push([Cut::default(); 2]);
        self.net.worker.push(Cut::default());
        debug_assert_eq!(self.hosts.len(), n + 1, "hosts are numbered as EC2's instances");
    }

    /// EC2 runs it: its operating system boots, and cloud-init starts the agent.
    pub fn host_boots(&mut self, n: N) {
        if self.cloud.machines[n].token.is_none() {
            return;
        }
        self.hosts[n].is_on = true;
        self.hosts[n].zero = self.now;
        self.live_hosts.push(n);
        if self.hosts[n].slow == NEVER {
            return;
        }
        let after = self.rng.between(3, 20) * SECOND * self.hosts[n].slow.min(10);
        self.agenda.put(self.now + after, Ev::Host { n, ev: HostEv::AgentStarts });
    }

    pub fn agent_starts(&mut self, n: N) {
        let host = &mut self.hosts[n];
        if !host.is_on || host.is_hung || host.agent.is_some() {
            return;
        }
        host.agent_generation += 1;
        host.epoch = 0;
        let (generation, restarts) = (host.agent_generation, host.procs.iter().map(|it| it.restarts).sum());
        let config = machine::Config {
            first_step: host.steps_done,
            registered: host.has_ticket,
            seed: n as u64 + 1,
            orphan_after: std::time::Duration::from_millis(self.setup.orphan_after),
            max_life: self.setup.max_life.map(std::time::Duration::from_millis),
            age: std::time::Duration::from_millis(self.now - self.cloud.machines[n].launched_at),
            ..machine::Config::new(vec![1; STEPS])
        };
        host.agent = Some(Agent {
            machine: Machine::new(config),
            session: None,
            // Old sessions' numbers are not given again.
            sessions: generation * 10_000,
            wake: None,
            idle_wakes: 0,
            woken_at: 0,
            look: 0,
            pace: NEVER,
            step: None,
            seen: look::Seen::default(),
            base_restarts: if host.steps_done == STEPS { restarts } else { 0 },
            told_jobs: 0,
            beat_for_jobs_at: 0,
            notice: None,
            rebalance: None,
            must_refuse: None,
            asking: None,
            starting: None,
            leader: None,
        });
        say!(self, "i-{n}: agent starts");
        let identified_at = self.now + self.rng.between(50, 800);
        self.put_agent(n, identified_at, AgentEv::Machine(machine::Event::Identified));
        self.put_agent(n, identified_at + 5 * SECOND, AgentEv::Beat);
        self.imds_shows(n);
        self.shims_changed(n);
    }

    /// Its process is gone; the worker goes on, and the disk remembers.
    pub fn agent_crashes(&mut self, n: N, for_good: bool) {
        let host = &mut self.hosts[n];
        if host.agent.take().is_none() {
            return;
        }
        host.agent_generation += 1;
        host.disturbed_at = self.now;
        host.stop = None;
        say!(self, "i-{n}: agent crashes{}", if for_good { ", for good" } else { "" });
        self.met(if for_good { Met::AgentDied } else { Met::AgentCrash });
        if !for_good {
            self.agenda.put(self.now + 5 * SECOND, Ev::Host { n, ev: HostEv::AgentStarts });
        }
    }

    /// Power off: nothing of it does anything more.
    pub fn host_dies(&mut self, n: N) {
        let host = &mut self.hosts[n];
        if !host.is_on {
            return;
        }
        host.is_on = false;
        host.agent = None;
        host.agent_generation += 1;
        host.owes_hand_back = true;
        host.stop = None;
        self.live_hosts.retain(|live| *live != n);
        for index in 0..self.hosts[n].procs.len() {
            self.process_dies(n, index);
        }
        say!(self, "i-{n} is off");
    }

    /// The whole operating system stands still: nothing answers, nothing renews.
    pub fn host_hangs(&mut self, n: N) {
        if self.hosts[n].is_hung || !self.hosts[n].is_on {
            return;
        }
        self.hosts[n].is_hung = true;
        self.hosts[n].agent_generation += 1;
        self.hosts[n].agent = None;
        self.hosts[n].disturbed_at = self.now;
        self.hosts[n].owes_hand_back = true;
        for index in 0..self.hosts[n].procs.len() {
            self.hosts[n].procs[index].is_frozen = true;
            for run in self.hosts[n].procs[index].runs.clone() {
                self.run_is_over(run, Exec::Frozen);
            }
        }
        say!(self, "i-{n} hangs");
        self.met(Met::HostHung);
    }

    pub fn put_agent(&mut self, n: N, at: u64, ev: AgentEv) {
        let generation = self.hosts[n].agent_generation;
        self.agenda.put(at, Ev::Agent { n, generation, ev });
    }

    /// What EC2's notices and recommendations are, as the agent's next looks will see them.
    pub fn imds_shows(&mut self, n: N) {
        if self.hosts[n].agent.is_none() {
            return;
        }
        let mut after = self.rng.between(20, 1020);
        if !self.is_calm && self.rng.per_mille(self.setup.calls.imds_late) {
            after += self.rng.between(1, 15) * SECOND;
            self.met(Met::ImdsLate);
        }
        if self.cloud.machines[n].takes_at.is_some() {
            self.put_agent(n, self.now + after, AgentEv::Imds);
        }
        if self.cloud.machines[n].rebalance_at.is_some() {
            self.put_agent(n, self.now + after, AgentEv::ImdsRebalance);
        }
    }

    pub fn host_happens(&mut self, n: N, ev: HostEv) {
        if !self.hosts[n].is_on || self.hosts[n].is_hung {
            return;
        }
        match ev {
            HostEv::AgentStarts => self.agent_starts(n),
            HostEv::ProcUp { pid, number } => self.process_is_up(n, pid, number),
            HostEv::ProcExits { pid, number, killed } => self.process_exits(n, pid, number, killed),
            HostEv::Unhang { pid, number } => self.process_goes_on(n, pid, number),
        }
    }

    /// Invariant 4: a worker with the shim that drains takes no new job.
    pub fn check_fenced(&mut self, n: N) {
        let host = &self.hosts[n];
        let fenced =
            host.draining_since != NEVER && host.draining_since.max(host.disturbed_at) + FENCED_WITHIN < self.now;
        if fenced && host.agent.is_some() && self.setup.naming == Naming::Shim {
            let text = format!("i-{n} takes a job, and has been draining for long");
            self.violate(Invariant::FencedAndEmpty, text);
        }
    }

    /// A drain that has time cuts nothing off.
    fn check_stopped_in_peace(&mut self, n: N, index: usize) {
        let host = &self.hosts[n];
        let works = host.procs[index].runs.iter().any(|run| self.bull.runs[*run].exec == Exec::Running);
        let deadline = match host.agent.as_ref().map(|agent| agent.machine.phase()) {
            Some(machine::Phase::Draining(drain)) => drain.deadline.0 + host.zero,
            _ => return,
        };
        let undisturbed = host.disturbed_at + MINUTE < host.draining_since;
        if works && undisturbed && self.setup.naming == Naming::Shim && deadline > self.now + MARGIN {
            let text =
                format!("i-{n}: a job is cut off {} s before the drain's deadline", (deadline - self.now) / SECOND);
            self.violate(Invariant::HandedBackInTime, text);
        }
    }

    /// Invariant 5's promise to a worker with the shim: two minutes are enough to hand everything back.
    pub fn check_notice_was_enough(&mut self, n: N) {
        let machine = &self.cloud.machines[n];
        let Some(noticed_at) = machine.noticed_at else { return };
        let host = &self.hosts[n];
        let undisturbed = host.disturbed_at + MINUTE < noticed_at && !self.net.redis_down.is_down(self.now);
        let is_safe = undisturbed && host.agent.is_some() && self.setup.naming == Naming::Shim && machine.is_running();
        let left: Vec<usize> = host.procs.iter().flat_map(|process| process.runs.iter().copied()).collect();
        let works = left.iter().any(|run| self.bull.runs[*run].exec == Exec::Running);
        if is_safe && works {
            let text = format!("i-{n} still works when EC2 takes it, two minutes after its notice");
            self.violate(Invariant::HandedBackInTime, text);
        }
    }
}
