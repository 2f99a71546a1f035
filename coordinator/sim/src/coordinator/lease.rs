//! Leading: the lease is taken or renewed each 3 s, and with it comes what the ledger has. Owns what happens when it is
//! lost, or gained anew.

use spillway_brain::{Controller, Event};

use super::name;
use crate::agenda::{C, CoordinatorEv};
use crate::clock::SECOND;
use crate::counts::Met;
use crate::ledger::LEASE;
use crate::say;
use crate::world::World;

impl World {
    /// Unique to this process.
    pub(super) fn holder_of_lease(&self, c: C) -> u64 {
        c as u64 * 1_000_000 + u64::from(self.coordinators[c].generation)
    }

    pub(super) fn renew(&mut self, c: C) {
        self.put_coordinator(c, self.now + LEASE / 5, CoordinatorEv::Renew);
        let held = self.coordinators[c].lease;
        if !self.net.coordinator_redis(c, self.now) {
            if held.is_some_and(|(until, _)| self.now >= until) {
                self.coordinators[c].lease = None;
                self.stands_by(c);
            }
            return;
        }
        let holder = self.holder_of_lease(c);
        match self.ledger.renew(holder, self.now) {
            Some(epoch) => {
                self.coordinators[c].lease = Some((self.now + LEASE, epoch));
                if held.is_none_or(|(_, before)| before != epoch) {
                    self.lead(c, epoch);
                }
            }
            None => {
                self.coordinators[c].lease = None;
                if held.is_some() {
                    self.stands_by(c);
                }
            }
        }
    }

    pub(super) fn stands_by(&mut self, c: C) {
        say!(self, "{} no longer leads", name(c));
        self.tell(c, Event::LeadershipLost);
    }

    /// Takes over from what the ledger has. Without it nothing is decided: unknown is not empty.
    pub(super) fn lead(&mut self, c: C, epoch: u64) {
        if !self.net.coordinator_redis(c, self.now) {
            return self.put_coordinator(c, self.now + SECOND, CoordinatorEv::Lead(epoch));
        }
        self.coordinators[c].epoch = epoch;
        let loaded_epoch = self.coordinators[c].loaded_epoch;
        let saved = self.ledger.saved.as_ref().filter(|saved| loaded_epoch != Some(saved.epoch)).cloned();
        if let Some(saved) = saved {
            // As it is kept in Redis: in words.
            let state = if self.rng.one_in(8) {
                let text = serde_json::to_string(&saved.state).expect("a state can be written");
                serde_json::from_str(&text).expect("what was written can be read")
            } else {
                saved.state
            };
            let now = self.local(c);
            self.coordinators[c].controller = Controller::restore(self.setup.config.clone(), state);
            self.coordinators[c].shadow = saved.shadow;
            self.coordinators[c].shadow.feed(now, &Event::Started);
            self.coordinators[c].controller.handle(now, Event::Started);
        }
        self.coordinators[c].loaded_epoch = Some(epoch);
        if self.led_by.is_some_and(|before| before != c) {
            self.met(Met::Failover);
        }
        self.led_by = Some(c);
        say!(self, "{} leads in epoch {epoch}", name(c));
        self.tell(c, Event::LeadershipGained);
    }
}
