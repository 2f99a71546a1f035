//! Waiting for a condition. No test measures speed: the timeout is meant for a busy host.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// For anything that must happen.
pub const TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Polls until `poll` returns something, and returns that. After the timeout it fails, with what `diagnosis` shows.
pub async fn until<T>(what: &str, diagnosis: impl AsyncFn() -> String, poll: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(TIMEOUT, what, diagnosis, poll).await
}

/// The same with another timeout.
pub async fn until_within<T>(
    timeout: Duration,
    what: &str,
    diagnosis: impl AsyncFn() -> String,
    mut poll: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(found) = poll().await {
            return found;
        }
        if Instant::now() > end {
            panic!("did not happen within {timeout:?}: {what}\n{}", diagnosis().await);
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Polls for `duration`: `holds` must be true each time. For what must not happen.
pub async fn throughout(
    duration: Duration,
    what: &str,
    diagnosis: impl AsyncFn() -> String,
    mut holds: impl AsyncFnMut() -> bool,
) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        if !holds().await {
            panic!("no longer true: {what}\n{}", diagnosis().await);
        }
        sleep(POLL_INTERVAL).await;
    }
}
