//! What a pool does, against what it may: only what is saved, under a lease that is not over, at once where it cannot wait,
//! and not too often where EC2 fails. Owns what is remembered for that of one coordinator process.

use std::sync::Arc;
use std::time::Duration;

use spillway_brain::{Decision, InstanceId, Phase, Plan, Timestamp};
use spillway_pool::{FromAgent, Input, NotAdmitted, Now};

use super::Invariant;
use crate::agenda::{C, N};
use crate::clock::{MINUTE, ms};
use crate::counts::Met;
use crate::world::World;

/// Of one coordinator process.
#[derive(Debug, Default)]
pub struct Watched {
    /// Decisions that the ledger has and that are not carried out yet, and until when the lease is held under which they were
    /// saved.
    allowed: Vec<Decision>,
    allowed_until: u64,
    /// When they were saved.
    pub saved_at: u64,
    /// What an operator was promised: the next plan decides it.
    pub promised: Option<(InstanceId, &'static str)>,
    /// A notice came in: a tick must follow at once.
    must_tick: bool,
    failed_listings: u32,
    lists_not_before: Duration,
}

impl World {
    pub(crate) fn watches(&mut self, c: C, now: Now, input: &Input) {
        self.note_told(c, input);
        let coordinator = &mut self.coordinators[c];
        let is_leader = coordinator.pool.is_leader();
        if is_leader || !matches!(input, Input::Operator(..)) {
            coordinator.shadow.feed(now.wall, input);
        }
        let is_unknown = |id: &InstanceId| {
            coordinator.pool.state().instance(id).is_some_and(|instance| instance.ec2.interrupted_at.is_none())
        };
        let interval = ms(self.setup.config.listing_interval);
        let watched = &mut coordinator.watched;
        match input {
            Input::FromAgent(id, FromAgent::Notice { .. }) => watched.must_tick |= is_leader && is_unknown(id),
            Input::Interruptions(ids) => watched.must_tick |= is_leader && ids.iter().any(is_unknown),
            Input::Listed { answer: Ok(_), .. } => {
                (watched.failed_listings, watched.lists_not_before) = (0, Duration::ZERO);
            }
            Input::Listed { answer: Err(_), .. } => {
                watched.failed_listings += 1;
                let wait = (interval << watched.failed_listings.min(6)).min(MINUTE.max(interval));
                watched.lists_not_before = now.up + Duration::from_millis(wait);
            }
            Input::LaunchAnswered { .. } | Input::TerminateAnswered { answer: Ok(()), .. } => {
                watched.lists_not_before = Duration::ZERO;
            }
            Input::Loaded { .. } => watched.promised = None,
            _ => {}
        }
    }

    /// A plan that is about to be in the ledger.
    pub(crate) fn check_save(&mut self, c: C, epoch: u64, plan: &Plan) {
        if epoch != self.ledger.epoch {
            let text = format!("a save in epoch {epoch}; the lease is held in {}", self.ledger.epoch);
            self.violate(Invariant::OnlyTheLeader, text);
        }
        if let Some((id, kind)) = self.coordinators[c].watched.promised.take()
            && !plan.decisions.iter().any(|it| it.decision.kind() == kind && it.decision.subject() == id.0)
        {
            self.violate(
                Invariant::AsAnswered,
                format!("an operator was promised {kind} of {id}, which is not planned"),
            );
        }
        self.check_plan(c, plan);
        self.tick_again(c, plan);
        self.check_state(c);
    }

    /// Invariant 9. After a tick that decided nothing few are tried, for their time.
    fn tick_again(&mut self, c: C, plan: &Plan) {
        if plan.decisions.is_empty() && !self.rng.one_in(8) {
            return;
        }
        let again = self.coordinators[c].pool.controller().clone().tick(plan.at);
        if !again.decisions.is_empty() {
            self.violate(Invariant::NothingNew, format!("a second tick decides {:?}", again.decisions));
        }
    }

    /// The ledger has it.
    pub(crate) fn allows(&mut self, c: C, plan: &Arc<Plan>) {
        let until = self.ledger.held_until();
        let watched = &mut self.coordinators[c].watched;
        watched.allowed.clear();
        watched.allowed.extend(plan.decisions.iter().map(|planned| planned.decision.clone()));
        (watched.allowed_until, watched.saved_at) = (until, self.now);
    }

    /// Invariant 11.
    pub(crate) fn check_allowed(&mut self, c: C, decision: &Decision) {
        let watched = &mut self.coordinators[c].watched;
        let place = watched.allowed.iter().position(|allowed| allowed == decision);
        let is_over = watched.allowed_until <= self.now;
        match place {
            None => {
                let text = format!("{} {} is not in the ledger", decision.kind(), decision.subject());
                self.violate(Invariant::OnlyTheLeader, text);
            }
            Some(_) if is_over => {
                let text = format!("{} {} after the lease", decision.kind(), decision.subject());
                self.violate(Invariant::OnlyTheLeader, text);
            }
            Some(place) => drop(watched.allowed.swap_remove(place)),
        }
    }

    /// Invariant 10: what fails is asked for less often.
    pub(crate) fn check_listing(&mut self, c: C) {
        let up = self.up(c, self.now);
        let watched = &self.coordinators[c].watched;
        if up < watched.lists_not_before {
            let text = format!("a list is asked for again after {} that failed", watched.failed_listings);
            self.violate(Invariant::Bounded, text);
        }
    }

    /// Two minutes are short: a notice is not left for the next observation.
    pub(crate) fn check_at_once(&mut self, c: C, now: Now) {
        let coordinator = &mut self.coordinators[c];
        let must_tick = std::mem::take(&mut coordinator.watched.must_tick);
        let has_ticked = coordinator.pool.ticked_at() == Some(now.wall) || coordinator.stands_still_until > self.now;
        if must_tick && coordinator.leads() && !has_ticked {
            self.violate(Invariant::AtOnce, "a notice that no tick follows".to_owned());
        }
    }

    /// Invariant 11: a standby decides nothing. Its pool does not even ask; the brain is asked all the same, now and then.
    pub(crate) fn check_standby(&mut self, c: C) {
        if self.coordinators[c].leads() || !self.rng.one_in(16) {
            return;
        }
        let now: Timestamp = self.local(c);
        let plan = self.coordinators[c].pool.controller().clone().tick(now);
        if !plan.decisions.is_empty() {
            self.violate(Invariant::OnlyTheLeader, format!("a standby decides {:?}", plan.decisions));
        }
    }

    /// Whether an agent is let in. Only one whose instance the leader's ledger knows and expects may be.
    pub(crate) fn admission(&mut self, c: C, n: N) -> Result<(), NotAdmitted> {
        let pool = &self.coordinators[c].pool;
        let id = &self.cloud.machines[n].id;
        let answer = pool.admission().check(id);
        let mut alive = pool.state().instances().filter(|instance| !matches!(instance.phase, Phase::Gone));
        let is_expected = pool.is_leader() && alive.any(|instance| instance.id.as_ref() == Some(id));
        drop(alive);
        if answer.is_ok() && !is_expected {
            self.violate(Invariant::OnlyOurs, format!("the agent of i-{n} is let in, which nobody expects"));
        }
        answer
    }

    /// Somebody says to be an instance that is not ours, or is no more.
    pub(crate) fn stranger_knocks(&mut self, n: N) {
        for c in 0..self.coordinators.len() {
            if self.coordinators[c].is_up && self.admission(c, n) == Err(NotAdmitted::NotExpected) {
                self.met(Met::Stranger);
            }
        }
    }
}
