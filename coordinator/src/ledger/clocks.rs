//! By which clock the saved times are: the ledger keeps the clocks of whoever saves beside the state. A coordinator
//! that reads it later, on this machine or another, then knows how far its own wall clock is ahead, whichever of them
//! was set meanwhile.

use serde::{Deserialize, Serialize};
use spillway_brain::Timestamp;

use crate::clock;

/// One coordinator's clocks at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clocks {
    /// The wall clock, as the state's times are of it.
    wall: Timestamp,
    /// Which boot of which machine; empty where that is unknown.
    boot: String,
    /// Since that boot, suspended or not.
    up_ms: u64,
    /// Redis' TIME less `up_ms`; None where Redis did not say.
    redis_began_ms: Option<i64>,
}

impl Clocks {
    pub(super) fn now(wall: Timestamp, redis_began_ms: Option<i64>) -> Self {
        Clocks { wall, boot: clock::boot_id().to_owned(), up_ms: clock::up_ms(), redis_began_ms }
    }

    /// By how many milliseconds the wall clock of `self` is ahead of the one of `saved`. Since the same boot the
    /// machine itself has counted how long ago that was; from another machine Redis' clock is what both have seen. 0
    /// where neither tells: then the saved times are taken as they are.
    pub(super) fn ahead_of(&self, saved: &Clocks) -> i64 {
        let since = |from: u64, to: u64| Timestamp(to).offset_from(Timestamp(from));
        let passed = if !self.boot.is_empty() && self.boot == saved.boot {
            Some(since(saved.up_ms, self.up_ms))
        } else {
            self.redis_ms().zip(saved.redis_ms()).map(|(now, then)| now.saturating_sub(then))
        };
        passed.map_or(0, |passed| self.wall.offset_from(saved.wall).saturating_sub(passed))
    }

    /// What Redis' clock showed.
    fn redis_ms(&self) -> Option<i64> {
        self.redis_began_ms.map(|began| began.saturating_add_unsigned(self.up_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: i64 = 3_600_000;

    /// At so many seconds of true time; the wall clock is `ahead` of that, Redis' is right.
    fn clocks(boot: &str, booted: u64, at: u64, ahead: i64, redis: bool) -> Clocks {
        let wall = Timestamp(1_764_000_000_000 + at * 1000).stepped(ahead);
        let redis_began_ms = redis.then_some(1_764_000_000_000 + booted as i64 * 1000);
        Clocks { wall, boot: boot.to_owned(), up_ms: (at - booted) * 1000, redis_began_ms }
    }

    #[test]
    fn a_clock_that_was_set_while_no_coordinator_ran_is_noticed_on_the_same_machine_without_redis() {
        let saved = clocks("a", 50, 100, 0, false);
        for ahead in [0, 2 * HOURS, -2 * HOURS] {
            assert_eq!(clocks("a", 50, 160, ahead, false).ahead_of(&saved), ahead);
        }
    }

    #[test]
    fn another_machine_is_compared_by_redis_clock_and_so_is_another_boot() {
        let saved = clocks("a", 50, 100, 2 * HOURS, true);
        assert_eq!(clocks("b", 10, 130, 0, true).ahead_of(&saved), -2 * HOURS);
        assert_eq!(clocks("b", 10, 130, 2 * HOURS, true).ahead_of(&saved), 0);
        assert_eq!(clocks("", 120, 130, 0, true).ahead_of(&saved), -2 * HOURS);
        assert_eq!(clocks("b", 10, 130, 0, false).ahead_of(&saved), 0, "nobody can tell");
    }
}
