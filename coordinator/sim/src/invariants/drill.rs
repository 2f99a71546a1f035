//! Checks what a drill comes to: no more instances than were asked for, none of them scaled in before it was ready or
//! will not be, and an end.

use std::time::Duration;

use spillway_brain::{Decision, Outcome, Planned, Reason, Tried};

use super::Invariant;
use crate::agenda::C;
use crate::clock::{HOUR, MINUTE};
use crate::world::World;

/// Beyond a launch, a boot, a drain and a termination, while the same coordinator leads: for what is unknown in
/// between, and for what EC2 ends by itself.
const MARGIN: Duration = Duration::from_millis(HOUR);

impl World {
    /// A plan that is about to be saved.
    pub(super) fn check_drill(&mut self, c: C, decisions: &[Planned]) {
        let Some(drill) = self.coordinators[c].state().drill() else { return };
        let launched = drill.tried.iter().filter(|tried| tried.token.is_some()).count();
        let by_drill = decisions.iter().filter(|it| matches!(it.reason, Reason::Drill { .. })).count();
        if by_drill > launched {
            let text = format!("{by_drill} launches for a drill that has {launched}");
            return self.violate(Invariant::AsAnswered, text);
        }
        let is_scaled_in = |planned: &&Planned| {
            let Decision::Drain { id, .. } = &planned.decision else { return false };
            let is_unready = |tried: &Tried| tried.outcome.as_ref() != Some(&Outcome::Ready);
            // A forged ledger may have the drill and not its instance, which is adopted as an ordinary one then.
            let is_drills = |tried: &Tried| tried.stays.is_none() && tried.times.gone_at.is_none();
            let is_its = |tried: &&Tried| tried.id.as_ref() == Some(id) && is_drills(tried);
            matches!(planned.reason, Reason::ScaleIn { .. }) && drill.tried.iter().filter(is_its).any(is_unready)
        };
        if let Some(planned) = decisions.iter().find(is_scaled_in) {
            let text =
                format!("{} is scaled in before it was ready: a drill has launched it", planned.decision.subject());
            return self.violate(Invariant::AsAnswered, text);
        }
        self.check_drill_ends(c);
    }

    /// Each of its phases has a deadline. Weaker: not while this coordinator has not led, or not seen, for long enough.
    fn check_drill_ends(&mut self, c: C) {
        let coordinator = &self.coordinators[c];
        let (state, config, now) = (coordinator.state(), &self.setup.config, self.pool_time(c));
        let Some(drill) = state.drill().filter(|drill| drill.ended_at.is_none()) else { return };
        let within = config.launch_timeout + config.boot_timeout + config.drain_timeout + config.terminate_timeout;
        // All that happened to one of its instances begins its next deadline.
        let times = drill.tried.iter().map(|tried| &tried.times);
        let last = times.flat_map(|it| [it.planned_at, it.accepted_at, it.ready_at, it.draining_at, it.terminating_at]);
        let last = last.flatten().max().unwrap_or(drill.at).max(drill.at);
        let led_for = coordinator.shadow.listed_since.max(coordinator.shadow.seen_since);
        let led_for = self.local(c).0.saturating_sub(led_for);
        if now.since(last) > within + MARGIN && led_for > 30 * MINUTE && state.hold().is_none() {
            let text = format!("a drill has not ended for {} s: {drill:?}", now.since(last).as_secs());
            self.violate(Invariant::NoLeak, text);
        }
    }
}
