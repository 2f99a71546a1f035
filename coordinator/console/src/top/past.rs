//! One pool's last minutes: the backlog over time and the newest decisions. Both are bounded, whatever comes.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use spillway_proto::v1;

use crate::times::system_time;

/// How far back the chart goes.
pub const WINDOW: Duration = Duration::from_secs(900);
/// A chart is of at least so long.
const SHORTEST: Duration = Duration::from_secs(60);
const SAMPLES: usize = 4096;
const DECISIONS: usize = 200;

#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// Jobs ready to run, from then on; in the order of time.
    samples: VecDeque<(SystemTime, u64)>,
    decisions: VecDeque<(SystemTime, v1::Decision)>,
    /// The record told what was before.
    is_recorded: bool,
}

impl Past {
    pub(super) fn take(&mut self, pool: &v1::Pool) {
        if let Some(backlog) = &pool.backlog {
            self.sample(system_time(backlog.at.as_ref()), backlog.demand);
        }
        if let Some(plan) = &pool.plan {
            self.take_plan(plan);
        }
    }

    pub(super) fn remember(&mut self, plan: &v1::PlanRecord, since: SystemTime) {
        self.is_recorded = true;
        if let Some(demand) = plan.demand {
            self.sample(system_time(plan.at.as_ref()).max(since), demand);
            self.sample(system_time(plan.until.as_ref()), demand);
        }
        self.take_plan(plan);
    }

    fn take_plan(&mut self, plan: &v1::PlanRecord) {
        let at = system_time(plan.at.as_ref());
        for decision in &plan.decisions {
            let is_known = self.decisions.iter().any(|(then, known)| *then == at && known == decision);
            if !is_known {
                let place = self.decisions.partition_point(|(then, _)| *then <= at);
                self.decisions.insert(place, (at, decision.clone()));
            }
        }
        while self.decisions.len() > DECISIONS {
            self.decisions.pop_front();
        }
    }

    /// What is told late is put where it belongs; what is told twice is one.
    fn sample(&mut self, at: SystemTime, demand: u64) {
        let place = self.samples.partition_point(|(then, _)| *then < at);
        match self.samples.get_mut(place) {
            Some(known) if known.0 == at => known.1 = demand,
            _ => self.samples.insert(place, (at, demand)),
        }
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// From when on the chart is.
    pub(super) fn chart_begins(&self, now: SystemTime) -> SystemTime {
        self.known_since(now).clamp(back(now, WINDOW), back(now, SHORTEST))
    }

    /// Of the chart's time, from when on the backlog is known.
    pub(super) fn known_since(&self, now: SystemTime) -> SystemTime {
        self.samples.front().map_or(now, |(at, _)| *at).max(back(now, WINDOW))
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.is_recorded
    }

    /// The backlog in so many cells, each with the highest value of its time; None before the first is known.
    pub(super) fn cells(&self, width: usize, now: SystemTime) -> Vec<Option<u64>> {
        let begin = self.chart_begins(now);
        let whole = now.duration_since(begin).unwrap_or_default().as_millis().max(1);
        let cell_of = |at: SystemTime| {
            let since = at.duration_since(begin).ok()?.as_millis();
            let cell = usize::try_from(since * width as u128 / whole).unwrap_or(width);
            Some(cell.min(width.saturating_sub(1)))
        };
        let mut cells: Vec<Option<u64>> = vec![None; width];
        let mut last = None;
        let mut filled = 0;
        for (at, demand) in &self.samples {
            if let Some(cell) = cell_of(*at).filter(|_| width > 0) {
                // What was before is so until then.
                (filled..=cell).for_each(|it| cells[it] = cells[it].max(last));
                cells[cell] = cells[cell].max(Some(*demand));
                filled = cell + 1;
            }
            last = Some(*demand);
        }
        (filled..width).for_each(|it| cells[it] = last);
        cells
    }

    /// The newest first.
    pub(super) fn decisions(&self) -> impl Iterator<Item = &(SystemTime, v1::Decision)> {
        self.decisions.iter().rev()
    }
}

fn back(now: SystemTime, span: Duration) -> SystemTime {
    now.checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use spillway_proto::times::timestamp;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(10_000 + seconds)
    }

    fn plan(from: u64, until: u64, demand: u64, launch: &str) -> v1::PlanRecord {
        let decision =
            v1::Decision { kind: "launch".to_owned(), instance: launch.to_owned(), ..v1::Decision::default() };
        v1::PlanRecord {
            at: Some(timestamp(at(from))),
            until: Some(timestamp(at(until))),
            demand: Some(demand),
            decisions: if launch.is_empty() { Vec::new() } else { vec![decision] },
            ..v1::PlanRecord::default()
        }
    }

    fn pool(read_at: u64, demand: u64) -> v1::Pool {
        let backlog = v1::Backlog { at: Some(timestamp(at(read_at))), demand, ..v1::Backlog::default() };
        v1::Pool { backlog: Some(backlog), ..v1::Pool::default() }
    }

    #[test]
    fn what_the_record_tells_goes_before_what_is_seen_and_nothing_is_kept_twice() {
        let mut past = Past::default();
        past.take(&v1::Pool { plan: Some(plan(890, 895, 9, "i-2")), ..pool(895, 9) });
        assert_eq!(past.chart_begins(at(900)), at(840), "a chart is of a minute at least");
        past.remember(&plan(300, 450, 4, "i-1"), at(0));
        past.remember(&plan(890, 895, 9, "i-2"), at(0));
        assert_eq!(past.chart_begins(at(900)), at(300));
        assert_eq!(past.cells(4, at(900)), [Some(4), Some(4), Some(4), Some(9)]);
        past.remember(&plan(0, 150, 2, ""), at(100));
        assert_eq!(past.chart_begins(at(900)), at(100), "it was in force then");
        let cells = past.cells(5, at(1600));
        assert_eq!(cells, [Some(4), Some(9), Some(9), Some(9), Some(9)], "nothing of it is older than the window");
        let ids: Vec<&str> = past.decisions().map(|(_, decision)| decision.instance.as_str()).collect();
        assert_eq!(ids, ["i-2", "i-1"]);
    }

    #[test]
    fn it_is_bounded_whatever_comes() {
        let mut past = Past::default();
        for second in 0..10_000 {
            past.take(&pool(second, second));
            past.remember(&plan(second, second, 1, &format!("i-{second}")), at(0));
        }
        assert_eq!((past.samples.len(), past.decisions.len()), (SAMPLES, DECISIONS));
        assert_eq!(past.cells(0, at(10_000)), []);
        assert_eq!(past.cells(50, at(0)).len(), 50, "a clock that was set back");
    }
}
