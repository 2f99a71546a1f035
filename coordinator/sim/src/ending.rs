//! How a run ends: the faults stop, a steady load must reach its desired capacity, then the queue must become empty and
//! every instance be terminated (invariants 5, 7 and 12). Each within a bounded virtual time.

use crate::agenda::{Ev, Load};
use crate::clock::{HOUR, MINUTE, SECOND, ms};
use crate::cloud::{BY_A_CALL, Stranger};
use crate::faults::{Fault, Heal};
use crate::invariants::Invariant;
use crate::say;
use crate::setup::Naming;
use crate::world::World;

/// The longest that back-offs, breakers and overdue drains of the fault phase may keep capacity away.
const STEADY_WITHIN: u64 = 6 * HOUR;
/// In addition to the work that is left, idle time and drains.
const EMPTY_WITHIN: u64 = 5 * HOUR;
const CHECK_INTERVAL: u64 = 20 * SECOND;

impl World {
    pub(crate) fn ends(&mut self) {
        self.calms_down();
        self.is_steady = true;
        self.agenda.put(self.now, Ev::Load(Load::TopUp));
        let until = self.now + STEADY_WITHIN;
        while self.violation.is_none() && !self.has_capacity() {
            if self.now >= until {
                return self.violate(Invariant::Converges, self.describe("desired capacity is not reached"));
            }
            self.run_until(self.now + CHECK_INTERVAL);
        }
        say!(self, "the steady load has reached its desired capacity");
        self.is_steady = false;
        self.setup.floors.clear();
        for n in 0..self.cloud.machines.len() {
            if self.cloud.machines[n].stranger == Some(Stranger::Another) {
                self.ec2_shuts_down(n, BY_A_CALL);
            }
        }
        let until = self.now + self.work_left() + ms(self.setup.config.policy.idle) + EMPTY_WITHIN;
        while self.violation.is_none() && !self.is_empty() {
            if self.now >= until {
                return self.not_empty();
            }
            self.run_until(self.now + CHECK_INTERVAL);
        }
    }

    /// All faults stop; what an operator would fix is fixed.
    fn calms_down(&mut self) {
        say!(self, "the faults stop");
        self.is_calm = true;
        self.net.heal_all(self.now);
        self.heals(Heal::Redis);
        for cut in [
            &mut self.cloud.without_capacity,
            &mut self.cloud.over_quota,
            &mut self.cloud.unauthorized,
            &mut self.cloud.misconfigured,
            &mut self.cloud.strange,
            &mut self.cloud.takes_back,
            &mut self.cloud.no_termination,
            &mut self.cloud.throttles,
            &mut self.cloud.bad_image,
            &mut self.cloud.other_queue,
        ] {
            cut.until = cut.until.min(self.now);
        }
        self.image_is_good();
        for n in 0..self.cloud.machines.len() {
            let machine = &mut self.cloud.machines[n];
            for cut in [&mut machine.retagged, &mut machine.unlisted] {
                cut.until = cut.until.min(self.now);
            }
            if machine.token.is_none() && machine.stranger != Some(Stranger::Another) {
                self.ec2_shuts_down(n, BY_A_CALL);
            }
        }
        // A full fleet of another installation's stays until ours is complete: it must not be in the way.
        if self.setup.has(Fault::Neighbor) {
            (0..self.setup.config.max_instances).for_each(|_| self.stranger_launches(Stranger::Another));
        }
        for c in 0..self.coordinators.len() {
            self.coordinator_starts(c);
        }
        (0..self.coordinators.len()).for_each(|c| self.heals(Heal::Clock(c)));
        (0..self.hosts.len()).for_each(|n| self.heals(Heal::HostClock(n)));
        (0..self.hosts.len()).for_each(|n| self.heals(Heal::Idle(n)));
        self.heals(Heal::Unpause);
        self.heals(Heal::Unlimit);
        self.heals(Heal::Unrate);
        // Where no agent is left to power an instance off, a person must lift what protects it. Everything else must
        // end by itself.
        for n in 0..self.cloud.machines.len() {
            self.cloud.machines[n].is_protected &= self.hosts[n].has_agent();
        }
        // Back-offs end by themselves; a hold does not.
        let is_held = self.coordinators.iter().any(|it| it.is_up && it.state().hold().is_some());
        if is_held || self.rng.one_in(2) {
            for minutes in [1, 3, 10] {
                self.agenda.put(self.now + minutes * MINUTE, Ev::Heal(Heal::Resume));
            }
        }
    }

