//! The time that the brain is told: the wall clock's, counted by a clock that never jumps. A wall clock that is set is
//! noticed, and followed in one step that moves all that is kept; no deadline comes sooner or later by it.

use std::time::Duration;

use spillway_brain::Timestamp;

use crate::Now;

/// Two clocks differ by less than this, in milliseconds, without one of them having been set: they are read one after
/// the other.
pub(crate) const TOLERATED_MS: u64 = 1000;
/// An agent's word of a moment, by its wall clock, and of how long that is off differ by more than a late message
/// explains.
const AGREES_WITHIN: Duration = Duration::from_secs(60);

/// Where the wall clock and the steady one were read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    read: Now,
}

impl Clock {
    pub(crate) fn new(now: Now) -> Self {
        Clock { read: now }
    }

    /// The time when the steady clock shows `up`.
    pub(crate) fn at(&self, up: Duration) -> Timestamp {
        if up >= self.read.up { self.read.wall + (up - self.read.up) } else { self.read.wall - (self.read.up - up) }
    }

    /// By how many milliseconds the wall clock was set since it was last followed. It is followed from here on.
    pub(crate) fn follow(&mut self, now: Now) -> Option<i64> {
        let by_ms = now.wall.offset_from(self.at(now.up));
        if by_ms.unsigned_abs() <= TOLERATED_MS {
            return None;
        }
        self.read = now;
        Some(by_ms)
    }
}

/// When something happens of which another machine says that it is at `at`, by its wall clock, and `left` from when it
/// said so. Where both agree the earlier one counts: the message may have been under way for a while, or a clock may be
/// slow by less than a minute, which is half of EC2's notice. Where they disagree one of the two wall clocks is wrong,
/// and how long it is off is not.
pub fn agreed(now: Timestamp, at: Timestamp, left: Option<Duration>) -> Timestamp {
    let Some(left) = left else { return at };
    let by_span = now + left;
    if at.since(by_span).max(by_span.since(at)) <= AGREES_WITHIN { at.min(by_span) } else { by_span }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(wall: u64, up: u64) -> Now {
        Now { wall: Timestamp(wall * 1000), up: Duration::from_secs(up) }
    }

    #[test]
    fn a_wall_clock_that_is_set_is_followed_once_and_a_slow_one_is_not() {
        let mut clock = Clock::new(now(10_000, 5));
        assert_eq!(clock.at(Duration::from_secs(7)), Timestamp(10_002_000));
        assert_eq!(clock.at(Duration::from_secs(3)), Timestamp(9_998_000));
        let late = Now { wall: Timestamp(10_003_000), up: Duration::from_millis(7_100) };
        assert_eq!(clock.follow(late), None, "within a second");
        assert_eq!(clock.follow(now(17_205, 10)), Some(7_200_000));
        assert_eq!(clock.follow(now(17_206, 11)), None);
        assert_eq!(clock.follow(now(10_007, 12)), Some(-7_200_000));
        assert_eq!(clock.at(Duration::from_secs(13)), Timestamp(10_008_000));
    }

    #[test]
    fn how_long_something_is_off_counts_where_the_clocks_disagree() {
        let at = |seconds: u64| Timestamp(seconds * 1000);
        let left = Some(Duration::from_secs(120));
        // Thirty seconds under way; then a clock that is slow by as much.
        assert_eq!(agreed(at(1030), at(1120), left), at(1120));
        assert_eq!(agreed(at(1000), at(1150), left), at(1120));
        // The other's clock is two hours ahead, or behind.
        assert_eq!(agreed(at(1000), at(8320), left), at(1120));
        assert_eq!(agreed(at(9000), at(1920), left), at(9120));
        assert_eq!(agreed(at(1000), at(8320), None), at(8320), "an agent of before");
    }
}
