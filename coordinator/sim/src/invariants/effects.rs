//! Checks what a pool does: only what is saved, only under a valid lease, at once after a notice, and with back-off
//! while EC2 fails. Owns what those checks must remember of one coordinator process.

use std::sync::Arc;
use std::time::Duration;

use spillway_brain::{Decision, InstanceId, Phase, Plan, Planned, Reason, Timestamp};
use spillway_pool::{FromAgent, Input, NotAdmitted, Now, Wish};

use super::Invariant;
use crate::agenda::{C, N};
use crate::clock::{MINUTE, ms};
use crate::coordinator::up;
use crate::counts::Occurrence;
use crate::world::World;

/// What one coordinator process is allowed and obliged to do.
#[derive(Debug, Default)]
pub struct Obligations {
    /// Decisions that are in the ledger and not carried out yet, and when the lease under which they were saved
    /// expires.
    allowed: Vec<Decision>,
    allowed_until: u64,
    /// When they were saved.
    pub saved_at: u64,
    /// What an operator was told will happen: the next plan must decide it.
    pub promised: Option<(InstanceId, &'static str)>,
    /// A notice arrived: a tick must follow at once.
    must_tick: bool,
    failed_listings: u32,
    lists_not_before: Duration,
}

impl World {
    pub(crate) fn check_input(&mut self, c: C, input: &Input) {
        self.note_told(input);
        self.note_image(c, input);
        let (now, skew, up) = (self.local(c), self.setup.skew[c], up(self.now));
        let (coordinator, config) = (&mut self.coordinators[c], &self.setup.config);
        let is_leader = coordinator.pool.is_leader();
        if is_leader || !matches!(input, Input::Operator(..)) {
            coordinator.shadow.feed(now, skew, input, config);
            if let Some(before) = &mut coordinator.before_save {
                before.feed(now, skew, input, config);
            }
        }
        let is_unknown = |id: &InstanceId| {
            coordinator.pool.state().instance(id).is_some_and(|instance| instance.ec2.interrupted_at.is_none())
        };
        let interval = ms(config.listing_interval);
        let obligations = &mut coordinator.obligations;
        match input {
            Input::FromAgent(id, FromAgent::Notice { .. }) => obligations.must_tick |= is_leader && is_unknown(id),
            Input::Interruptions(ids) => obligations.must_tick |= is_leader && ids.iter().any(is_unknown),
            Input::Listed { answer: Ok(_), .. } => {
                (obligations.failed_listings, obligations.lists_not_before) = (0, Duration::ZERO);
            }
            Input::Listed { answer: Err(_), .. } => {
                obligations.failed_listings += 1;
                let wait = (interval << obligations.failed_listings.min(6)).min(MINUTE.max(interval));
                obligations.lists_not_before = up + Duration::from_millis(wait);
            }
            Input::LaunchAnswered { .. } | Input::TerminateAnswered { answer: Ok(()), .. } => {
                obligations.lists_not_before = Duration::ZERO;
            }
            // An operator has it listed at once.
            Input::Operator(_, Wish::Resume { .. }) if is_leader => {
                (obligations.failed_listings, obligations.lists_not_before) = (0, Duration::ZERO);
            }
            Input::Loaded { .. } => obligations.promised = None,
            _ => {}
        }
    }

    /// Checks a plan that is about to be saved.
    pub(crate) fn check_save(&mut self, c: C, epoch: u64, plan: &Plan) {
        if epoch != self.ledger.epoch {
            let text = format!("a save in epoch {epoch}, but the lease is held in epoch {}", self.ledger.epoch);
            self.violate(Invariant::OnlyTheLeader, text);
        }
        if let Some((id, kind)) = self.coordinators[c].obligations.promised.take()
            && !plan.decisions.iter().any(|it| it.decision.kind() == kind && it.decision.subject() == id.0)
        {
            self.violate(
                Invariant::AsAnswered,
                format!("an operator was promised {kind} of {id}, but the plan does not have it"),
            );
        }
        self.forgives_unlisted(c);
        self.check_plan(c, plan);
        self.tick_again(c, plan);
        self.check_state(c);
        self.check_takes_none(c);
    }

