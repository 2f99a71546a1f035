//! When the queues are observed and EC2's instances are listed. All times are of [`crate::Now::up`].

use std::time::Duration;

use spillway_brain::{Config, RefusalClass};

/// Interruptions by EC2's word are asked for this often: agents see their own within a second.
const INTERRUPTIONS_INTERVAL: Duration = Duration::from_secs(30);
/// The longest between two listings while EC2 fails; what only a person can fix is asked about rarely.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
const LONGEST_UNTIL_MENDED: Duration = Duration::from_secs(300);
/// Failures that still double the wait.
const DOUBLED: u32 = 6;

/// What is under way, and when the next begins.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    listing_interval: Duration,
    next_observation: Duration,
    is_observing: bool,
    next_listing: Duration,
    is_listing: bool,
    failed_listings: u32,
    next_interruptions: Duration,
}

impl Schedule {
    /// Everything is looked at at once.
    pub(crate) fn new(config: &Config, up: Duration) -> Self {
        Schedule {
            interval: config.interval,
            listing_interval: config.listing_interval,
            next_observation: up,
            is_observing: false,
            next_listing: up,
            is_listing: false,
            failed_listings: 0,
            next_interruptions: up + INTERRUPTIONS_INTERVAL,
        }
    }

    /// Begins an observation when one is due, unless the last is still under way: a slow Redis is not asked more often.
    pub(crate) fn observes(&mut self, up: Duration) -> bool {
        if up < self.next_observation {
            return false;
        }
        self.next_observation = up + self.interval;
        !std::mem::replace(&mut self.is_observing, true)
    }

    pub(crate) fn observed(&mut self) {
        self.is_observing = false;
    }

    /// Begins a listing when one is due.
    pub(crate) fn lists(&mut self, up: Duration) -> bool {
        !self.is_listing && up >= self.next_listing && !std::mem::replace(&mut self.is_listing, true)
    }

    /// With a listing, when it is due.
    pub(crate) fn lists_interruptions(&mut self, up: Duration) -> bool {
        let is_due = up >= self.next_interruptions;
        if is_due {
            self.next_interruptions = up + INTERRUPTIONS_INTERVAL;
        }
        is_due
    }

    pub(crate) fn listed(&mut self, up: Duration) {
        self.is_listing = false;
        self.failed_listings = 0;
        self.next_listing = up + self.listing_interval;
    }

    /// The wait doubles with each failure in a row.
    pub(crate) fn listing_failed(&mut self, up: Duration, class: RefusalClass) {
        self.is_listing = false;
        self.failed_listings += 1;
        let longest = match class {
            class if class.needs_a_person() => LONGEST_UNTIL_MENDED,
            _ => LONGEST_BACK_OFF,
        };
        let wait = self.listing_interval * 2u32.pow(self.failed_listings.min(DOUBLED));
        self.next_listing = up + wait.min(longest.max(self.listing_interval));
    }

    /// What made listings fail may be fixed.
    pub(crate) fn forget_back_off(&mut self, up: Duration) {
        self.failed_listings = 0;
        self.lists_soon(up);
    }

    /// EC2 did something: its list is asked for at once. One that is under way is waited for.
    pub(crate) fn lists_soon(&mut self, up: Duration) {
        if !self.is_listing {
            self.next_listing = up;
        }
    }

    /// The ledger was loaded: the list is asked for anew, but no sooner than EC2 has to be spared.
    pub(crate) fn lists_anew(&mut self, up: Duration) {
        if self.failed_listings == 0 {
            self.lists_soon(up);
        }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.is_observing || self.is_listing
    }

    /// `may_list`: whose instances are ours is known.
    pub(crate) fn next_deadline(&self, may_list: bool) -> Duration {
        if self.is_listing || !may_list { self.next_observation } else { self.next_observation.min(self.next_listing) }
    }
}
