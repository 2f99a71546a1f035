//! The newest plans, for `explain`: ticks in a row that came to the same plan are one entry.

use std::collections::VecDeque;
use std::mem::discriminant;

use spillway_brain::{Plan, Timestamp};
use spillway_proto::v1;

use crate::view;

/// Entries kept in memory; the ledger's record has more.
const KEPT: usize = 500;

#[derive(Debug, Default)]
pub(super) struct History {
    /// Newest last.
    entries: VecDeque<(Plan, v1::PlanRecord)>,
}

impl History {
    pub(super) fn push(&mut self, pool: &str, plan: Plan) {
        let mut record = view::plan(pool, &plan);
        if let Some((last, entry)) = self.entries.back_mut()
            && is_same(last, &plan)
        {
            record.times = entry.times + 1;
            record.at = entry.at;
            *entry = record;
            *last = plan;
            return;
        }
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back((plan, record));
    }

    /// What an earlier process recorded, newest first.
    pub(super) fn restore(&mut self, pool: &str, plans: Vec<Plan>) {
        self.entries.clear();
        for plan in plans.into_iter().rev() {
            self.push(pool, plan);
        }
    }

    pub(super) fn last(&self) -> Option<v1::PlanRecord> {
        self.entries.back().map(|(_, record)| record.clone())
    }

    pub(super) fn newest(&self, limit: usize) -> Vec<v1::PlanRecord> {
        self.entries.iter().rev().take(limit).map(|(_, record)| record.clone()).collect()
    }
}

/// Nothing was decided in either, for the same kinds of reasons: only the numbers moved on.
fn is_same(a: &Plan, b: &Plan) -> bool {
    let kinds = |plan: &Plan| plan.notes.iter().map(discriminant).collect::<Vec<_>>();
    a.decisions.is_empty() && b.decisions.is_empty() && a.desired == b.desired && kinds(a) == kinds(b) && a.at <= b.at
}

/// How long ago the newest plan was made; None before the first.
pub(super) fn age(history: &History, now: Timestamp) -> Option<std::time::Duration> {
    history.entries.back().map(|(plan, _)| now.since(plan.at))
}
