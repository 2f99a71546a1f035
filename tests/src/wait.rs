//! Waiting for something to become so. No test measures speed: the patience is for a busy machine.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// For anything that must happen.
pub const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// Looks until there is something, and gives it. In vain: fails with the story.
pub async fn until<T>(what: &str, story: impl AsyncFn() -> String, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        if Instant::now() > end {
            panic!("not within {PATIENCE:?}: {what}\n{}", story().await);
        }
        sleep(LOOK).await;
    }
}

/// Looks for so long: it must hold each time. For what must not happen, where there is nothing to wait for.
pub async fn throughout(
    span: Duration,
    what: &str,
    story: impl AsyncFn() -> String,
    mut holds: impl AsyncFnMut() -> bool,
) {
    let end = Instant::now() + span;
    while Instant::now() < end {
        if !holds().await {
            panic!("does not hold any more: {what}\n{}", story().await);
        }
        sleep(LOOK).await;
    }
}
