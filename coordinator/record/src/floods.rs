//! Floods: times in which instances were wanted, from the rise of the backlog until none is left, and what each came
//! to.

use std::collections::BTreeSet;

use crate::buckets::Waits;
use crate::history::{History, Told};
use crate::lanes::Lane;
use crate::recorder::UNCHANGED_EACH_MS;

/// What is not seen for so long was not recorded: what does not change is, more often.
const GAP_MS: u64 = UNCHANGED_EACH_MS + 60_000;
/// Floods of one answer: the newest.
const MOST: usize = 100;

/// What was seen at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub at: u64,
    pub demand: Option<u64>,
    pub oldest_ms: Option<u64>,
    /// Instances that are wanted.
    pub desired: u32,
    /// Instances that are there, in whatever phase.
    pub instances: u32,
}

/// One flood. Times are milliseconds since the epoch, spans milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flood {
    /// When the backlog rose.
    pub began: u64,
    /// When instances were wanted first.
    pub wanted: u64,
    /// When nothing was wanted and no instance was left; None: it is not over.
    pub ended: Option<u64>,
    pub most_waiting: u64,
    pub most_waiting_at: u64,
    pub most_desired: u32,
    pub longest_wait: Option<u64>,
    pub started: u64,
    pub finished: u64,
    pub failed: u64,
    /// Waits of the jobs that were seen to start, in seconds.
    pub wait_p50: Option<f64>,
    pub wait_p95: Option<f64>,
    pub launched: u32,
    /// Of the instance that was ready first, since its launch.
    pub first_ready_after: Option<u64>,
    /// Instances that ended before they were ready.
    pub never_ready: u32,
    pub interrupted: u32,
    /// All instances' lives together.
    pub instance_ms: u64,
    pub decisions: Vec<Told>,
    pub decisions_left_out: usize,
    /// So old that some of its instances or decisions have given way to newer ones.
    pub is_partial: bool,
}

/// Floods of samples in order; the last may not be over.
pub(crate) fn floods(samples: impl Iterator<Item = Sample>) -> Vec<Flood> {
    let mut found: Vec<Flood> = Vec::new();
    let mut under_way: Option<Flood> = None;
    // Since when there is a backlog.
    let mut rising: Option<u64> = None;
    let mut last = 0;
    for sample in samples {
        // Nobody saw how it went on.
        if sample.at.saturating_sub(last) > GAP_MS
            && let Some(cut) = under_way.take()
        {
            found.push(Flood { ended: Some(last.max(cut.began)), ..cut });
            rising = None;
        }
        last = sample.at;
        let waits = sample.demand.is_some_and(|demand| demand > 0);
        rising = if waits {
            rising.or(Some(sample.at))
        } else if sample.demand.is_some() {
            None
        } else {
            rising
        };
        let is_flood = sample.desired > 0 || sample.instances > 0;
        if is_flood && under_way.is_none() {
            let began = rising.unwrap_or(sample.at);
            under_way = Some(Flood { began, wanted: sample.at, most_waiting_at: sample.at, ..Flood::default() });
        }
        let Some(flood) = &mut under_way else { continue };
        if let Some(demand) = sample.demand.filter(|demand| *demand > flood.most_waiting) {
            (flood.most_waiting, flood.most_waiting_at) = (demand, sample.at);
        }
        flood.longest_wait = flood.longest_wait.max(sample.oldest_ms);
        flood.most_desired = flood.most_desired.max(sample.desired);
        if !is_flood {
            // A clock that was set back shows an earlier time.
            flood.ended = Some(sample.at.max(flood.began));
            found.extend(under_way.take());
            // What still waits is the next one's.
            rising = waits.then_some(sample.at);
        }
    }
    found.extend(under_way);
    found
}

impl History {
    /// The newest floods that were under way at some time from one to the other, oldest first; `now` is where one ends
    /// that is not over.
    pub fn floods(&self, from: u64, to: u64, now: u64) -> Vec<Flood> {
        let mut floods = floods(self.samples());
        floods.retain(|flood| flood.began <= to && flood.ended.unwrap_or(now) >= from);
        floods.drain(..floods.len().saturating_sub(MOST));
        for flood in &mut floods {
            self.tell(flood, now);
        }
        floods
    }

