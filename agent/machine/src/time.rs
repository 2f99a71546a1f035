//! A point in time as the shell counts it. Owns arithmetic that cannot overflow; never reads a clock.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since a moment that the shell chose. Only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time and `by` more; stays at the end of time rather than overflow.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This time less `by`; stays at the beginning of time.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The longest that EC2 lets a spot instance run on after it gave notice, by its documentation: two minutes.
const NOTICE: Duration = Duration::from_secs(120);
/// A moment and how long it is off, both said by another machine, differ by more than a late message explains.
const AGREES_WITHIN: Duration = Duration::from_secs(60);

/// When EC2 takes the instance, by a notice that is seen at `now` and says `at`: a moment that EC2 can mean, whatever
/// clock is wrong.
pub fn when_reclaimed(now: Timestamp, at: Timestamp) -> Timestamp {
    at.clamp(now, now.plus(NOTICE))
}

/// A deadline that the coordinator gives: `at`, by its wall clock as this machine's shows it, and `left` from when it
/// was sent. Where both agree the earlier one counts: the command may have been under way for a while, or a clock may
/// be slow by less than a minute, which is half of EC2's notice. Where they disagree one of the two wall clocks is
/// wrong, and how long it is off is not. An older coordinator does not say that.
pub fn agreed(now: Timestamp, at: Timestamp, left: Option<Duration>) -> Timestamp {
    let Some(left) = left else { return at };
    let by_span = now.plus(left);
    if at.since(by_span).max(by_span.since(at)) <= AGREES_WITHIN { at.min(by_span) } else { by_span }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn a_notice_is_of_a_time_that_ec2_can_mean() {
        // Seen at 10,000 s; what it says; what is taken.
        for (said, taken) in
            [(10_120, 10_120), (10_007, 10_007), (3_000, 10_000), (10_121, 10_120), (u64::MAX / 1000, 10_120)]
        {
            assert_eq!(when_reclaimed(at(10_000), at(said)), at(taken), "{said}");
        }
    }

    #[test]
    fn how_long_a_deadline_is_off_counts_where_the_clocks_disagree() {
        let left = Some(Duration::from_secs(1800));
        for (said, taken) in [
            (11_770, 11_770),
            (11_860, 11_800),
            (11_861, 11_800),
            (11_740, 11_740),
            (11_739, 11_800),
            (19_000, 11_800),
            (4_600, 11_800),
        ] {
            assert_eq!(agreed(at(10_000), at(said), left), at(taken), "{said}");
        }
        assert_eq!(agreed(at(10_000), at(19_000), None), at(19_000));
    }
}
