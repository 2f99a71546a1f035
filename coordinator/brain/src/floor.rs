//! Scheduled instances: spans of time in which so many are kept, whatever waits. Which spans those are is the shell's
//! to tell, from calendars and time zones.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::forecast::AROUND_A_BOOT;
use crate::state::State;
use crate::time::Timestamp;

/// A span in which so many instances are ready. By the calendar: a clock that is set does not move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    pub from: Timestamp,
    pub until: Timestamp,
    pub instances: u32,
}

/// The floor that applies now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Applies {
    pub instances: u32,
    /// Until they are to be ready; zero: it has begun.
    pub begins_in: Duration,
    /// Until it ends.
    pub left: Duration,
}

impl State {
    /// The highest of those that have begun, or begin so soon that an instance that is launched now is ready by then.
    pub(crate) fn floor(&self, now: Timestamp, config: &Config) -> Option<Applies> {
        // The next tick would be too late.
        let lead = self.measures.boot() + AROUND_A_BOOT + config.interval;
        let applies = |floor: &&Floor| now < floor.until && now.until(floor.from) <= lead;
        // Of those that ask for as many the one that lasts longest.
        let floor = self.floors.iter().filter(applies).max_by_key(|floor| (floor.instances, floor.until))?;
        let (begins_in, left) = (now.until(floor.from), now.until(floor.until));
        (floor.instances > 0).then_some(Applies { instances: floor.instances, begins_in, left })
    }
}
