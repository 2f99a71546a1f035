//! How long jobs take: what was seen of a kind of job, and whether one that runs can still finish. Owns the samples and
//! the judgement; never reads a clock.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Samples kept of one kind of job.
const SAMPLES: usize = 50;
/// Kinds of jobs kept: beyond it new ones are not learnt.
const CLASSES: usize = 256;
/// So many jobs must have run longer than this one already has, before its end is predicted.
const ENOUGH: usize = 5;

/// The last durations of each kind of job.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    by_class: BTreeMap<String, VecDeque<Duration>>,
}

impl Durations {
    pub(crate) fn learn(&mut self, class: &str, took: Duration) {
        if !self.by_class.contains_key(class) && self.by_class.len() >= CLASSES {
            return;
        }
        let samples = self.by_class.entry(class.to_owned()).or_default();
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(took);
    }

    /// A job of this kind that has run for `elapsed` cannot end within `left`: enough samples ran longer than it has
    /// so far, and even the quickest of them took longer than it may.
    ///
    /// Where little is known the answer is no: a job that runs on may still finish, and is handed back in time if not.
    pub(crate) fn cannot_finish(&self, class: &str, elapsed: Duration, left: Duration) -> bool {
        let Some(samples) = self.by_class.get(class) else { return false };
        let mut longer = samples.iter().filter(|took| **took > elapsed).peekable();
        longer.clone().count() >= ENOUGH && longer.all(|took| *took > elapsed.saturating_add(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_job_is_given_up_only_when_none_of_its_kind_was_quick_enough() {
        let mut durations = Durations::default();
        for took in [100, 110, 120, 130, 140, 5] {
            durations.learn("video/encode", s(took));
        }
        // Elapsed, left, cannot finish?
        for (elapsed, left, expect) in [
            (10, 89, true),
            (10, 90, false),
            (0, 4, true),
            (0, 5, false),
            (4, 50, false),
            (105, 1, false),
            (200, 1, false),
        ] {
            assert_eq!(durations.cannot_finish("video/encode", s(elapsed), s(left)), expect, "{elapsed} {left}");
        }
        assert!(!durations.cannot_finish("video/other", s(0), s(0)), "nothing is known of it");
    }

    #[test]
    fn old_samples_go_and_kinds_are_bounded() {
        let mut durations = Durations::default();
        for _ in 0..SAMPLES {
            durations.learn("q/a", s(1));
        }
        for _ in 0..SAMPLES {
            durations.learn("q/a", s(100));
        }
        assert!(durations.cannot_finish("q/a", s(0), s(50)));
        for n in 0..CLASSES * 2 {
            durations.learn(&format!("q/{n}"), s(1));
        }
        assert_eq!(durations.by_class.len(), CLASSES);
    }
}
