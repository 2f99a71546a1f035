//! Which commit the primary's application is at, read from its checkout once in a minute: for `status` alone.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::checkout;

const READ_EACH: Duration = Duration::from_secs(60);

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct Primary {
    asked_at: Option<Instant>,
    /// A file system may hang: no second look begins while one is under way.
    is_under_way: bool,
    /// None while it is not known.
    pub commit: Option<String>,
    /// The log has it that it cannot be read.
    is_told: bool,
}

impl Primary {
    /// Whether it is time to read it; then it counts as read.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = !self.is_under_way && self.asked_at.is_none_or(|at| now.duration_since(at) >= READ_EACH);
        if is_due {
            (self.asked_at, self.is_under_way) = (Some(now), true);
        }
        is_due
    }

    pub(super) fn read(&mut self, pool: &str, answer: Result<String, String>) {
        self.is_under_way = false;
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

/// Takes as long as the file system does. On a thread that nothing waits for at the end: one of tokio's would keep the
/// process from ending.
pub(super) async fn look(application: PathBuf) -> Result<String, String> {
    let (answer, answered) = oneshot::channel();
    let name = "checkout".to_owned();
    let started = std::thread::Builder::new().name(name).spawn(move || answer.send(checkout::commit(&application)));
    started.map_err(|error| error.to_string())?;
    answered.await.unwrap_or_else(|_| Err("nothing was read".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_read_once_in_a_minute_and_unreadable_is_unknown_and_told_once() {
        let (mut primary, began) = (Primary::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!([0, 1, 60].map(|seconds| primary.is_due(at(seconds))), [true, false, false], "it is under way");
        primary.read("video", Ok("aaaa".to_owned()));
        assert_eq!([59, 60, 61].map(|seconds| primary.is_due(at(seconds))), [false, true, false]);
        primary.read("video", Ok("aaaa".to_owned()));
        assert_eq!((primary.commit.as_deref(), primary.is_told), (Some("aaaa"), false));
        primary.read("video", look(PathBuf::from("/nowhere/of/this/test")).await);
        assert_eq!((primary.commit.as_deref(), primary.is_told), (None, true));
        primary.read("video", Ok("bbbb".to_owned()));
        assert_eq!((primary.commit.as_deref(), primary.is_told), (Some("bbbb"), false));
    }
}