    /// Jobs, instances and decisions of a flood.
    fn tell(&self, flood: &mut Flood, now: u64) {
        let (from, to) = (flood.began, flood.ended.unwrap_or(now).max(flood.began));
        let mut waits = Waits::default();
        self.jobs(from, to, |jobs| {
            flood.started = flood.started.saturating_add(jobs.started);
            flood.finished = flood.finished.saturating_add(jobs.finished);
            flood.failed = flood.failed.saturating_add(jobs.failed);
            waits.merge(&jobs.waits);
        });
        (flood.wait_p50, flood.wait_p95) = (waits.quantile(0.5), waits.quantile(0.95));
        let mut seen = BTreeSet::new();
        for lane in self.lanes_within(from, to) {
            let Some(began) = lane.began() else { continue };
            if !seen.insert(&lane.instance) {
                continue;
            }
            flood.launched += u32::from(began >= from);
            flood.interrupted += u32::from(lane.interrupted_at.is_some());
            let ready = ready(lane);
            flood.never_ready += u32::from(ready.is_none() && lane.ended_at.is_some());
            let after = ready.map(|at| at.saturating_sub(began));
            flood.first_ready_after = match (flood.first_ready_after, after) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            flood.instance_ms =
                flood.instance_ms.saturating_add(lane.ended_at.unwrap_or(now).min(to).saturating_sub(began.max(from)));
        }
        flood.is_partial = self.known_from() > from;
        (flood.decisions, flood.decisions_left_out) = self.decisions(from, to);
    }
}

fn ready(lane: &Lane) -> Option<u64> {
    lane.phases.iter().find(|span| span.phase == "ready").map(|span| span.from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, demand: u64, desired: u32, instances: u32) -> Sample {
        Sample { at, demand: Some(demand), oldest_ms: None, desired, instances }
    }

    #[test]
    fn a_flood_is_from_the_rise_to_the_last_instance() {
        let samples = [
            sample(1, 0, 0, 0),
            sample(2, 3, 0, 0),
            sample(3, 9, 1, 0),
            sample(4, 12, 1, 1),
            sample(5, 0, 1, 1),
            sample(6, 0, 0, 1),
            sample(7, 0, 0, 0),
            sample(8, 1, 0, 0),
            sample(9, 0, 0, 0),
            sample(10, 7, 1, 0),
        ];
        let found = floods(samples.into_iter());
        let [first, second] = &*found else { panic!("{found:?}") };
        assert_eq!((first.began, first.wanted, first.ended), (2, 3, Some(7)));
        assert_eq!((first.most_waiting, first.most_waiting_at, first.most_desired), (12, 4, 1));
        assert_eq!((second.began, second.wanted, second.ended), (10, 10, None), "what rose before was worked off");
    }

    #[test]
    fn floods_of_a_queue_that_is_never_empty_do_not_overlap() {
        let samples =
            [sample(1, 3, 0, 0), sample(2, 9, 1, 0), sample(3, 2, 0, 0), sample(4, 8, 1, 0), sample(5, 2, 0, 0)];
        let spans: Vec<_> = floods(samples.into_iter()).iter().map(|flood| (flood.began, flood.ended)).collect();
        assert_eq!(spans, [(1, Some(3)), (3, Some(5))]);
    }

    #[test]
    fn a_gap_in_the_record_ends_a_flood_where_it_was_seen_last() {
        let later = 10 + GAP_MS + 1;
        let samples = [sample(5, 9, 1, 1), sample(10, 9, 1, 1), sample(later, 0, 0, 0), sample(later + 1, 4, 1, 0)];
        let spans: Vec<_> = floods(samples.into_iter()).iter().map(|flood| (flood.began, flood.ended)).collect();
        assert_eq!(spans, [(5, Some(10)), (later + 1, None)]);
    }

    #[test]
    fn what_cannot_be_seen_neither_begins_nor_ends_a_rise() {
        let unknown = Sample { demand: None, ..sample(3, 0, 0, 0) };
        let found = floods([sample(2, 3, 0, 0), unknown, sample(4, 9, 1, 0)].into_iter());
        assert_eq!(found[0].began, 2);
    }
}
