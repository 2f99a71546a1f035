//! The ends of faults: what was cut, paused or held recovers.

use spillway_pool::Wish;

use crate::agenda::{C, N};
use crate::clock::{MINUTE, SECOND};
use crate::cloud::BY_A_CALL;
use crate::counts::Occurrence;
use crate::faults::Fault;
use crate::invariants::FOUND_AGAIN;
use crate::say;
use crate::world::World;

/// A fault's end, or its next part.
#[derive(Clone, Copy, Debug)]
pub enum Heal {
    Worker(N),
    /// A coordinator's host is synchronized again; an instance.
    Clock(C),
    HostClock(N),
    Redis,
    /// The worker takes jobs again, or its agent says that it does not.
    Idle(N),
    Unpause,
    Unlimit,
    Unrate,
    /// A rate limit's window ends.
    RateWindow,
    Resume,
    /// Who drained an instance by mistake takes it back.
    CancelDrain,
    UnmanagedEnds(N),
    Unprotect(N),
    /// Launches take that image again.
    RolledBack(usize),
    /// EC2 cancels what it had scheduled.
    EventCancelled(N),
    /// The partition begins now.
    CutBegins(C, u64),
    /// Listings hide the instance once more.
    HiddenOnce(N),
}

impl World {
    pub fn heals(&mut self, heal: Heal) {
        match heal {
            Heal::Worker(n) => self.worker_reaches_redis(n),
            Heal::Clock(c) => {
                if std::mem::take(&mut self.stepped[c]) != 0 {
                    self.clock_right_at[c] = self.now;
                }
            }
            Heal::HostClock(n) => {
                if std::mem::take(&mut self.hosts[n].skew) != 0 {
                    self.hosts[n].clock_right_at = self.now;
                }
            }
            Heal::Redis => {
                if !self.net.redis_down.is_down(self.now) {
                    self.bull.primary.clone().into_iter().for_each(|run| self.renews_again(run));
                    self.live_hosts.clone().into_iter().for_each(|n| self.worker_reaches_redis(n));
                }
            }
            Heal::Idle(n) => self.idles_no_longer(n),
            Heal::Unpause => self.bull.paused = false,
            Heal::Unlimit => self.bull.limit = None,
            Heal::Unrate => self.bull.rate = None,
            Heal::RateWindow => {}
            Heal::Resume => self.operator_resumes(),
            Heal::Unprotect(n) => self.cloud.machines[n].is_protected = false,
            Heal::RolledBack(to) if !self.is_calm => self.image_is_rolled_back(to),
            Heal::RolledBack(_) => {}
            Heal::EventCancelled(n) => self.ec2_cancels_event(n),
            Heal::CancelDrain => self.operator(Fault::OperatorCancel),
            Heal::CutBegins(c, until) => {
                if !self.is_calm {
                    self.count(Occurrence::CutEc2);
                    self.net.ec2[c].cut(self.now, until);
                }
            }
            Heal::HiddenOnce(n) => drop(self.hides(n, 60 * SECOND)),
            Heal::UnmanagedEnds(n) => {
                self.unknown_agent_registers(n);
                self.ec2_shuts_down(n, BY_A_CALL);
            }
        }
        self.dispatch();
    }

    fn worker_reaches_redis(&mut self, n: N) {
        if !self.hosts[n].is_on() || !self.net.host_redis(n, self.now) {
            return;
        }
        let working = self.hosts[n].procs.iter().filter(|process| process.hung_until.is_none());
        let runs: Vec<usize> = working.flat_map(|process| process.runs.iter().copied()).collect();
        runs.into_iter().for_each(|run| self.renews_again(run));
    }

    /// Listings do not show the instance for `span`; false if no listing can have shown it yet, or if it was hidden a
    /// moment ago: it would be missing for longer than the grace.
    pub(super) fn hides(&mut self, n: N, span: u64) -> bool {
        let machine = &self.cloud.machines[n];
        let is_hidden = machine.hidden.until.saturating_add(2 * MINUTE) > self.now;
        if self.is_calm || !machine.is_settled(self.now) || is_hidden || self.only_listings_tell(n) {
            return false;
        }
        self.count(Occurrence::Hidden);
        say!(self, "listings do not show i-{n} for {} s", span / SECOND);
        self.cloud.machines[n].hidden.cut(self.now, self.now + span);
        true
    }

    /// The ledger was lost, and no listing has shown the instance since: nothing else could tell of it.
    pub(super) fn only_listings_tell(&self, n: N) -> bool {
        let is_lost = self.cloud.machines[n].launched_at <= self.ledger_deleted_at;
        let leader = (0..self.coordinators.len()).find(|c| self.coordinators[*c].leads());
        is_lost && leader.is_none_or(|c| self.listed_at(c) < self.ledger_deleted_at + FOUND_AGAIN)
    }

    pub fn operator_resumes(&mut self) {
        for c in 0..self.coordinators.len() {
            if self.coordinators[c].leads() {
                self.asks_operator(c, Wish::Resume { by: String::new() });
            }
        }
    }
}
