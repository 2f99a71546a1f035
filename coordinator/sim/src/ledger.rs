//! The ledger in Redis, as far as decisions depend on it: the leader lease, its epoch, and the saved state. Owns the
//! checks that its scripts make; which coordinator reaches it is the network's.

use spillway_brain::State;

use crate::invariants::Shadow;

/// A saved state, and the epoch in which it was saved.
#[derive(Clone, Debug)]
pub struct Saved {
    pub kept: Kept,
    pub epoch: u64,
    pub clock: Clock,
    /// What the invariant checks remember beside the same state.
    pub shadow: Shadow,
}

/// The wall clock of the coordinator that saved it, in milliseconds ahead of the true time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// If it was never set.
    pub skew: i64,
    pub off: i64,
}

/// A saved state, by value or by reference to the pool that saved it: few are ever read, and a copy at each tick is
/// slow.
#[derive(Clone, Debug)]
pub enum Kept {
    State(Box<State>),
    /// What this coordinator's pool saved last.
    Pool(usize),
}

/// The keys.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The holder, and until when.
    lease: Option<(u64, u64)>,
    pub epoch: u64,
    pub saved: Option<Saved>,
}

impl Ledger {
    /// The epoch in which `holder` leads, if it does.
    pub fn renew(&mut self, holder: u64, now: u64, span: u64) -> Option<u64> {
        match self.lease.filter(|(_, until)| now < *until) {
            Some((held_by, _)) if held_by != holder => return None,
            Some(_) => {}
            None => self.epoch += 1,
        }
        self.lease = Some((holder, now + span));
        Some(self.epoch)
    }

    pub fn is_held_by(&self, holder: u64, now: u64) -> bool {
        self.lease.is_some_and(|(held_by, until)| held_by == holder && now < until)
    }

    /// When the lease expires unless it is renewed; 0 if it is not held.
    pub fn held_until(&self) -> u64 {
        self.lease.map_or(0, |(_, until)| until)
    }

    /// The holder's renewals have stopped.
    pub fn ends_at(&mut self, holder: u64, at: u64) {
        if let Some((held_by, until)) = &mut self.lease
            && *held_by == holder
        {
            *until = at;
        }
    }

    /// Time was skipped.
    pub fn put_off(&mut self, by: u64) {
        if let Some((_, until)) = &mut self.lease {
            *until += by;
        }
    }

    pub fn is_held(&self, now: u64) -> bool {
        self.lease.is_some_and(|(_, until)| now < until)
    }

    /// Its keys are deleted. The epoch still grows: in production it is at least Redis' time.
    pub fn delete(&mut self) {
        *self = Ledger { epoch: self.epoch, ..Ledger::default() };
    }
}
