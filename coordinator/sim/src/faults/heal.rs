//! How what was cut, paused or held comes back.

use spillway_brain::Event;

use crate::agenda::{CoordinatorEv, N};
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
            Heal::ForeignEnds(n) => self.ec2_shuts_down(n, "Client.UserInitiatedShutdown"),
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

    pub fn operator_resumes(&mut self) {
        for c in 0..self.coordinators.len() {
            if self.coordinators[c].leads() {
                self.put_coordinator(c, self.now, CoordinatorEv::Answer(Box::new(Event::OperatorResume)));
            }
        }
    }
}
