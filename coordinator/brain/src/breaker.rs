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
    /// Boots of instances that were launched before this say nothing: a person has fixed what made them fail.
    #[serde(default, skip_serializing_if = "is_zero")]
    counts_from: Timestamp,
    /// The image that all these failures are of, by EC2's listing; None where there is none, or not one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// A boot that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailedBoot {
    pub launched_at: Timestamp,
    /// None while EC2's listing has not told it.
    pub image: Option<String>,
}

fn is_zero(at: &Timestamp) -> bool {
    *at == Timestamp(0)
}

impl Breaker {
    /// A boot failed. True when this opened the breaker. Once it is open only the failure of a later try opens it
    /// again: boots that were launched together fail together.
    pub(crate) fn failed(&mut self, now: Timestamp, boot: FailedBoot, allowed: u32, backoff: Duration) -> bool {
        let FailedBoot { launched_at, image } = boot;
        if launched_at < self.counts_from {
            return false;
        }
        let is_first = self.failures == 0;
        self.image = image.filter(|image| is_first || self.image.as_ref() == Some(image));
        self.failures += 1;
        let is_try = self.open_until.is_none_or(|until| launched_at >= until);
        if self.failures < allowed || !is_try {
            return false;
        }
        let doubled = backoff * 2u32.saturating_pow(self.times_opened.min(16));
        self.open_until = Some(now + doubled.min(LONGEST_BACKOFF.max(backoff)));
        self.times_opened += 1;
        true
    }

    /// What made boots fail is fixed, or is of another image. What it was before.
    pub(crate) fn reset(&mut self, now: Timestamp) -> Breaker {
        std::mem::replace(self, Breaker { counts_from: now, ..Breaker::default() })
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
        let Breaker { failures: _, open_until, times_opened: _, counts_from, image: _ } = self;
        open_until.step(by);
        // Zero is no time: nothing was reset.
        if !is_zero(counts_from) {
            counts_from.step(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u64) -> Timestamp {
        Timestamp(minutes * 60_000)
    }

    fn launched(minutes: u64) -> FailedBoot {
        FailedBoot { launched_at: at(minutes), image: None }
    }

    #[test]
    fn it_opens_at_the_third_failure_lets_one_try_and_doubles_the_wait() {
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(at(0), launched(0), 3, MINUTE));
        assert!(!breaker.failed(at(1), launched(0), 3, MINUTE));
        assert_eq!(breaker.allows(at(1), 0), u32::MAX);
        assert!(breaker.failed(at(2), launched(1), 3, MINUTE));
        assert_eq!(breaker.allows(at(2), 0), 0);
        assert_eq!(breaker.allows(at(3), 0), 1);
        assert_eq!(breaker.allows(at(3), 1), 0, "one try at a time");
        assert!(breaker.failed(at(4), launched(3), 3, MINUTE));
        assert_eq!(breaker.allows(at(5), 0), 0, "the second wait is twice as long");
        assert_eq!(breaker.allows(at(6), 0), 1);
        breaker.succeeded();
        assert_eq!(breaker.allows(at(6), 0), u32::MAX);
    }

    #[test]
    fn boots_that_were_launched_together_open_it_once_however_late_they_fail() {
        let mut breaker = Breaker::default();
        let opened = [5, 5, 5, 5, 7].map(|fails| breaker.failed(at(fails), launched(0), 3, MINUTE));
        assert_eq!(opened, [false, false, true, false, false]);
        assert_eq!((breaker.failures, breaker.open_until), (5, Some(at(6))));
        assert!(breaker.failed(at(9), launched(8), 3, MINUTE), "the try fails");
        assert_eq!(breaker.open_until, Some(at(11)));
    }

    #[test]
    fn what_was_launched_before_a_reset_does_not_count() {
        let mut breaker = Breaker::default();
        breaker.reset(at(2));
        let opened = [0, 1, 1, 1].map(|at_minute| breaker.failed(at(3), launched(at_minute), 2, MINUTE));
        assert_eq!((opened, breaker.failures), ([false; 4], 0));
        assert!(!breaker.failed(at(4), launched(2), 2, MINUTE));
        assert!(breaker.failed(at(4), launched(2), 2, MINUTE));
    }

    #[test]
    fn the_image_of_the_failures_is_known_while_all_are_of_that_one() {
        let images = |of: &[Option<&str>]| {
            let mut breaker = Breaker::default();
            for image in of {
                let boot = FailedBoot { launched_at: at(1), image: image.map(str::to_owned) };
                breaker.failed(at(2), boot, 9, MINUTE);
            }
            breaker.image
        };
        assert_eq!(images(&[]), None);
        assert_eq!(images(&[Some("ami-1"), Some("ami-1")]).as_deref(), Some("ami-1"));
        for mixed in [[Some("ami-1"), Some("ami-2")], [None, Some("ami-2")], [Some("ami-1"), None]] {
            assert_eq!(images(&mixed), None, "{mixed:?}");
            assert_eq!(images(&[mixed[0], mixed[1], Some("ami-2")]), None, "{mixed:?}, then ami-2");
        }
    }
}
