//! The only place of the coordinator that reads the wall clock. The pure crates are passed the time.

use std::time::SystemTime;

use spillway_brain::Timestamp;

/// The time of this host's wall clock.
pub fn now() -> Timestamp {
    let since_epoch = system_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The same time, for code that does not use the brain's type.
#[expect(clippy::disallowed_methods, reason = "this is the one place of the shell that reads the clock")]
pub fn system_now() -> SystemTime {
    SystemTime::now()
}
