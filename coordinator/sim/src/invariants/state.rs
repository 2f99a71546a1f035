//! Checks the leader's state after a tick against the true state of the world.

use super::Invariant;
use crate::agenda::{C, N};
use crate::clock::{MINUTE, SECOND, ms};
use crate::cloud::{BY_A_CALL, Machine};
use crate::coordinator::{Coordinator, number};
use crate::world::World;

/// So long after the ledger was deleted, listings have shown every instance that was there.
pub const FOUND_AGAIN: u64 = 4 * MINUTE;
/// What two coordinators' clocks, and a report under way, may make of it.
const SKEW: u64 = 10 * SECOND;

impl World {
    /// Weaker: what no listing shows beyond the grace could not be known once its agent was silent, to a leader, or its
    /// end was decided. A coordinator that stood still takes its own silence for the agent's.
    pub fn forgives_unlisted(&mut self, c: C) {
        let heartbeat_timeout = ms(self.setup.config.heartbeat_timeout);
        let Coordinator { pool, shadow, lost_at, frozen_until, .. } = &self.coordinators[c];
        let (local, pool_time) = (self.local(c), self.pool_time(c));
        let led_for = local.0.saturating_sub(shadow.listed_since);
        let has_listened = self.now < frozen_until + heartbeat_timeout || led_for + SKEW >= heartbeat_timeout;
        let led_no_longer_for = self.now - lost_at;
        let is_forgiven = |n: &N| {
            let machine = &self.cloud.machines[*n];
            let was_unlisted = machine.unlisted.until > 0 && !machine.forgotten && machine.is_live();
            let is_silent = self.hosts[*n].heard_at + heartbeat_timeout <= self.now + SKEW;
            let is_ended = shadow.terminated_at.contains_key(n);
            let may_be_given_up = || match pool.state().instance(&machine.id) {
                Some(known) => {
                    let did_lead = ms(pool_time.since(known.phase_since)) + SKEW >= led_no_longer_for;
                    known.is_gone() && (is_ended || (is_silent && (has_listened || did_lead)))
                }
                None => is_ended || is_silent,
            };
            was_unlisted && may_be_given_up()
        };
        for n in self.cloud.listed.iter().copied().filter(is_forgiven).collect::<Vec<N>>() {
            self.cloud.machines[n].forgotten = true;
            self.count(crate::counts::Occurrence::GivenUp);
        }
    }

    /// If EC2 lists it again it must prove itself again.
    pub(crate) fn forgets_gone(&mut self, c: C) {
        let Coordinator { pool, shadow, .. } = &mut self.coordinators[c];
        let (state, machines) = (pool.state(), &self.cloud.machines);
        shadow.ready.retain(|n| !state.instance(&machines[*n].id).is_some_and(|instance| instance.is_gone()));
    }

    /// When the last listing that the coordinator has was asked for; 0: it has none.
    pub fn listed_at(&self, c: C) -> u64 {
        let listed_at = self.coordinators[c].shadow.listed_at;
        listed_at.map_or(0, |at| at.saturating_add_signed(-self.setup.skew[c]))
    }

    pub fn check_state(&mut self, c: C) {
        let (state, shadow) = (self.coordinators[c].state(), &self.coordinators[c].shadow);
        let mut problem = None;
        let mut adopted = Vec::new();
        let known: Vec<_> = state.instances().filter(|instance| !instance.is_gone()).collect();
        for (position, instance) in known.iter().enumerate() {
            let twice = known[..position]
                .iter()
                .find(|other| other.token == instance.token || (other.id.is_some() && other.id == instance.id));
            if twice.is_some() {
                problem = Some((
                    Invariant::OneToken,
                    format!("{} is in the ledger twice ({})", instance.name(), instance.token),
                ));
            }
            adopted.extend(instance.id.as_ref().filter(|_| instance.adopted).map(number));
            let n = instance.id.as_ref().map_or(N::MAX, number);
            let is_by_call = || self.cloud.machines.get(n).is_some_and(|it| it.reason == Some(BY_A_CALL));
            let is_ours = || shadow.failed.contains(&n) || shadow.terminated_at.contains_key(&n);
            if instance.boot_failed && is_by_call() && !is_ours() {
                let text = format!("i-{n} counts as a failed boot, but somebody else terminated it");
                problem = Some((Invariant::FailedByItself, text));
            }
            if instance.is_capacity() && (!shadow.ready.contains(&n) || shadow.noticed.contains(&n)) {
                let text = format!("{} counts as capacity, but its agent does not report it ready", instance.name());
                problem = Some((Invariant::OnlyReady, text));
            }
        }
        problem = problem.or_else(|| self.taken_back_fails_boot(c));
        let now = self.pool_time(c);
        if known.iter().filter(|instance| instance.is_kept(now)).count() > 1 {
            problem = Some((Invariant::NoLeak, "more than one failed boot is kept for a person".to_owned()));
        }
        let is_ours = |id| state.instance(id).is_some_and(|instance| !instance.is_gone());
        if let Some(stranger) = state.strangers().iter().find(|stranger| is_ours(&stranger.id)) {
            let text = format!("{} is in the ledger, and is called another installation's", stranger.id);
            problem = Some((Invariant::NothingForgotten, text));
        }
        let listed_at = self.listed_at(c);
        for n in &self.cloud.listed {
            let machine = &self.cloud.machines[*n];
            let Some(token) = machine.token.as_ref().filter(|_| machine.is_live() && !machine.forgotten) else {
                continue;
            };
            let may_be_unseen =
                machine.launched_at <= self.ledger_deleted_at && listed_at < self.ledger_deleted_at + FOUND_AGAIN;
            if !may_be_unseen && !known.iter().any(|instance| instance.token == *token) {
                let text = format!("i-{n} is billable, but is not in the ledger ({token})");
                problem = Some((Invariant::NothingForgotten, text));
            }
        }
        self.forgets_gone(c);
        for n in adopted {
            if !std::mem::replace(&mut self.hosts[n].was_adopted, true) {
                self.count(crate::counts::Occurrence::Adopted);
            }
        }
        if let Some((invariant, text)) = problem {
            self.violate(invariant, text);
        }
        if self.cloud.machines.len() > self.forgotten_up_to + 64 {
            let up_to = self.cloud.machines.len() - 64;
            self.forgotten_up_to = up_to;
            let machines = &self.cloud.machines;
            // What the brain still knows is still compared with it.
            let Coordinator { pool, shadow, .. } = &mut self.coordinators[c];
            let state = pool.state();
            let is_over = |n: N| {
                let is_unknown = |machine: &Machine| !machine.is_live() && state.instance(&machine.id).is_none();
                n < up_to && machines.get(n).is_some_and(is_unknown)
            };
            shadow.forget(is_over);
        }
    }
}
