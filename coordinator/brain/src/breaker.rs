//! The boot-failure breaker: some failed boots in a row stop further launches; after a back-off one instance may try.
//!
//! ```text
//!   closed ── N failures in a row ──► open ── back-off over ──► one try ── ready ──► closed
//!                                      ▲                           └── failed: back-off doubled ──┐
//!                                      └──────────────────────────────────────────────────────────┘
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stepped::Stepped;
use crate::time::Timestamp;

const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Breaker {
    /// Failed boots since the last success.
    pub failures: u32,
    /// While open: no launch before this.
    pub open_until: Option<Timestamp>,
    times_opened: u32,
}

impl Breaker {
    /// A boot failed. True when this opened the breaker.
    pub(crate) fn failed(&mut self, now: Timestamp, allowed: u32, backoff: Duration) -> bool {
        self.failures += 1;
        if self.failures < allowed {
            return false;
        }
        let doubled = backoff * 2u32.saturating_pow(self.times_opened.min(16));
        self.open_until = Some(now + doubled.min(LONGEST_BACKOFF.max(backoff)));
        self.times_opened += 1;
        true
    }

    /// A worker proved itself.
    pub(crate) fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// How many launches it lets through now, given those on their way: none while open, one when the back-off is over.
    pub(crate) fn allows(&self, now: Timestamp, on_the_way: u32) -> u32 {
        match self.open_until {
            None => u32::MAX,
            Some(until) if now < until => 0,
            Some(_) => 1u32.saturating_sub(on_the_way),
        }
    }
}

impl Stepped for Breaker {
    fn step(&mut self, by: i64) {
        let Breaker { failures: _, open_until, times_opened: _ } = self;
        open_until.step(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_at_the_third_failure_lets_one_try_and_doubles_the_wait() {
        let minute = Duration::from_secs(60);
        let at = |minutes: u64| Timestamp(minutes * 60_000);
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(at(0), 3, minute));
        assert!(!breaker.failed(at(1), 3, minute));
        assert_eq!(breaker.allows(at(1), 0), u32::MAX);
        assert!(breaker.failed(at(2), 3, minute));
        assert_eq!(breaker.allows(at(2), 0), 0);
        assert_eq!(breaker.allows(at(3), 0), 1);
        assert_eq!(breaker.allows(at(3), 1), 0, "one try at a time");
        assert!(breaker.failed(at(4), 3, minute));
        assert_eq!(breaker.allows(at(5), 0), 0, "the second wait is twice as long");
        assert_eq!(breaker.allows(at(6), 0), 1);
        breaker.succeeded();
        assert_eq!(breaker.allows(at(6), 0), u32::MAX);
    }
}