    /// Invariant 9. After a tick that decided nothing only one in eight is tried again, to save time.
    fn tick_again(&mut self, c: C, plan: &Plan) {
        if plan.decisions.is_empty() && !self.rng.one_in(8) {
            return;
        }
        let again = self.coordinators[c].pool.controller().clone().tick(plan.at);
        // Weaker: what else takes the room under the cap leaves a forecast less of it, and a launch that could wait for
        // the next look is due.
        let is = |of: &Planned, is_late: bool| {
            let is_launch = matches!(of.decision, Decision::Launch { .. });
            is_launch && matches!(of.reason, Reason::StartsLate { .. }) == is_late
        };
        let has_less_room =
            plan.decisions.iter().any(|it| is(it, false)) && again.decisions.iter().all(|it| is(it, true));
        if !again.decisions.is_empty() && !has_less_room {
            self.violate(Invariant::NothingNew, format!("a second tick decides {:?}", again.decisions));
        }
    }

    /// The plan is in the ledger.
    pub(crate) fn allows(&mut self, c: C, plan: &Arc<Plan>) {
        let until = self.ledger.held_until();
        let obligations = &mut self.coordinators[c].obligations;
        obligations.allowed.clear();
        obligations.allowed.extend(plan.decisions.iter().map(|planned| planned.decision.clone()));
        (obligations.allowed_until, obligations.saved_at) = (until, self.now);
    }

    /// Invariant 11.
    pub(crate) fn check_allowed(&mut self, c: C, decision: &Decision) {
        let obligations = &mut self.coordinators[c].obligations;
        let place = obligations.allowed.iter().position(|allowed| allowed == decision);
        let is_over = obligations.allowed_until <= self.now;
        match place {
            None => {
                let text =
                    format!("{} {} is carried out, but is not in the ledger", decision.kind(), decision.subject());
                self.violate(Invariant::OnlyTheLeader, text);
            }
            Some(_) if is_over => {
                let text = format!("{} {} is carried out after the lease expired", decision.kind(), decision.subject());
                self.violate(Invariant::OnlyTheLeader, text);
            }
            Some(place) => drop(obligations.allowed.swap_remove(place)),
        }
    }

    /// Invariant 10: failed listings back off.
    pub(crate) fn check_listing(&mut self, c: C) {
        let up = up(self.now);
        let obligations = &self.coordinators[c].obligations;
        if up < obligations.lists_not_before {
            let text = format!(
                "EC2 is listed again during the back-off after {} failed listings",
                obligations.failed_listings
            );
            self.violate(Invariant::Bounded, text);
        }
    }

    /// A notice leaves two minutes: a tick must follow at once, not with the next observation.
    pub(crate) fn check_at_once(&mut self, c: C, now: Now) {
        let coordinator = &mut self.coordinators[c];
        let must_tick = std::mem::take(&mut coordinator.obligations.must_tick);
        let has_ticked =
            coordinator.pool.ticked_at() == Some(coordinator.pool.time(now)) || coordinator.frozen_until > self.now;
        if must_tick && coordinator.leads() && !has_ticked {
            self.violate(Invariant::AtOnce, "no tick follows an interruption notice".to_owned());
        }
    }

    /// Invariant 11: a standby decides nothing. Its pool does not tick; its brain is ticked here now and then
    /// regardless.
    pub(crate) fn check_standby(&mut self, c: C) {
        if self.coordinators[c].leads() || !self.rng.one_in(16) {
            return;
        }
        let now: Timestamp = self.pool_time(c);
        let plan = self.coordinators[c].pool.controller().clone().tick(now);
        if !plan.decisions.is_empty() {
            self.violate(Invariant::OnlyTheLeader, format!("a standby decides {:?}", plan.decisions));
        }
    }

    /// Whether an agent is admitted. Only the leader may admit one, and only for an instance in its ledger that is not
    /// Gone.
    pub(crate) fn admission(&mut self, c: C, n: N) -> Result<(), NotAdmitted> {
        let pool = &self.coordinators[c].pool;
        let id = &self.cloud.machines[n].id;
        let answer = pool.admission().check(id);
        let mut alive = pool.state().instances().filter(|instance| !matches!(instance.phase, Phase::Gone));
        let is_expected = pool.is_leader() && alive.any(|instance| instance.id.as_ref() == Some(id));
        drop(alive);
        if answer.is_ok() && !is_expected {
            self.violate(
                Invariant::OnlyOurs,
                format!("the agent of i-{n} is admitted, but its instance is not expected"),
            );
        }
        answer
    }

    /// An agent tries to register as an unmanaged instance, or as one that is gone.
    pub(crate) fn unknown_agent_registers(&mut self, n: N) {
        for c in 0..self.coordinators.len() {
            if self.coordinators[c].is_up && self.admission(c, n) == Err(NotAdmitted::NotExpected) {
                self.count(Occurrence::UnknownAgent);
            }
        }
    }
}
