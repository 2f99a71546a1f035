//! Launches that EC2 accepted and took back: each is a refusal that came late. Checked by what lists showed, whatever
//! the brain makes of it: launches wait, longer with each in a row, and none is a failed boot.

use spillway_brain::{Config, Ec2State, Listed, RefusalClass, Timestamp};

use super::Invariant;
use crate::agenda::{C, N};
use crate::clock::ms;
use crate::cloud::class_of_taken_back;
use crate::coordinator::number;
use crate::world::World;

/// Launches in a row that were taken back with one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The last one, by the coordinators' clocks.
    pub at: u64,
    times: u32,
}

impl Row {
    /// The least that launches wait after it, in milliseconds.
    fn wait(self, class: RefusalClass, config: &Config) -> u64 {
        let (first, most) = match class {
            RefusalClass::Retry => (ms(config.capacity_backoff) / 6, ms(config.capacity_backoff) * 5),
            RefusalClass::Capacity => (ms(config.capacity_backoff), ms(config.capacity_backoff) * 5),
            _ => (ms(config.quota_backoff), ms(config.quota_backoff) * 6),
        };
        (first << self.times.saturating_sub(1).min(8)).min(most)
    }
}

impl super::Shadow {
    /// Which launches a list shows for the first time as taken back, and which instances run.
    pub(super) fn lists_taken_back(&mut self, now: Timestamp, listed: &[Listed]) {
        for entry in listed {
            let n = number(&entry.id);
            match entry.state {
                Ec2State::Pending => {}
                Ec2State::Running => drop(self.ran.insert(n)),
                _ if !self.ended.insert(n) => {}
                _ => {
                    let class = entry.state_reason.as_ref().and_then(|reason| class_of_taken_back(reason.code()));
                    self.taken_back.extend(class.map(|class| (n, class, now.0)));
                }
            }
        }
    }
}

impl World {
    /// Before each plan.
    pub(super) fn check_taken_back(&mut self, c: C) {
        // Of those that were launched together one may run and another be taken back: in either order.
        self.ends_rows(c);
        let fresh = std::mem::take(&mut self.coordinators[c].shadow.taken_back);
        for (n, class, at) in fresh {
            let (config, coordinator) = (&self.setup.config, &self.coordinators[c]);
            // Weaker: what the ledger does not know, or was adopted, may have been anything; what is told to drain ends
            // for that.
            let known = coordinator.state().instance(&self.cloud.machines[n].id).filter(|it| !it.adopted);
            let Some(instance) = known.filter(|_| !coordinator.shadow.drained.contains(&n)) else { continue };
            let launched_at = self.told_as_local(c, instance.planned_at).0;
            let next = |class| {
                let before = coordinator.shadow.rows.get(&class).copied();
                let is_later = before.is_some_and(|row| launched_at >= row.at + row.wait(class, config));
                Row { at, times: before.map_or(1, |row| row.times) + u32::from(is_later) }
            };
            let row = next(class);
            // Then it is for a person, and waits as that does, too.
            let is_for_a_person = class == RefusalClass::Retry && row.times >= config.boot_failures;
            let for_a_person = is_for_a_person.then(|| (RefusalClass::Unknown, next(RefusalClass::Unknown)));
            self.coordinators[c].shadow.rows.extend([(class, row)].into_iter().chain(for_a_person));
        }
    }

    /// Forgets the rows that an instance ends which was launched after them, and runs, or did.
    fn ends_rows(&mut self, c: C) {
        if self.coordinators[c].shadow.rows.is_empty() {
            return;
        }
        let coordinator = &self.coordinators[c];
        let got_through = coordinator.state().instances().filter(|it| {
            let has_run = |n: N| coordinator.shadow.ran.contains(&n);
            !it.adopted && (it.agent.registered || it.id.as_ref().is_some_and(|id| has_run(number(id))))
        });
        let last = got_through.map(|it| self.told_as_local(c, it.planned_at).0).max();
        self.coordinators[c].shadow.rows.retain(|_, row| last.is_none_or(|last| last < row.at));
    }

    /// Why nothing may be launched at `now`.
    pub(super) fn waits_for_taken_back(&self, c: C, now: Timestamp, skew: u64) -> Option<String> {
        let mut rows = self.coordinators[c].shadow.rows.iter();
        let (class, row) = rows.find(|(class, row)| now.0 + skew < row.at + row.wait(**class, &self.setup.config))?;
        let (after, times) = (now.0.saturating_sub(row.at) / 1000, row.times);
        Some(format!("a launch {after} s after EC2 took one back ({class:?}, {times} in a row)"))
    }

    /// An instance that EC2 took back counts as a failed boot.
    pub(super) fn taken_back_fails_boot(&self, c: C) -> Option<(Invariant, String)> {
        let (state, shadow) = (self.coordinators[c].state(), &self.coordinators[c].shadow);
        let is_ours = |n: N| shadow.failed.contains(&n) || shadow.terminated_at.contains_key(&n);
        let is_taken_back = |n: N| self.cloud.machines[n].fails_with.is_some();
        let failed = state.instances().filter(|it| it.boot_failed).filter_map(|it| it.id.as_ref().map(number));
        let n = failed.into_iter().find(|n| is_taken_back(*n) && !is_ours(*n))?;
        Some((Invariant::FailedByItself, format!("i-{n} counts as a failed boot, but EC2 took its launch back")))
    }
}
