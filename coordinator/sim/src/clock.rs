//! Virtual time in milliseconds, and how it is displayed.

use std::fmt;

pub const SECOND: u64 = 1000;
pub const MINUTE: u64 = 60 * SECOND;
pub const HOUR: u64 = 60 * MINUTE;
pub const DAY: u64 = 24 * HOUR;
/// Never.
pub const NEVER: u64 = u64::MAX;

/// When a run starts: late enough for any clock to be wrong in either direction.
pub const START: u64 = 1_000_000 * SECOND;

/// `1d 02:13:07.250` since the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub u64);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.saturating_sub(START);
        let (days, seconds) = (ms / DAY, ms % DAY / SECOND);
        if days > 0 {
            write!(f, "{days}d ")?;
        }
        write!(f, "{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, ms % SECOND)
    }
}

/// A duration in milliseconds.
pub fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
