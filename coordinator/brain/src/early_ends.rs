//! Instances that end without notice soon after they became ready: some in a row stop further launches, as failed boots
//! do. Something ends them, a job or the image, and each one more costs a boot and finds out nothing.
//!
//! An instance counts once. One that lasts for ten minutes ends the row, and so does an hour without such an end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::stepped::Stepped;
use crate::time::Timestamp;

/// An end within this time of the first worker proof is early. Measured from readiness, so that no setting moves it.
pub const EARLY: Duration = Duration::from_secs(600);
/// Ends further apart than this are no row.
const APART: Duration = Duration::from_secs(3600);
/// The longest that launches are stopped, where `breaker_backoff` is not longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// The early ends in a row, and what they stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EarlyEnds {
    ends: u32,
    open_until: Option<Timestamp>,
    times_opened: u32,
    last_at: Option<Timestamp>,
}

impl EarlyEnds {
    /// In a row.
    pub fn count(&self) -> u32 {
        self.ends
    }

    /// When the last of them was seen to have ended.
    pub(crate) fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// While open: no launch before this.
    pub fn open_until(&self) -> Option<Timestamp> {
        self.open_until
    }

    /// There is no row.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// How many launches it lets through now: none while open, then one that must last.
    pub(crate) fn allows(&self, now: Timestamp, on_trial: u32) -> u32 {
        match self.open_until {
            None => u32::MAX,
            Some(until) if now < until => 0,
            Some(_) => 1u32.saturating_sub(on_trial),
        }
    }

    /// An instance that was launched at `launched_at` ended early. True when this stops launches: `boot_failures` in a
    /// row do, and then only one that was launched after the wait. Those that end together stop them once.
    pub(crate) fn ended(&mut self, now: Timestamp, launched_at: Timestamp, config: &Config) -> bool {
        self.ends += 1;
        self.last_at = Some(now);
        let is_try = self.open_until.is_none_or(|until| launched_at >= until);
        if self.ends < config.boot_failures || !is_try {
            return false;
        }
        let wait = config.breaker_backoff * 2u32.saturating_pow(self.times_opened.min(16));
        self.open_until = Some(now + wait.min(LONGEST.max(config.breaker_backoff)));
        self.times_opened += 1;
        true
    }

    /// An hour without such an end.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let is_open = self.open_until.is_some_and(|until| now < until);
        !is_open && self.last_at.is_some_and(|last| now.since(last) > APART)
    }
}

impl Stepped for EarlyEnds {
    fn step(&mut self, by: i64) {
        let EarlyEnds { ends: _, open_until, times_opened: _, last_at } = self;
        open_until.step(by);
        last_at.step(by);
    }
}
