//! The only place of the coordinator that reads clocks. The pure crates are passed the time.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use spillway_brain::Timestamp;
use spillway_pool::Now;

/// Both clocks of this host.
pub fn both() -> Now {
    Now { wall: now(), up: up() }
}

/// The time of this host's wall clock, which may be set at any time.
pub fn now() -> Timestamp {
    let since_epoch = system_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The same time, for code that does not use the brain's type.
#[expect(clippy::disallowed_methods, reason = "this is the one place of the shell that reads the clock")]
pub fn system_now() -> SystemTime {
    SystemTime::now()
}

/// How long ago this host booted, by a clock that nobody can set. Unlike the runtime's it goes on while the host is
/// suspended: the leader lease in Redis, and EC2's two minutes, do so too.
pub fn up() -> Duration {
    // It never fails on Linux, and counts from 0.
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// The same in milliseconds.
pub fn up_ms() -> u64 {
    u64::try_from(up().as_millis()).unwrap_or(u64::MAX)
}

/// This boot of this host, unlike any other; empty where the kernel does not tell.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_clock_counts_from_the_boot_of_this_host() {
        let uptime = std::fs::read_to_string("/proc/uptime").expect("it is read");
        let seconds: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
        assert!((up().as_secs_f64() - seconds).abs() < 5.0, "{:?} {uptime}", up());
        assert_eq!(boot_id().len(), 36);
    }
}
