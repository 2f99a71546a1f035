//! What a game day came to.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use serde::Serialize;

use super::target::Target;

/// What became of one job, by BullMQ's events. Times are Redis' own, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JobFate {
    handed_back_at: Option<u64>,
    again_at: Option<u64>,
    completed: u32,
    stalled: bool,
    failed: bool,
}

impl JobFate {
    /// One event of it.
    pub(super) fn happened(&mut self, at_ms: u64, event: &str, prev: &str) {
        match (event, prev) {
            // BullMQ's stall check tells this too, and `stalled` beside it.
            ("waiting", "active") if self.handed_back_at.is_none() => self.handed_back_at = Some(at_ms),
            ("stalled", _) => self.stalled = true,
            ("active", _) if self.handed_back_at.is_some() && self.again_at.is_none() => self.again_at = Some(at_ms),
            ("completed", _) => self.completed += 1,
            ("failed", _) => self.failed = true,
            _ => {}
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.completed > 0 || self.failed || self.again_at.is_some()
    }

    fn finished_there(&self) -> bool {
        self.completed > 0 && self.handed_back_at.is_none()
    }

    /// Taken back by the stall check, so its first run may have gone on; or completed twice.
    fn ran_twice(&self) -> bool {
        self.completed > 1 || (self.stalled && self.again_at.is_some())
    }

    fn seconds_until_again(&self) -> Option<f64> {
        Some(self.again_at?.saturating_sub(self.handed_back_at?) as f64 / 1000.0)
    }
}

/// The last line of `spillway gameday --json`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Score {
    pub instance: String,
    pub pool: String,
    /// Who took it: `emulator` or `agent`.
    pub by: &'static str,
    pub notice_seconds: f64,
    pub jobs_on_box: usize,
    /// Finished before it went.
    pub jobs_finished: usize,
    /// Put back to wait at once, with neither an attempt nor a stall spent.
    pub jobs_handed_back: usize,
    /// Taken back by BullMQ's stall check.
    pub jobs_stalled: usize,
    pub jobs_run_twice: usize,
    pub jobs_failed: usize,
    /// Neither finished nor run again when this ended.
    pub jobs_lost: usize,
    /// Of each job that ran again, from the hand-back to its start, in order.
    pub seconds_until_again: Vec<f64>,
    /// Null where none was wanted.
    pub replacement_ready_after_seconds: Option<f64>,
    pub seconds_total: f64,
}

impl Score {
    pub(super) fn new<'a>(
        target: &Target,
        by: &'static str,
        notice: Duration,
        fates: impl Iterator<Item = &'a JobFate> + Clone,
        replacement_ready_after_seconds: Option<f64>,
        seconds_total: f64,
    ) -> Self {
        let count = |is: fn(&JobFate) -> bool| fates.clone().filter(|fate| is(fate)).count();
        let mut seconds_until_again: Vec<f64> = fates.clone().filter_map(JobFate::seconds_until_again).collect();
        seconds_until_again.sort_by(f64::total_cmp);
        Score {
            instance: target.instance.clone(),
            pool: target.pool.clone(),
            by,
            notice_seconds: notice.as_secs_f64(),
            jobs_on_box: target.jobs.len(),
            jobs_finished: count(JobFate::finished_there),
            jobs_handed_back: count(|fate| fate.handed_back_at.is_some() && !fate.stalled),
            jobs_stalled: count(|fate| fate.stalled),
            jobs_run_twice: count(JobFate::ran_twice),
            jobs_failed: count(|fate| fate.failed),
            jobs_lost: count(|fate| !fate.is_settled()),
            seconds_until_again,
            replacement_ready_after_seconds,
            seconds_total,
        }
    }

    pub(super) fn in_lines(&self) -> String {
        let mut lines = String::new();
        let jobs = |n: usize| if n == 1 { "1 job".to_owned() } else { format!("{n} jobs") };
        let _ = writeln!(lines, "  {:<22}{}", "held", jobs(self.jobs_on_box));
        let _ = writeln!(lines, "  {:<22}{}", "finished in time", self.jobs_finished);
        let _ = writeln!(lines, "  {:<22}{}", "handed back", self.jobs_handed_back);
        let _ = writeln!(lines, "  {:<22}{}", "run twice", self.jobs_run_twice);
        if self.jobs_stalled + self.jobs_failed + self.jobs_lost > 0 {
            let (stalled, failed, lost) = (self.jobs_stalled, self.jobs_failed, self.jobs_lost);
            let _ = writeln!(lines, "  {:<22}{stalled} stalled, {failed} failed, {lost} lost", "NOT AS PROMISED");
        }
        if let Some(longest) = self.seconds_until_again.last() {
            let median = self.seconds_until_again[(self.seconds_until_again.len() - 1) / 2];
            let _ = writeln!(lines, "  {:<22}{median:.3} s (median), {longest:.3} s (max)", "running again after");
        }
        let replacement = match self.replacement_ready_after_seconds {
            Some(seconds) => format!("ready after {seconds:.1} s"),
            None => "none was needed".to_owned(),
        };
        let _ = writeln!(lines, "  {:<22}{replacement}", "replacement");
        lines
    }

    /// An error where Spillway did not keep what it promises.
    pub(super) fn verdict(&self) -> anyhow::Result<()> {
        if self.jobs_failed + self.jobs_lost + self.jobs_stalled > 0 {
            bail!(
                "{} jobs failed, {} lost, {} recovered only by BullMQ's stall check",
                self.jobs_failed,
                self.jobs_lost,
                self.jobs_stalled
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(events: &[(u64, &str, &str)]) -> JobFate {
        let mut fate = JobFate::default();
        for (at, event, prev) in events {
            fate.happened(*at, event, prev);
        }
        fate
    }

    #[test]
    fn fates_are_told_by_bullmqs_events() {
        let finished = fate(&[(1, "completed", "active")]);
        assert!(finished.is_settled() && finished.finished_there() && !finished.ran_twice());
        let back = fate(&[(1000, "waiting", "active"), (1250, "active", "waiting"), (9000, "completed", "active")]);
        assert!(back.is_settled() && !back.finished_there() && !back.ran_twice());
        assert_eq!(back.seconds_until_again(), Some(0.25));
        let waits = fate(&[(1000, "waiting", "active")]);
        assert!(!waits.is_settled());
        let stalled = fate(&[(1, "stalled", ""), (1, "waiting", "active"), (5, "active", "waiting")]);
        assert!(stalled.ran_twice() && stalled.stalled);
        let twice =
            fate(&[(1, "waiting", "active"), (2, "active", "waiting"), (3, "completed", ""), (4, "completed", "")]);
        assert!(twice.ran_twice());
    }
}
