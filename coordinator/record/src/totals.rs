//! What some time came to, in sums: for a digest.

use std::collections::BTreeSet;

use crate::buckets::Waits;
use crate::history::History;

/// Sums over a time range; spans are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub finished: u64,
    pub failed: u64,
    /// Of the jobs that were seen to start, in seconds; None where none was.
    pub wait_p95: Option<f64>,
    pub launched: u32,
    pub interrupted: u32,
    /// All instances' lives together.
    pub instance_ms: u64,
}

impl History {
    /// From one time to the other, in milliseconds since the epoch.
    pub fn totals(&self, from: u64, to: u64) -> Totals {
        let (mut totals, mut waits, mut seen) = (Totals::default(), Waits::default(), BTreeSet::new());
        self.jobs(from, to, |jobs| {
            totals.finished = totals.finished.saturating_add(jobs.finished);
            totals.failed = totals.failed.saturating_add(jobs.failed);
            waits.merge(&jobs.waits);
        });
        totals.wait_p95 = waits.quantile(0.95);
        for (token, lane) in self.lanes_by_token() {
            // A launch that EC2 refused, or has not answered yet, is no instance.
            if !lane.lives_within(from, to) || !lane.is_accepted(token) {
                continue;
            }
            let Some(began) = lane.began().filter(|_| seen.insert(&lane.instance)) else { continue };
            totals.launched += u32::from(began >= from);
            totals.interrupted += u32::from(lane.interrupted_at.is_some_and(|at| (from..=to).contains(&at)));
            let lived = lane.ended_at.unwrap_or(to).min(to).saturating_sub(began.max(from));
            totals.instance_ms = totals.instance_ms.saturating_add(lived);
        }
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, Ids, Interval, PhaseBegan};

    #[test]
    fn a_day_is_summed_and_what_lies_outside_of_it_is_not() {
        let minute = 60_000;
        let mut history = History::default();
        for (at, finished) in [(5 * minute, 7), (100 * minute, 3)] {
            let starts = vec![(0, 1, Some(4_000)), (0, 1, Some(4_000))];
            let interval = Interval { at, finished, failed: 1, starts, ..Interval::default() };
            history.add(&Frame::Interval(interval), false);
        }
        for (at, phase) in [(40, "launching"), (80, "gone")] {
            let (instance, phase) = ("t-1".to_owned(), phase.to_owned());
            history.add(&Frame::Phase(PhaseBegan { at: at * minute, instance, phase, reason: String::new() }), false);
        }
        assert_eq!(history.totals(0, 150 * minute).launched, 0, "EC2 refused it, as far as is known");
        let ids = Ids { token: "t-1".to_owned(), id: "i-1".to_owned(), ..Ids::default() };
        history.add(&Frame::Ids(Box::new(ids)), false);
        let totals = history.totals(50 * minute, 150 * minute);
        assert_eq!((totals.finished, totals.failed), (3, 1));
        assert_eq!((totals.launched, totals.instance_ms), (0, 30 * minute), "it was launched before");
        let p95 = totals.wait_p95.expect("two waits");
        assert!((2.0..=6.0).contains(&p95), "{p95}");
        let all = history.totals(0, 150 * minute);
        assert_eq!((all.finished, all.launched, all.instance_ms), (10, 1, 40 * minute));
        assert_eq!(history.totals(200 * minute, 300 * minute), Totals::default());
    }
}
