//! Events that EC2 has scheduled for an instance: which, and from when on something is done about one. Owns those
//! spans; what is done is `capacity::rebalance`'s, and once no time is left for a replacement `phases::draining`'s.
//!
//! ```text
//!   known ─────────────► replaced_from ─────────────────────────► drained_from ───────────────► NotBefore
//!          it works on                  a replacement is made                   drain_timeout
//!                                       ready first, if wanted
//! ```
//!
//! All five kinds are treated alike (the EC2 User Guide, "Scheduled events for your instances"): `instance-retirement`
//! and `instance-stop` end the instance, `instance-reboot` and `system-reboot` end its worker, and `system-maintenance`
//! takes its network away or reboots it. Each cuts its jobs off, and a new instance costs one boot. So does a kind that
//! is not known yet.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::time::Timestamp;

/// Beyond a boot, for what may keep a replacement from being ready: capacity, a limit, others that are replaced first.
const LEAD: Duration = Duration::from_secs(2 * 3600);
/// From the drain's deadline until EC2 acts: to stop the worker, and for clocks that are off.
const MARGIN: Duration = Duration::from_secs(120);
/// The same event is told with a time that differs by no more than this.
const MOVED: Duration = Duration::from_secs(60);

/// What EC2 has scheduled for an instance, as its agent reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// Not read yet, or by an agent that does not tell.
    #[default]
    Unknown,
    Empty,
    /// The first of the events that are not over.
    Next {
        /// As EC2 writes it: `instance-retirement`.
        code: String,
        /// EC2's NotBefore, by EC2's clock.
        at: Timestamp,
        /// How long that is off, by the instance's clock.
        left: Option<Duration>,
    },
}

/// The first event that EC2 has scheduled for an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledEvent {
    /// As EC2 writes it: `instance-retirement`.
    pub code: String,
    /// Before which it does not begin.
    pub at: Timestamp,
    /// Its drain was begun: nothing more follows from this event, also when an operator cancels the drain.
    pub answered: bool,
}

impl ScheduledEvent {
    /// From then on a replacement is made ready, and it is drained after that.
    pub(crate) fn replaced_from(&self, config: &Config) -> Timestamp {
        self.drained_from(config) - config.boot_timeout - LEAD
    }

    /// From then on it is drained, with a replacement or without: its jobs need that long to finish.
    pub(crate) fn drained_from(&self, config: &Config) -> Timestamp {
        self.at - config.drain_timeout - MARGIN
    }

    /// When a drain must be over that would have until `deadline` without it. Of an event whose time has passed nobody
    /// knows when EC2 acts: handing its jobs back at once would be no better than what EC2 may do to them.
    pub(crate) fn drained_by(&self, now: Timestamp, deadline: Timestamp) -> Timestamp {
        if now < self.at { deadline.min(self.at) } else { deadline }
    }
}

/// Takes in what an agent tells of its instance's schedule. An event that EC2 cancels, or moves to another time, is
/// forgotten. Where EC2's time and the instance's clock disagree one clock is wrong, and the sooner one counts: a drain
/// that begins too early costs a boot, one that begins too late its jobs.
pub(crate) fn told(known: &mut Option<ScheduledEvent>, now: Timestamp, schedule: Schedule) {
    match schedule {
        Schedule::Unknown => {}
        Schedule::Empty => *known = None,
        Schedule::Next { code, at, left } => {
            let at = left.map_or(at, |left| at.min(now + left));
            let is_same =
                |known: &ScheduledEvent| known.code == code && known.at.since(at).max(at.since(known.at)) <= MOVED;
            if !known.as_ref().is_some_and(is_same) {
                *known = Some(ScheduledEvent { code, at, answered: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_clocks_the_one_that_leaves_less_time_counts_and_a_little_is_no_other_event() {
        let now = Timestamp(1_000_000);
        let in_seconds = |seconds: u64| now + Duration::from_secs(seconds);
        let mut known = None;
        let mut told = |at: u64, left: Option<u64>| {
            let left = left.map(Duration::from_secs);
            told(&mut known, now, Schedule::Next { code: "instance-stop".to_owned(), at: in_seconds(at), left });
            let known = known.as_mut().expect("it is known");
            (known.at, std::mem::replace(&mut known.answered, true))
        };
        assert_eq!(told(600, Some(600)), (in_seconds(600), false));
        assert_eq!(told(600, Some(590)), (in_seconds(600), true));
        assert_eq!(told(600, None), (in_seconds(600), true));
        assert_eq!(told(600, Some(60)), (in_seconds(60), false));
        assert_eq!(told(0, Some(7200)), (in_seconds(60), true), "a minute is nothing");
        assert_eq!(told(7200, None), (in_seconds(7200), false));
    }
}
