//! BullMQ's rate limit of a queue, for all its workers: so many starts of jobs in a window that begins with the first
//! of them. Owns the counter and its expiry.

use std::time::Duration;

use spillway_brain::RateLimit;

use crate::agenda::Ev;
use crate::faults::Heal;
use crate::world::World;

/// A limit, and the window that runs.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub max: u64,
    /// In milliseconds.
    pub duration: u64,
    started: u64,
    ends_at: u64,
}

impl Rate {
    /// The window that runs goes on: its counter and expiry are keys of their own in Redis.
    pub fn new(max: u64, duration: u64, before: Option<Rate>) -> Self {
        let (started, ends_at) = before.map_or((0, 0), |before| (before.started, before.ends_at));
        Rate { max, duration, started, ends_at }
    }

    /// As the coordinator reads it, while a window runs.
    pub fn window(&self, now: u64) -> Option<RateLimit> {
        let left = self.ends_at.checked_sub(now).filter(|left| *left > 0)?;
        let allows = Some(self.max.saturating_sub(self.started));
        Some(RateLimit { left: Duration::from_millis(left), started: self.started, allows })
    }

    /// It lets no job start now.
    pub fn is_used_up(&self, now: u64) -> bool {
        now < self.ends_at && self.started >= self.max
    }
}

impl World {
    /// Jobs wait for the limit's next window.
    pub fn is_held_back(&self) -> bool {
        self.bull.waiting() > 0 && self.bull.rate.is_some_and(|rate| rate.is_used_up(self.now))
    }

    /// A job starts: the first one begins a window, at whose end the others are tried again.
    pub(super) fn counts_start(&mut self) {
        let Some(rate) = &mut self.bull.rate else { return };
        if self.now >= rate.ends_at {
            (rate.started, rate.ends_at) = (0, self.now + rate.duration);
            self.agenda.put(rate.ends_at, Ev::Heal(Heal::RateWindow));
        }
        rate.started += 1;
    }
}
