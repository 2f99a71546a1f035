//! What was seen and what happened in some time, added up.

use crate::buckets::{Waits, most};
use crate::frame::{Interval, Look};

/// The most of each value in a minute, and the jobs that ended in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    pub(super) demand: Option<u64>,
    pub(super) active: Option<u64>,
    pub(super) oldest_ms: Option<u64>,
    pub(super) desired: Option<u32>,
    pub(super) ready: Option<u32>,
    pub(super) on_the_way: Option<u32>,
    pub(super) draining: Option<u32>,
    pub(super) jobs: Option<Jobs>,
}

/// What happened to jobs in some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jobs {
    pub(crate) arrived: u64,
    pub(crate) started: u64,
    pub(crate) finished: u64,
    pub(crate) failed: u64,
    pub(crate) waits: Waits,
}

impl Sums {
    pub(super) fn saw(&mut self, look: &Look) {
        self.demand = most(self.demand, look.demand);
        self.oldest_ms = most(self.oldest_ms, look.oldest_ms);
        self.desired = most(self.desired, look.desired);
        if look.demand.is_some() {
            self.active = most(self.active, Some(look.active));
        }
        self.ready = most(self.ready, Some(look.ready));
        self.on_the_way = most(self.on_the_way, Some(look.on_the_way));
        self.draining = most(self.draining, Some(look.draining));
    }

    pub(super) fn ran(&mut self, jobs: &Jobs) {
        let sums = self.jobs.get_or_insert_default();
        // Whatever the record says.
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut sums.arrived, jobs.arrived);
        add(&mut sums.started, jobs.started);
        add(&mut sums.finished, jobs.finished);
        add(&mut sums.failed, jobs.failed);
        sums.waits.merge(&jobs.waits);
    }

    pub(super) fn and(&mut self, other: &Sums) {
        self.demand = most(self.demand, other.demand);
        self.active = most(self.active, other.active);
        self.oldest_ms = most(self.oldest_ms, other.oldest_ms);
        self.desired = most(self.desired, other.desired);
        self.ready = most(self.ready, other.ready);
        self.on_the_way = most(self.on_the_way, other.on_the_way);
        self.draining = most(self.draining, other.draining);
        if let Some(jobs) = &other.jobs {
            self.ran(jobs);
        }
    }
}

impl From<&Interval> for Jobs {
    fn from(interval: &Interval) -> Self {
        let mut waits = Waits::default();
        interval.starts.iter().filter_map(|(_, _, waited)| *waited).for_each(|waited| waits.add(waited, 1));
        let Interval { arrived, finished, failed, .. } = *interval;
        Jobs { arrived, started: interval.started, finished, failed, waits }
    }
}
