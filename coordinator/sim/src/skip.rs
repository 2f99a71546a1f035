//! Skips idle time: without an instance, a job or anything under way, the coordinators' rounds change nothing. To them
//! it is as if their host had been suspended: the next observation comes after a gap, which restarts every window.

use spillway_brain::Floor;

use crate::clock::MINUTE;
use crate::world::World;

/// Milliseconds before the next event from outside at which the rounds resume.
const BEFORE: u64 = 45_000;
/// Scheduled instances are launched so long before they are to be ready, at the most.
pub(crate) const AHEAD: u64 = 30 * MINUTE;
/// A shorter skip is not worth it.
const LEAST: u64 = 60_000;

impl World {
    pub(crate) fn skips(&mut self, until: u64) {
        let Some(quiet_until) = self.agenda.quiet_until() else { return };
        let wakes_at = quiet_until.min(until).saturating_sub(BEFORE);
        let is_scheduled = |it: &Floor| it.from.0 < wakes_at + AHEAD && self.now < it.until.0;
        if wakes_at < self.now + LEAST || self.setup.floors.iter().any(is_scheduled) || !self.is_idle() {
            return;
        }
        let by = wakes_at - self.now;
        self.trace.mix(by);
        self.agenda.put_off_rounds(by);
        self.ledger.put_off(by);
        let now = self.now;
        self.coordinators.iter_mut().for_each(|coordinator| coordinator.put_off(now, by));
    }

    fn is_idle(&self) -> bool {
        let now = self.now;
        if self.is_calm || self.cloud.live > 0 || !self.live_hosts.is_empty() || self.bull.is_busy() {
            return false;
        }
        if self.cloud.listed.iter().any(|n| self.cloud.machines[*n].is_live()) || self.net.is_cut(now) {
            return false;
        }
        let rests = |coordinator: &crate::coordinator::Coordinator| {
            coordinator.is_up && coordinator.frozen_until <= now && !coordinator.pool.is_looking()
        };
        let is_done = |coordinator: &crate::coordinator::Coordinator| {
            let state = coordinator.state();
            state.desired() == Some(0)
                && state.instances().all(|instance| instance.is_gone() && !instance.owes_hand_back())
        };
        self.coordinators.iter().all(rests) && self.coordinators.iter().any(|it| it.leads() && is_done(it))
    }
}
