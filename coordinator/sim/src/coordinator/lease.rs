//! The lease is taken or renewed every 3 s. What an attempt means is the pool's rule; Redis' answers are simulated
//! here.

use spillway_pool::Input;
use spillway_pool::lease::{self, LeaseAnswer, LeaseChange};

use super::up;
use crate::agenda::{C, CoordinatorEv};
use crate::world::World;

const LEASE: u64 = lease::LEASE.as_millis() as u64;
const RENEWED_EACH: u64 = lease::RENEWED_EACH.as_millis() as u64;
/// Renewals for so long are made in advance, and undone if something happens in between.
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
        if !self.net.coordinator_redis(c, self.now) {
            self.renew_at(c, self.now + RENEWED_EACH);
            return self.lease_answered(c, self.now, LeaseAnswer::Unknown);
        }
        let holder = self.holder_of_lease(c);
        match self.ledger.renew(holder, self.now, LEASE + COUNTED) {
            Some(epoch) => {
                self.coordinators[c].renewed_at = self.now;
                self.renew_at(c, self.now + COUNTED + RENEWED_EACH);
                self.lease_answered(c, self.now + COUNTED, LeaseAnswer::Ours { epoch });
            }
            None => {
                // No attempt succeeds before the lease expires; what ends the lease sooner wakes the standby.
                let free_at = self.ledger.held_until().max(self.now + 1);
                let tries = (free_at - self.now).div_ceil(RENEWED_EACH);
                self.renew_at(c, self.now + tries * RENEWED_EACH);
                self.lease_answered(c, self.now, LeaseAnswer::Anothers);
            }
        }
    }

    /// `asked_at`: when the last renewal was requested, including those made in advance.
    fn lease_answered(&mut self, c: C, asked_at: u64, answer: LeaseAnswer) {
        let (asked_at, now) = (up(asked_at), up(self.now));
        match self.coordinators[c].hold.answered(asked_at, now, answer) {
            LeaseChange::Gained { epoch } => {
                self.settle_ledger();
                self.feed(c, Input::Lead { epoch });
            }
            LeaseChange::Lost => {
                self.settle_ledger();
                self.feed(c, Input::StandBy);
            }
            LeaseChange::Unchanged => {}
        }
    }

    /// From now on a renewal may fail: those that were made in advance and are not due yet are undone.
    pub fn renews_no_longer(&mut self, c: C) {
        for other in 0..self.coordinators.len() {
            let coordinator = &self.coordinators[other];
            if other != c && coordinator.is_up && coordinator.hold.held().is_none() {
                let at = self.now + self.rng.between(1, RENEWED_EACH);
                self.renew_at(other, at);
            }
        }
        let renewed_at = self.coordinators[c].renewed_at;
        let Some((until, epoch)) = self.coordinators[c].hold.held() else { return };
        let last = renewed_at + (self.now - renewed_at).min(COUNTED) / RENEWED_EACH * RENEWED_EACH;
        let until = until.min(up(last + LEASE));
        let (asked_at, now) = (until - lease::LEASE, up(self.now));
        self.coordinators[c].hold.answered(asked_at, now, LeaseAnswer::Ours { epoch });
        let holder = self.holder_of_lease(c);
        self.ledger.ends_at(holder, crate::clock::ms(until));
        self.renew_at(c, last + RENEWED_EACH);
    }
}
