//! One tick: decide, save, execute, with a crash or a standstill wherever the fault is drawn. Owns the order that invariant
//! 11 rests on: what is not in the ledger does not happen.

use spillway_brain::{Controller, Plan, Planned, Timestamp};

use super::name;
use crate::agenda::{C, CoordinatorEv};
use crate::clock::SECOND;
use crate::counts::Met;
use crate::ledger::{Kept, Saved};
use crate::say;
use crate::watch::{Invariant, Shadow};
use crate::world::World;

/// What was saved and is not executed yet; what was known before; and until when the lease is held.
#[derive(Debug)]
pub struct SavedPlan {
    plan: Plan,
    before: Option<(Controller, Shadow)>,
    lease: u64,
}

impl World {
    pub(super) fn tick(&mut self, c: C) {
        self.coordinators[c].ticked = self.now;
        let now = self.local(c);
        if !self.coordinators[c].controller.state().is_leader() {
            // The shell does not even ask; the brain must decide nothing all the same.
            let plan = self.coordinators[c].controller.tick(now);
            if !plan.decisions.is_empty() {
                self.violate(
                    Invariant::OnlyTheLeader,
                    format!("{} does not lead, and decides {:?}", name(c), plan.decisions),
                );
            }
            return;
        }
        let holder = self.holder_of_lease(c);
        let reaches = self.net.coordinator_redis(c, self.now);
        let holds = reaches && self.ledger.is_held_by(holder, self.now);
        let answer_lost = holds && !self.is_calm && self.rng.per_mille(self.setup.calls.save_answer_lost);
        let stalls = holds && !self.is_calm && self.rng.per_mille(self.setup.calls.stall_before_execution);
        let before: Option<(Controller, Shadow)> = (!holds || answer_lost || stalls)
            .then(|| (self.coordinators[c].controller.clone(), self.coordinators[c].shadow.clone()));
        let plan = self.coordinators[c].controller.tick(now);
        self.met(Met::Tick);
        // What cannot be saved is undone: a leader that has been deposed and does not know it yet may think what it likes.
        if holds {
            self.check_plan(c, &plan);
            self.tick_again(c, now, &plan);
            self.check_state(c);
        }
        let crashes = !plan.decisions.is_empty() && !self.is_calm && self.rng.per_mille(self.setup.calls.crash);
        if crashes && self.rng.one_in(3) {
            return self.coordinator_crashes(c, Met::CrashBeforeSave);
        }
        if !holds {
            return self.not_saved(c, before, reaches);
        }
        let kept = if answer_lost {
            // Its writer goes on as if nothing had been written.
            Kept::State(Box::new(self.coordinators[c].controller.state().clone()))
        } else {
            self.journal_tick(c, now)
        };
        let (epoch, shadow) = (self.coordinators[c].epoch, &self.coordinators[c].shadow);
        match &mut self.ledger.saved {
            // What it holds already is used again: this happens at each tick.
            Some(saved) => {
                (saved.kept, saved.epoch) = (kept, epoch);
                saved.shadow.clone_from(shadow);
            }
            None => self.ledger.saved = Some(Saved { kept, epoch, shadow: shadow.clone() }),
        }
        if answer_lost {
            self.met(Met::SaveAnswerLost);
            say!(self, "{}: the answer to its save is lost", name(c));
            return self.undo(c, before);
        }
        if crashes && self.rng.one_in(2) {
            return self.coordinator_crashes(c, Met::CrashAfterSave);
        }
        if crashes {
            // Some of it happens; at the least nothing, at the most all.
            let some = self.rng.below(plan.decisions.len() as u64 + 1) as usize;
            let decisions: Vec<Planned> = plan.decisions.into_iter().take(some).collect();
            self.execute(c, &Plan { at: plan.at, decisions, ..Plan::default() });
            return self.coordinator_crashes(c, Met::CrashInside);
        }
        if plan.decisions.is_empty() {
            return;
        }
        if stalls {
            let until = self.now + self.rng.between(1, 40) * SECOND;
            self.renews_no_longer(c);
            self.coordinators[c].stands_still_until = until;
            self.met(Met::StallBeforeExecution);
            say!(self, "{} stands still between save and execution", name(c));
            let lease = self.coordinators[c].lease.map_or(0, |(until, _)| until);
            let saved = SavedPlan { plan, before, lease };
            return self.put_coordinator(c, until, CoordinatorEv::Execute(Box::new(saved)));
        }
        self.execute(c, &plan);
    }

    /// It goes on after its save. By its own clock the lease may be over: then nothing of it is done.
    pub(super) fn executes_late(&mut self, c: C, saved: SavedPlan) {
        let SavedPlan { plan, before, lease } = saved;
        if self.now < lease {
            return self.execute(c, &plan);
        }
        self.met(Met::ExecutionForgone);
        say!(self, "{}: its lease is over, nothing of its plan is done", name(c));
        self.undo(c, before);
        self.coordinators[c].tick_due = true;
    }

    /// Invariant 9. After a tick that decided nothing few are tried, for their time.
    fn tick_again(&mut self, c: C, now: Timestamp, plan: &Plan) {
        if plan.decisions.is_empty() && !self.rng.one_in(8) {
            return;
        }
        let again = self.coordinators[c].controller.tick(now);
        if !again.decisions.is_empty() {
            self.violate(Invariant::NothingNew, format!("a second tick decides {:?}", again.decisions));
        }
    }

    fn not_saved(&mut self, c: C, before: Option<(Controller, Shadow)>, reaches: bool) {
        self.met(Met::SaveFailed);
        self.undo(c, before);
        if reaches {
            // The lease was another's, or was wiped.
            self.stands_by(c);
            self.coordinators[c].tick_due = false;
        }
    }

    fn undo(&mut self, c: C, before: Option<(Controller, Shadow)>) {
        if let Some((controller, shadow)) = before {
            self.coordinators[c].controller = controller;
            self.coordinators[c].shadow = shadow;
        }
    }
}
