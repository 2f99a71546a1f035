//! Time: the machine's steady count, and the wall clock for what others read. Owns the agent's one reading of the
//! wall clock; never sleeps.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use spillway_machine::Timestamp;
use tokio::time::Instant;

/// Counts the machine's time from the moment it was made. It goes on while the instance is suspended: EC2's two
/// minutes, and the locks in Redis, do so too.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// A clock that starts now, a day in: times a little before its start can be expressed, too.
    pub fn start() -> Self {
        Self { start: up() }
    }

    /// The machine's now.
    pub fn now(&self) -> Timestamp {
        Timestamp(0).plus(DAY + up().saturating_sub(self.start))
    }

    /// When this time of the machine is for the runtime.
    pub fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now())
    }

    /// What the wall clock shows at this time of the machine.
    pub fn wall(&self, at: Timestamp) -> SystemTime {
        let (now, wall_now) = (self.now(), wall_now());
        if at >= now { wall_now + at.since(now) } else { wall_now - now.since(at) }
    }

    /// The machine's time for a time of the wall clock.
    pub fn at(&self, wall: SystemTime) -> Timestamp {
        let (now, wall_now) = (self.now(), wall_now());
        match wall.duration_since(wall_now) {
            Ok(ahead) => now.plus(ahead),
            Err(behind) => now.minus(behind.duration()),
        }
    }
}

const DAY: Duration = Duration::from_secs(86_400);

/// How long ago this instance booted, suspended or not, by a clock that nobody can set.
fn up() -> Duration {
    // It never fails on Linux, and counts from 0.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// The wall clock.
pub fn wall_now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "the agent's one reading of the wall clock")]
    SystemTime::now()
}
