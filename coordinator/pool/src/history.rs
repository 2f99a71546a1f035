//! The newest plans, for `explain`: ticks in a row that came to the same plan are one entry. And which plans are worth
//! an entry in the ledger's record.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use spillway_brain::{Plan, State, Timestamp};

/// Entries kept in memory; the ledger's record has more.
const KEPT: usize = 500;

/// Ticks in a row that came to the same plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The last of them.
    pub plan: Arc<Plan>,
    /// When the first was made.
    pub since: Timestamp,
    pub times: u64,
}

/// The last plan that was recorded.
#[derive(Debug)]
struct Recorded {
    at: Timestamp,
    /// When the backlog that it was made from was observed.
    observed_at: Option<Timestamp>,
}

/// The newest plans.
#[derive(Debug, Default)]
pub struct History {
    /// Newest last.
    entries: VecDeque<Entry>,
    recorded: Option<Recorded>,
}

impl History {
    pub(crate) fn push(&mut self, plan: Arc<Plan>) {
        if let Some(last) = self.entries.back_mut()
            && last.plan.is_repeated_by(&plan)
        {
            last.times += 1;
            last.plan = plan;
            return;
        }
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { since: plan.at, plan, times: 1 });
    }

    /// What an earlier process recorded, newest first.
    pub(crate) fn restore(&mut self, plans: Vec<Plan>) {
        self.entries.clear();
        for plan in plans.into_iter().rev() {
            self.push(Arc::new(plan));
        }
    }

    pub fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Newest first.
    pub fn newest(&self, limit: usize) -> impl Iterator<Item = &Entry> {
        self.entries.iter().rev().take(limit)
    }

    /// Every plan that decides, and one for each observation: that is what replay needs. Where nothing is observed one
    /// each interval.
    pub(crate) fn is_recorded(&self, plan: &Plan, state: &State, interval: Duration) -> bool {
        let Some(last) = &self.recorded else { return true };
        let observed_at = state.backlog().map(|(_, at)| *at);
        // Compared with what was recorded, not with the last plan: that may be as old as the last heartbeat.
        let is_old = plan.at < last.at || plan.at.since(last.at) >= interval;
        !plan.decisions.is_empty() || observed_at != last.observed_at || is_old
    }

    pub(crate) fn recorded(&mut self, plan: &Plan, state: &State) {
        self.recorded = Some(Recorded { at: plan.at, observed_at: state.backlog().map(|(_, at)| *at) });
    }
}
