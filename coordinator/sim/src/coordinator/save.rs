//! A save to the ledger, with a crash or a freeze where one is drawn. Owns what may go wrong around the order that
//! invariant 11 rests on: what is not in the ledger is not carried out.

use std::sync::Arc;
use std::time::Duration;

use spillway_brain::{Plan, Timestamp};
use spillway_pool::{Effect, Input, Save, Saved};

use super::{name, up};
use crate::agenda::{C, CoordinatorEv, N};
use crate::clock::SECOND;
use crate::counts::Occurrence;
use crate::invariants::Shadow;
use crate::ledger::{self, Kept};
use crate::say;
use crate::world::World;

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
struct Fate {
    reaches: bool,
    holds: bool,
    answer_lost: bool,
    freezes: bool,
}

impl World {
    pub(super) fn save(&mut self, c: C, save: &Save) {
        let Some(plan) = &save.plan else { return };
        let fate = self.fate(c);
        let is_undone = !fate.holds || fate.answer_lost || fate.freezes;
        let before = is_undone.then(|| self.coordinators[c].shadow.clone());
        self.count(Occurrence::Tick);
        // A plan that cannot be saved is undone: an old leader that does not know it yet may plan anything.
        if fate.holds {
            self.check_save(c, save.epoch, plan);
        }
        let crashes = !plan.decisions.is_empty() && !self.is_calm && self.rng.per_mille(self.setup.calls.crash);
        if crashes && self.rng.one_in(3) {
            return self.coordinator_crashes(c, Occurrence::CrashBeforeSave);
        }
        if !fate.holds {
            self.count(Occurrence::SaveFailed);
            let problem = "it was not saved".to_owned();
            let saved = if fate.reaches { Saved::NotLeader { problem } } else { Saved::Failed { problem } };
            return self.not_saved(c, before, saved);
        }
        self.write(c, save.epoch, !is_undone && !crashes);
        if fate.answer_lost {
            self.count(Occurrence::SaveAnswerLost);
            say!(self, "{}: the answer to its save is lost", name(c));
            return self.not_saved(c, before, Saved::Failed { problem: "Redis does not answer".to_owned() });
        }
        if crashes && self.rng.one_in(2) {
            return self.coordinator_crashes(c, Occurrence::CrashAfterSave);
        }
        self.allows(c, plan);
        if crashes {
            return self.crashes_inside(c, plan);
        }
        if !plan.decisions.is_empty() && fate.freezes {
            return self.freezes_after_save(c, before);
        }
        let until = up(self.ledger.held_until());
        self.feed(c, Input::Saved(Saved::Until(until)));
    }

    fn fate(&mut self, c: C) -> Fate {
        let reaches = self.net.coordinator_redis(c, self.now);
        let holds = reaches && self.ledger.is_held_by(self.holder_of_lease(c), self.now);
        let by_chance = |world: &mut World, per_mille| holds && !world.is_calm && world.rng.per_mille(per_mille);
        let calls = self.setup.calls;
        let answer_lost = by_chance(self, calls.save_answer_lost);
        let freezes = by_chance(self, calls.freeze_before_execution);
        Fate { reaches, holds, answer_lost, freezes }
    }

    /// If the writer goes on as if nothing had been written, the ledger gets a copy of its own.
    fn write(&mut self, c: C, epoch: u64, is_kept_by_pool: bool) {
        let (state, shadow) = (self.coordinators[c].pool.state(), &self.coordinators[c].shadow);
        let clock = ledger::Clock { skew: self.setup.skew[c], off: self.pool_time(c).offset_from(Timestamp(self.now)) };
        let kept = if is_kept_by_pool { Kept::Pool(c) } else { Kept::State(Box::new(state.clone())) };
        match &mut self.ledger.saved {
            // What it holds already is used again: this happens at each tick.
            Some(saved) => {
                (saved.kept, saved.epoch, saved.clock) = (kept, epoch, clock);
                saved.shadow.clone_from(shadow);
            }
            None => self.ledger.saved = Some(ledger::Saved { kept, epoch, clock, shadow: shadow.clone() }),
        }
    }

    /// Gives the ledger its own copy of what it holds by reference to its writer's pool.
    pub(crate) fn settle_ledger(&mut self) {
        let Some(saved) = &mut self.ledger.saved else { return };
        let Kept::Pool(c) = saved.kept else { return };
        let state = self.coordinators[c].pool.saved_state();
        saved.kept = Kept::State(Box::new(state.expect("its last save succeeded, and nothing was undone since")));
    }

    /// The saved state has an instance with this id.
    pub fn ledger_knows(&mut self, n: N) -> bool {
        self.settle_ledger();
        let Some(ledger::Saved { kept: Kept::State(state), .. }) = &self.ledger.saved else { return false };
        state.instance(&self.cloud.machines[n].id).is_some()
    }

    fn not_saved(&mut self, c: C, before: Option<Shadow>, saved: Saved) {
        if let Some(before) = before {
            self.coordinators[c].shadow = before;
        }
        self.settle_ledger();
        self.feed(c, Input::Saved(saved));
    }

    /// Carries out a part of the plan, between nothing and all of it, then crashes.
    fn crashes_inside(&mut self, c: C, plan: &Arc<Plan>) {
        let mut some = self.rng.below(plan.decisions.len() as u64 + 1);
        let until = up(self.ledger.held_until());
        self.feed(c, Input::Saved(Saved::Until(until)));
        let now = self.both_clocks(c);
        while let Some(effect) = self.coordinators[c].pool.poll(now) {
            match &effect {
                Effect::Decided(_) if some == 0 => break,
                Effect::Decided(_) => some -= 1,
                // The plan has been carried out.
                Effect::Observe { .. } | Effect::List | Effect::ListInterruptions | Effect::Save(_) => break,
                _ => {}
            }
            self.perform(c, effect);
        }
        self.coordinator_crashes(c, Occurrence::CrashInside);
    }

    fn freezes_after_save(&mut self, c: C, before: Option<Shadow>) {
        let until = self.now + self.rng.between(1, 40) * SECOND;
        self.renews_no_longer(c);
        self.coordinators[c].frozen_until = until;
        self.count(Occurrence::FrozenBeforeExecution);
        say!(self, "{} is frozen between save and execution", name(c));
        let lease = up(self.ledger.held_until());
        self.coordinators[c].before_save = before;
        self.put_coordinator(c, until, CoordinatorEv::Saved { until: lease });
    }

    /// It continues after its save. By its own clock the lease may have expired: then nothing of the plan is carried
    /// out.
    pub(super) fn saved_late(&mut self, c: C, until: Duration) {
        let before = self.coordinators[c].before_save.take();
        if self.both_clocks(c).up >= until {
            self.count(Occurrence::PlanDropped);
            say!(self, "{}: its lease has expired, its plan is dropped", name(c));
            self.coordinators[c].shadow = before.expect("it was kept when it was frozen");
        }
        self.feed(c, Input::Saved(Saved::Until(until)));
    }
}
