//! How a host and its agent start and end: created, booted, crashed, hung, off; what each loses, and what the disk
//! keeps.

use spillway_machine::{self as machine, Machine};

use super::{Agent, Host, Proc, STEPS, check};
use crate::agenda::{AgentEv, Ev, HostEv, N};
use crate::bull::Exec;
use crate::clock::{MINUTE, NEVER, SECOND};
use crate::counts::Occurrence;
use crate::net::Cut;
use crate::say;
use crate::world::World;

impl World {
    pub fn host_created(&mut self, n: N, is_ours: bool) {
        let calls = self.setup.calls;
        let by_chance = |world: &mut World, per_mille| !world.is_calm && is_ours && world.rng.per_mille(per_mille);
        let bad_step = self.cloud.bad_image.is_down(self.now).then(|| self.rng.below(STEPS as u64) as usize);
        let image = self.cloud.machines[n].image;
        let bad_step = if self.cloud.images.is_bad(image) { Some(image % STEPS) } else { bad_step };
        let slow = if by_chance(self, calls.slow_boot) { self.rng.between(5, 30) } else { 1 };
        let (slow, occurrence) =
            if by_chance(self, calls.never_boots) { (NEVER, Some(Occurrence::NeverBoots)) } else { (slow, None) };
        if let Some(occurrence) = occurrence.or((slow > 1).then_some(Occurrence::SlowBoot)) {
            self.count(occurrence);
        }
        let is_of_other_queue = is_ours && self.cloud.other_queue.is_down(self.now);
        let idle = is_of_other_queue.then_some((super::Idle::OtherQueue, self.now));
        if idle.is_some() {
            self.count(Occurrence::OtherQueue);
            say!(self, "the worker of i-{n} works another queue");
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
            last_sent: 0,
            last_received: 0,
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
            clock_right_at: 0,
            lies_until: 0,
            has_lied: false,
            idle,
            said: None,
            drained_by: 0,
            agent_started_at: 0,
            held_at: 0,
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
        host.agent_started_at = self.now;
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
            // Numbers of earlier sessions are not used again.
            sessions: generation * 10_000,
            wake: None,
            idle_wakes: 0,
            woken_at: 0,
            check: 0,
            pace: NEVER,
            step: None,
            seen: check::Seen::default(),
            base_restarts: if host.steps_done == STEPS { restarts } else { 0 },
            told_jobs: 0,
            beat_for_jobs_at: 0,
            notice: None,
            rebalance: None,
            schedule: None,
            must_refuse: None,
            asking: None,
            starting: None,
            leader: None,
        });
        say!(self, "i-{n}: the agent starts");
        let identified_at = self.now + self.rng.between(50, 800);
        self.put_agent(n, identified_at, AgentEv::Machine(machine::Event::Identified));
        self.put_agent(n, identified_at + 5 * SECOND, AgentEv::Beat);
        self.imds_shows(n);
        self.shims_changed(n);
    }

    /// The agent's process ends; the worker and the disk stay.
    pub fn agent_crashes(&mut self, n: N, for_good: bool) {
        let host = &mut self.hosts[n];
        if host.agent.take().is_none() {
            return;
        }
        host.agent_generation += 1;
        host.disturb(self.now);
        host.stop = None;
        say!(self, "i-{n}: the agent crashes{}", if for_good { ", for good" } else { "" });
        self.count(if for_good { Occurrence::AgentDied } else { Occurrence::AgentCrash });
        if !for_good {
            self.agenda.put(self.now + 5 * SECOND, Ev::Host { n, ev: HostEv::AgentStarts });
        }
    }

    /// Power off: everything on it ends.
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

    /// It is off for a while, and loses what was in memory: its worker, and all that its agent knew. Its jobs are left
    /// to the stall check, as after a crash.
    pub fn host_reboots(&mut self, n: N, back_at: u64) {
        self.host_dies(n);
        let host = &mut self.hosts[n];
        (host.is_hung, host.owes_hand_back, host.fence_mark, host.has_ticket) = (false, false, false, false);
        host.steps_done = 0;
        host.disturb(back_at + 5 * MINUTE);
        host.draining_since = NEVER;
        for process in &mut host.procs {
            *process = Proc::default();
        }
    }

    /// The whole operating system hangs: nothing answers, no lock is renewed.
    pub fn host_hangs(&mut self, n: N) {
        if self.hosts[n].is_hung || !self.hosts[n].is_on {
            return;
        }
        self.hosts[n].is_hung = true;
        self.hosts[n].agent_generation += 1;
        self.hosts[n].agent = None;
        self.hosts[n].disturb(self.now);
        self.hosts[n].owes_hand_back = true;
        for index in 0..self.hosts[n].procs.len() {
            self.hosts[n].procs[index].is_frozen = true;
            for run in self.hosts[n].procs[index].runs.clone() {
                self.run_is_over(run, Exec::Frozen);
            }
        }
        say!(self, "i-{n} hangs");
        self.count(Occurrence::HostHung);
    }

    pub fn put_agent(&mut self, n: N, at: u64, ev: AgentEv) {
        let generation = self.hosts[n].agent_generation;
        self.agenda.put(at, Ev::Agent { n, generation, ev });
    }

    /// Notices and recommendations reach the instance metadata: the agent's next polls will see them.
    pub fn imds_shows(&mut self, n: N) {
        if self.hosts[n].agent.is_none() {
            return;
        }
        let mut after = self.rng.between(20, 1020);
        if !self.is_calm && self.rng.per_mille(self.setup.calls.imds_late) {
            after += self.rng.between(1, 15) * SECOND;
            self.count(Occurrence::ImdsLate);
        }
        if self.cloud.machines[n].reclaims_at.is_some() {
            self.put_agent(n, self.now + after, AgentEv::Imds);
        }
        if self.cloud.machines[n].rebalance_at.is_some() {
            self.put_agent(n, self.now + after, AgentEv::ImdsRebalance);
        }
        self.put_agent(n, self.now + after, AgentEv::ImdsSchedule);
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
}
