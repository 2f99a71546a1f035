//! Which commit the primary's application is at, read from its checkout once in a minute: for `status` alone.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use crate::checkout;

const READ_EACH: Duration = Duration::from_secs(60);

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct Primary {
    asked_at: Option<Instant>,
    /// None while it is not known.
    pub commit: Option<String>,
    /// The log has it that it cannot be read.
    is_told: bool,
}

impl Primary {
    /// Whether it is time to read it; then it counts as read.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.asked_at.is_none_or(|at| now.duration_since(at) >= READ_EACH);
        if is_due {
            self.asked_at = Some(now);
        }
        is_due
    }

    pub(super) fn read(&mut self, pool: &str, answer: Result<String, String>) {
        if let Err(problem) = &answer
            && !std::mem::replace(&mut self.is_told, true)
        {
            tracing::warn!(
                pool,
                problem,
                "cannot read the commit of pool.application: does the unit hide it (ProtectHome), or may its user not read it?"
            );
        }
        self.is_told &= answer.is_err();
        self.commit = answer.ok();
    }
}

/// Blocks for as long as the file system does.
pub(super) fn look(application: &Path) -> Result<String, String> {
    checkout::commit(application)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_once_in_a_minute_and_unreadable_is_unknown_and_told_once() {
        let (mut primary, began) = (Primary::default(), Instant::now());
        let due = [0, 1, 59, 60, 61].map(|seconds| primary.is_due(began + Duration::from_secs(seconds)));
        assert_eq!(due, [true, false, false, true, false]);
        primary.read("video", Ok("aaaa".to_owned()));
        assert_eq!((primary.commit.as_deref(), primary.is_told), (Some("aaaa"), false));
        primary.read("video", look(Path::new("/nowhere/of/this/test")));
        assert_eq!((primary.commit.as_deref(), primary.is_told), (None, true));
        primary.read("video", Ok("bbbb".to_owned()));
        assert_eq!((primary.commit.as_deref(), primary.is_told), (Some("bbbb"), false));
    }
}
