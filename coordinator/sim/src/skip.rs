//! Idle time is skipped: where there is no instance, no job and nothing under way, the coordinators' rounds change nothing.
//! For them it is as if the machines that they run on had been suspended: their next look finds a gap, which proves nothing.

use crate::world::World;

/// So long before something comes from outside the rounds go on.
const BEFORE: u64 = 45_000;
/// Shorter is not worth it.
const LEAST: u64 = 60_000;

impl World {
    pub(crate) fn skips(&mut self, until: u64) {
        let Some(quiet_until) = self.agenda.quiet_until() else { return };
        let wakes_at = quiet_until.min(until).saturating_sub(BEFORE);
        if wakes_at < self.now + LEAST || !self.is_idle() {
            return;
        }
        let by = wakes_at - self.now;
        self.trace.mix(by);
        self.agenda.put_off_rounds(by);
        self.ledger.put_off(by);
        self.coordinators.iter_mut().for_each(|coordinator| coordinator.put_off(by));
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
            coordinator.is_up && coordinator.stands_still_until <= now && !coordinator.pool.is_looking()
        };
        let is_done = |coordinator: &crate::coordinator::Coordinator| {
            let state = coordinator.state();
            state.desired() == Some(0)
                && state.instances().all(|instance| instance.is_gone() && !instance.owes_hand_back())
        };
        self.coordinators.iter().all(rests) && self.coordinators.iter().any(|it| it.leads() && is_done(it))
    }
}
