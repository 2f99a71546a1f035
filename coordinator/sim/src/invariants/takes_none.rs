//! Instances whose worker takes no job while others of the queue do: none is capacity for longer than the brain's five
//! minutes, and no worker that takes jobs is drained for that.

use spillway_brain::Backlog;

use super::Invariant;
use crate::agenda::{C, N};
use crate::clock::{MINUTE, SECOND, ms};
use crate::world::World;

/// So long it may count although it takes none; and what observations and the round after them add.
const ALLOWED: u64 = 5 * MINUTE;
const LATE: u64 = 90 * SECOND;
/// A gap between two observations after which nothing is known of the time between them: the shortest of any setting.
const GAP: u64 = 30 * SECOND;

/// Since when and until when every observation has shown jobs that a free worker takes: some wait, some run, and
/// nothing holds them back.
pub fn waits(before: Option<(u64, u64)>, now: u64, backlog: &Backlog) -> Option<(u64, u64)> {
    let is_one = backlog.queues.iter().any(|queue| {
        let waits = queue.waiting + queue.prioritized > 0 && queue.active > 0;
        let is_held = queue.paused || queue.rate_limit.is_some() || queue.concurrency.is_some();
        waits && !is_held
    });
    let since = before.filter(|(_, last)| now.saturating_sub(*last) <= GAP).map_or(now, |(since, _)| since);
    is_one.then_some((since, now))
}

impl World {
    /// After each tick.
    pub(super) fn check_takes_none(&mut self, c: C) {
        let now = self.local(c).0;
        let (config, shadow) = (&self.setup.config, &self.coordinators[c].shadow);
        let Some((waits_since, last)) = shadow.waits.filter(|_| !shadow.held) else { return };
        if last + GAP < now || self.is_blind(c, self.local(c)) {
            return;
        }
        let state = self.coordinators[c].state();
        let local = |at: u64| now.saturating_sub(self.now.saturating_sub(at));
        let counts_too_long = |n: &N| {
            let (machine, host) = (&self.cloud.machines[*n], &self.hosts[*n]);
            let Some((_, since)) = host.idle() else { return false };
            let Some(instance) = state.instance(&machine.id).filter(|it| it.is_capacity()) else { return false };
            // Of a worker without a name Redis shows nothing, and an agent that is silent cannot be told.
            let is_silent = host.heard_at + ms(config.heartbeat_timeout) <= self.now + 10 * SECOND;
            let ready_since = self.told_as_local(c, instance.phase_since).0;
            let since = local(since.max(host.held_at)).max(waits_since).max(ready_since).max(shadow.listed_since);
            let allowed = ALLOWED.max(ms(config.longest_gap())) + LATE;
            instance.agent.named && !is_silent && now > since + allowed
        };
        if let Some(n) = self.cloud.listed.iter().find(|n| counts_too_long(n)) {
            let text = format!(
                "i-{n} is capacity, but its worker takes no job although some wait ({:?})",
                self.hosts[*n].idle()
            );
            self.violate(Invariant::TakesNoJob, text);
        }
    }

    /// It is drained because it takes no job: so it is, or a fault was in the way a moment ago.
    pub(super) fn check_took_none(&mut self, n: N) {
        let host = &self.hosts[n];
        // A leader with an older ledger may not know that it was drained before.
        let works = host.free_processes(self.setup.slots).next().is_some() || self.works(n);
        if works && host.idle().is_none() && host.disturbed_at + 2 * ALLOWED < self.now {
            self.violate(Invariant::TakesNoJob, format!("i-{n} is drained as taking no job, but its worker works"));
        }
    }
}