    /// The highest step's capacity is ready; by forecasts, the capacity that lets no job wait for long.
    fn has_capacity(&self) -> bool {
        let config = &self.setup.config;
        let highest = config.policy.steps.iter().map(|step| step.instances).max().unwrap_or(0);
        let highest = highest.min(config.max_instances);
        let Some(leader) = (0..self.coordinators.len()).find(|c| self.coordinators[*c].leads()) else { return false };
        let state = self.coordinators[leader].state();
        // After its ledger was deleted the leader adopts what it finds, which may be more.
        let desired = state.desired().unwrap_or(0);
        // A worker without shim and name cannot give the worker proof while it is busy (a known limit).
        let is_ready = self.setup.naming == Naming::None || state.counts(self.pool_time(leader)).ready == desired;
        if let Some(wait) = &config.wait {
            let longest = 2 * ms(wait.target.max(config.boot_timeout));
            let waits = self.bull.next_has_waited(self.now).is_some_and(|waited| waited > longest);
            return is_ready && (!waits || desired >= config.max_instances);
        }
        is_ready && desired >= highest
    }

    /// In milliseconds, if the primary had to run all of it and each job stalled once.
    fn work_left(&self) -> u64 {
        let open = self.bull.jobs.iter().filter(|job| job.is_open());
        let (sum, most) = open.fold((0, 0), |(sum, most), job| (sum + job.took, job.took.max(most)));
        2 * sum / self.setup.primary_slots as u64 + 3 * most + ms(self.setup.config.drain_timeout)
    }

    fn is_empty(&self) -> bool {
        if self.bull.open() > 0 || self.cloud.live > 0 {
            return false;
        }
        let Some(leader) = self.coordinators.iter().find(|coordinator| coordinator.leads()) else { return false };
        leader.state().instances().all(|instance| instance.is_gone() && !instance.owes_hand_back())
    }

    fn not_empty(&mut self) {
        if self.cloud.live > 0 {
            let text = self.describe(&format!("{} managed instances are left", self.cloud.live));
            return self.violate(Invariant::NoLeak, text);
        }
        let open: Vec<usize> = (0..self.bull.jobs.len()).filter(|job| self.bull.jobs[*job].is_open()).collect();
        if let Some(job) = open.first() {
            let entry = &self.bull.jobs[*job];
            let run = entry.run.map(|run| &self.bull.runs[run]);
            let text = format!("{} jobs are left; job {job} is {:?} ({run:?})", open.len(), entry.place);
            return self.violate(Invariant::NoJobLost, text);
        }
        let text = self.describe("the leader still has instances or hand-backs to finish");
        self.violate(Invariant::Converges, text);
    }

    fn describe(&self, what: &str) -> String {
        let mut words = what.to_owned();
        for c in (0..self.coordinators.len()).filter(|c| self.coordinators[*c].leads()) {
            let (state, now) = (self.coordinators[c].state(), self.pool_time(c));
            words += &format!("; desired {:?}, {:?}", state.desired(), state.counts(now));
            for instance in state.instances().filter(|instance| !instance.is_gone() || instance.owes_hand_back()) {
                words += &format!(
                    "; {} {} since {} s ({}), ec2 {:?}, agent {:?}, hand-back {:?}",
                    instance.name(),
                    instance.phase_name(),
                    now.since(instance.phase_since).as_secs(),
                    instance.phase_reason,
                    instance.ec2.state,
                    instance.agent.phase,
                    instance.owed.hand_back,
                );
            }
        }
        words
    }
}
