//! Leading: the lease is taken or renewed each 3 s, and with it comes what the ledger has. Owns what happens when it is
//! lost, or gained anew.

use spillway_brain::{Controller, Event};

use super::name;
use crate::agenda::{C, CoordinatorEv};
use crate::clock::SECOND;
use crate::counts::Met;
use crate::ledger::{Kept, LEASE};
use crate::say;
use crate::world::World;

const RENEWED_EACH: u64 = LEASE / 5;
/// Renewals of so long are made at once, and undone where something comes in between.
const COUNTED: u64 = 3 * RENEWED_EACH;

impl World {
    /// Unique to this process.
    pub(super) fn holder_of_lease(&self, c: C) -> u64 {
        c as u64 * 1_000_000 + u64::from(self.coordinators[c].generation)
    }

    pub(super) fn renew_at(&mut self, c: C, at: u64) {
        self.coordinators[c].renewal += 1;
        let number = self.coordinators[c].renewal;
        self.put_coordinator(c, at, CoordinatorEv::Renew(number));
    }

    pub(super) fn renew(&mut self, c: C, number: u64) {
        if self.coordinators[c].renewal != number {
            return;
        }
        let held = self.coordinators[c].lease;
        if !self.net.coordinator_redis(c, self.now) {
            self.renew_at(c, self.now + RENEWED_EACH);
            if held.is_some_and(|(until, _)| self.now >= until) {
                self.coordinators[c].lease = None;
                self.stands_by(c);
            }
            return;
        }
        let holder = self.holder_of_lease(c);
        match self.ledger.renew(holder, self.now, LEASE + COUNTED) {
            Some(epoch) => {
                self.coordinators[c].lease = Some((self.now + LEASE + COUNTED, epoch));
                self.coordinators[c].renewed_at = self.now;
                self.renew_at(c, self.now + COUNTED + RENEWED_EACH);
                if held.is_none_or(|(_, before)| before != epoch) {
                    self.lead(c, epoch);
                }
            }
            None => {
                // Nothing comes of it before the lease is over; whoever ends it sooner wakes the standby.
                let free_at = self.ledger.held_until().max(self.now + 1);
                let tries = (free_at - self.now).div_ceil(RENEWED_EACH);
                self.renew_at(c, self.now + tries * RENEWED_EACH);
                self.coordinators[c].lease = None;
                if held.is_some() {
                    self.stands_by(c);
                }
            }
        }
    }

    /// From now on nothing renews its lease, or not for sure: the renewals so far were made, the next one is tried.
    pub fn renews_no_longer(&mut self, c: C) {
        for other in 0..self.coordinators.len() {
            let coordinator = &self.coordinators[other];
            if other != c && coordinator.is_up && coordinator.lease.is_none() {
                let at = self.now + self.rng.between(1, RENEWED_EACH);
                self.renew_at(other, at);
            }
        }
        let renewed_at = self.coordinators[c].renewed_at;
        let Some((until, epoch)) = self.coordinators[c].lease else { return };
        let last = renewed_at + (self.now - renewed_at).min(COUNTED) / RENEWED_EACH * RENEWED_EACH;
        let until = until.min(last + LEASE);
        self.coordinators[c].lease = Some((until, epoch));
        let holder = self.holder_of_lease(c);
        self.ledger.ends_at(holder, until);
        self.renew_at(c, last + RENEWED_EACH);
    }

    pub(super) fn stands_by(&mut self, c: C) {
        say!(self, "{} no longer leads", name(c));
        self.tell(c, Event::LeadershipLost);
        // Whoever leads now must hear the agents.
        self.sessions_end_with(c, &[500]);
    }

    /// Takes over from what the ledger has. Without it nothing is decided: unknown is not empty.
    pub(super) fn lead(&mut self, c: C, epoch: u64) {
        if !self.net.coordinator_redis(c, self.now) {
            return self.put_coordinator(c, self.now + SECOND, CoordinatorEv::Lead(epoch));
        }
        self.settle_ledger();
        self.coordinators[c].epoch = epoch;
        let loaded_epoch = self.coordinators[c].loaded_epoch;
        let saved = self.ledger.saved.as_ref().filter(|saved| loaded_epoch != Some(saved.epoch)).cloned();
        if let Some(saved) = saved {
            // As it is kept in Redis: in words.
            let Kept::State(state) = saved.kept else { return };
            let state = if self.rng.one_in(8) {
                let text = serde_json::to_string(&state).expect("a state can be written");
                serde_json::from_str(&text).expect("what was written can be read")
            } else {
                *state
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
        self.journal_begins(c);
    }
}
