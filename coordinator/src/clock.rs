//! The coordinator's one look at the wall clock. The brain is handed what it says.

use std::time::SystemTime;

use spillway_brain::Timestamp;

/// Now, by this machine's wall clock.
pub fn now() -> Timestamp {
    let since_epoch = system_now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// The same for what knows nothing of the brain.
#[expect(clippy::disallowed_methods, reason = "this is the one place of the shell that reads the clock")]
pub fn system_now() -> SystemTime {
    SystemTime::now()
}
