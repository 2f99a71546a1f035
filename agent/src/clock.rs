//! Time: the machine's monotonic count, and the wall clock for what others read. Owns the agent's one reading of the
//! wall clock; never sleeps.

use std::time::{Duration, SystemTime};

use spillway_machine::Timestamp;
use tokio::time::Instant;

/// Counts the machine's time from the moment it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now, a day in: times a little before its start can be expressed, too.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The machine's now.
    pub fn now(&self) -> Timestamp {
        Timestamp(0).plus(DAY + self.start.elapsed())
    }

    /// When this time of the machine is for the runtime.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.start + at.since(Timestamp(0).plus(DAY))
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

/// The wall clock.
pub fn wall_now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "the agent's one reading of the wall clock")]
    SystemTime::now()
}
