//! Handing an ended instance's jobs back: which of them, by the rule of the coordinator's `hand_back::rule`, which is told
//! here once more, and what that came to.

use std::collections::BTreeMap;

use spillway_brain::Event;

use crate::agenda::{C, CoordinatorEv, N};
use crate::bull::Claim;
use crate::clock::SECOND;
use crate::counts::Met;
use crate::say;
use crate::world::World;

/// Looks at one lock are so far apart before it is said that nobody renews it.
const APART: u64 = 16 * SECOND;
const RENEWED_ABOVE: u64 = 14 * SECOND;
const SAME_EXPIRY: u64 = SECOND;

/// What earlier looks saw of one instance's jobs.
pub type Looks = BTreeMap<usize, Look>;

/// A job's lock as the looks so far saw it.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    token: Option<usize>,
    since: (u64, Option<u64>),
    last: (u64, Option<u64>),
    was_renewed: bool,
}

/// What one attempt came to.
#[derive(Debug)]
pub struct Attempt {
    n: N,
    certain: bool,
    handed_back: u32,
    left: u32,
    failed: bool,
    looks: Looks,
}

impl Look {
    fn new(at: u64, token: Option<usize>, left: Option<u64>, before: Option<&Look>) -> Self {
        let last = (at, left);
        match before {
            Some(before) if before.token == token && !expires_later(last, before.since) => Look { last, ..*before },
            Some(before) => Look { token, since: last, last, was_renewed: before.token == token && token.is_some() },
            None => Look { token, since: last, last, was_renewed: false },
        }
    }

    /// Less than half of what the first look saw is left: its worker would have renewed it.
    fn is_overdue(&self) -> bool {
        match (self.token, self.since.1, self.last.1) {
            (Some(_), Some(before), Some(left)) => left + SAME_EXPIRY < before / 2,
            (Some(_), ..) => false,
            (None, ..) => self.last != self.since,
        }
    }

    fn is_not_renewed(&self) -> bool {
        match self.token {
            Some(_) => self.last.0 - self.since.0 >= APART && self.last.1.is_some_and(|left| left < RENEWED_ABOVE),
            None => self.last != self.since,
        }
    }
}

fn expires_later(last: (u64, Option<u64>), since: (u64, Option<u64>)) -> bool {
    match (last.1, since.1) {
        (Some(left), Some(before)) => last.0 + left > since.0 + before + SAME_EXPIRY,
        (left, before) => left != before,
    }
}

impl World {
    pub(super) fn hand_back(&mut self, c: C, n: N, certain: bool) {
        let at = self.now + self.net.latency(self.now, &mut self.rng);
        self.put_coordinator(c, at, CoordinatorEv::HandBack { n, certain });
    }

    /// At Redis.
    pub(super) fn hand_back_now(&mut self, c: C, n: N, certain: bool) {
        let known = self.coordinators[c].looks.remove(&n).filter(|(then, _)| *then == certain);
        let known = known.map(|(_, looks)| looks).unwrap_or_default();
        let mut attempt = Attempt { n, certain, handed_back: 0, left: 0, failed: false, looks: Looks::new() };
        let mut answers_at = self.now + self.net.latency(self.now, &mut self.rng);
        if !self.net.coordinator_redis(c, self.now) {
            answers_at += self.rng.between(1, 10) * SECOND;
            attempt = Attempt { failed: true, looks: known, ..attempt };
            return self.put_coordinator(c, answers_at, CoordinatorEv::HandedBack(Box::new(attempt)));
        }
        let met = if certain { Met::HandedBackCertain } else { Met::HandedBackUncertain };
        for held in self.held_by(n) {
            let look = Look::new(self.now, held.token, held.left, known.get(&held.job));
            attempt.looks.insert(held.job, look);
            let its_own = held.claim == Claim::Token;
            let is_anothers = !its_own && held.token.is_some_and(|token| self.is_anothers(token, n));
            if is_anothers || (certain && held.token.is_some() && !its_own && look.was_renewed) {
                continue;
            }
            let goes_back = look.is_not_renewed() || (certain && look.is_overdue());
            attempt.left += 1;
            if goes_back && self.moves_back(held, met) {
                attempt.left -= 1;
                attempt.handed_back += 1;
            }
        }
        self.dispatch();
        if !self.is_calm && self.rng.per_mille(self.setup.calls.lost_answer) {
            // It happened, and nobody is told.
            attempt.failed = true;
            attempt.handed_back = 0;
            answers_at += self.rng.between(1, 30) * SECOND;
        }
        self.put_coordinator(c, answers_at, CoordinatorEv::HandedBack(Box::new(attempt)));
    }

    pub(super) fn handed_back(&mut self, c: C, attempt: Attempt) {
        let Attempt { n, certain, handed_back, left, failed, looks } = attempt;
        let id = self.cloud.machines[n].id.clone();
        if handed_back > 0 || left > 0 {
            say!(self, "of i-{n} {handed_back} are handed back, {left} left");
        }
        let event = if failed {
            Event::HandBackFailed { id: id.clone(), certain, detail: "Redis does not answer".to_owned() }
        } else {
            Event::HandedBack { id: id.clone(), certain, handed_back, left }
        };
        self.tell(c, event);
        let hand_back = self.coordinators[c].controller.state().instance(&id).and_then(|it| it.owed.hand_back.as_ref());
        if hand_back.is_some_and(|it| it.certain == certain && !it.is_over()) {
            self.coordinators[c].looks.insert(n, (certain, looks));
        }
    }
}
