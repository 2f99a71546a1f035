//! How what was cut, paused or held comes back.

use spillway_pool::Wish;

use crate::agenda::{C, N};
use crate::clock::{MINUTE, SECOND};
use crate::counts::Met;
use crate::say;
use crate::world::World;

/// What ends by itself.
#[derive(Clone, Copy, Debug)]
pub enum Heal {
    Worker(N),
    Redis,
    Unpause,
    Unlimit,
    Resume,
    ForeignEnds(N),
    /// Not yet: it was slow only.
    CutBegins(C, u64),
    /// Not yet: the first lists do not show it.
    HiddenOnce(N),
}

impl World {
    pub fn heals(&mut self, heal: Heal) {
        match heal {
            Heal::Worker(n) => self.worker_reaches_redis(n),
            Heal::Redis => {
                if !self.net.redis_down.is_down(self.now) {
                    self.bull.primary.clone().into_iter().for_each(|run| self.renews_again(run));
                    self.live_hosts.clone().into_iter().for_each(|n| self.worker_reaches_redis(n));
                }
            }
            Heal::Unpause => self.bull.paused = false,
            Heal::Unlimit => self.bull.limit = None,
            Heal::Resume => self.operator_resumes(),
            Heal::CutBegins(c, until) => {
                if !self.is_calm {
                    self.met(Met::CutEc2);
                    self.net.ec2[c].cut(self.now, until);
                }
            }
            Heal::HiddenOnce(n) => drop(self.hides(n, 60 * SECOND)),
            Heal::ForeignEnds(n) => {
                self.stranger_knocks(n);
                self.ec2_shuts_down(n, "Client.UserInitiatedShutdown");
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

    /// Lists do not show it for so long. Not what no list can have shown yet, or what was hidden a moment ago: it would be
    /// out of sight for longer than the grace.
    pub(super) fn hides(&mut self, n: N, span: u64) -> bool {
        let machine = &self.cloud.machines[n];
        if self.is_calm || !machine.is_settled(self.now) || machine.hidden.until.saturating_add(2 * MINUTE) > self.now {
            return false;
        }
        self.met(Met::Hidden);
        say!(self, "lists do not show i-{n} for a while");
        self.cloud.machines[n].hidden.cut(self.now, self.now + span);
        true
    }

    pub fn operator_resumes(&mut self) {
        for c in 0..self.coordinators.len() {
            if self.coordinators[c].leads() {
                self.asks_operator(c, Wish::Resume);
            }
        }
    }
}
