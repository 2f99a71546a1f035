//! Save before act: a tick's plan is carried out once the ledger has it, under a lease that is not over. Otherwise the
//! tick is undone: what is not in the ledger does not happen, nor does what is there for whoever leads now.

use std::sync::Arc;

use spillway_brain::{Decision, Plan, Planned};

use super::Pool;
use crate::{Attempt, Command, Effect, Happening, Now, Save, Saved};

/// Notes kept of a plan that was undone.
const NOTES_KEPT: usize = 8;
/// This process, or its machine, stood still after it asked for the save.
const TOO_LATE: &str = "the lease ran out while the plan was saved: this coordinator stood still";

/// A plan on its way into the ledger.
#[derive(Debug)]
pub(super) struct Saving {
    plan: Arc<Plan>,
    is_recorded: bool,
}

impl Pool {
    pub(super) fn tick(&mut self, now: Now) {
        self.tick_due = false;
        self.ticked = now.up;
        if !self.is_leader() {
            return;
        }
        let at = self.time(now);
        let plan = Arc::new(self.controller.tick(at));
        if let Some(journal) = &mut self.journal {
            journal.ticked(at);
        }
        let is_recorded = self.history.is_recorded(&plan, self.state(), self.config().interval);
        self.saving = Some(Saving { plan: Arc::clone(&plan), is_recorded });
        self.effects.push_back(Effect::Save(Save { epoch: self.epoch(), plan: Some(plan), is_recorded }));
    }

    /// What is known is saved once more. What is under way at EC2 is answered to the next leader: its tokens are saved.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        // Nothing is done any more; who asked for what is still told.
        self.effects.retain(|effect| matches!(effect, Effect::Reply { .. } | Effect::Happened(_)));
        if self.is_leader() {
            self.effects.push_back(Effect::Save(Save { epoch: self.epoch(), plan: None, is_recorded: false }));
        }
    }

    pub(super) fn saved(&mut self, now: Now, saved: Saved) {
        let Some(saving) = self.saving.take() else { return };
        // A ledger that answers slowly must not make for tick after tick: whatever else happens has its turn in
        // between.
        self.ticked = now.up;
        match saved {
            Saved::Until(until) if now.up < until => self.acts(now, saving),
            Saved::Until(_) => {
                self.undo(saving, TOO_LATE.to_owned());
                // The next save tells who leads.
                self.tick_due = true;
            }
            Saved::NotLeader { problem } => {
                self.undo(saving, problem);
                self.leads_no_longer(now);
            }
            Saved::Failed { problem } => self.undo(saving, problem),
        }
    }

    fn acts(&mut self, now: Now, saving: Saving) {
        let Saving { plan, is_recorded } = saving;
        self.ledger_problem = None;
        self.ticked_at = Some(plan.at);
        if let Some(journal) = &mut self.journal {
            journal.saved(self.controller.state());
        }
        if is_recorded {
            self.history.recorded(&plan, self.controller.state());
        }
        if let Some(changes) = &mut self.changes {
            let happenings = changes.tell(plan.at, self.controller.state(), self.controller.config(), &plan);
            self.effects.extend(happenings.into_iter().map(Effect::Happened));
        }
        for planned in &plan.decisions {
            self.effects.push_back(Effect::Decided(planned.clone()));
            self.act(now, planned);
        }
        self.history.push(plan);
    }

    fn act(&mut self, now: Now, planned: &Planned) {
        let epoch = self.epoch();
        let effect = match planned.decision.clone() {
            Decision::Launch { token } => Effect::Launch { token },
            Decision::Terminate { id } => Effect::Terminate { id },
            Decision::Drain { id, deadline } => {
                let (left, reason) = (self.time(now).until(deadline), planned.reason.to_string());
                Effect::Command { id, epoch, command: Command::Drain { deadline, left, reason } }
            }
            Decision::CancelDrain { id } => Effect::Command { id, epoch, command: Command::CancelDrain },
            Decision::PowerOff { id } => {
                let reason = planned.reason.to_string();
                Effect::Command { id, epoch, command: Command::PowerOff { reason } }
            }
            Decision::HandBack { id, certain, sudden } => {
                let before = self.looks.take(&id, certain);
                Effect::HandBack(Attempt::new(id, (certain, sudden), before))
            }
            Decision::Alert { .. } => return,
        };
        self.effects.push_back(effect);
    }

    fn undo(&mut self, saving: Saving, problem: String) {
        let Saving { plan, .. } = saving;
        if let Some(journal) = &mut self.journal {
            self.controller = journal.undo(self.controller.config());
        }
        if self.ledger_problem.is_none() {
            self.happened(Happening::LedgerUnwritable { problem: problem.clone() });
        }
        self.ledger_problem = Some(problem);
        self.ticked_at = Some(plan.at);
        let notes = plan.notes.iter().take(NOTES_KEPT).cloned().collect();
        self.history.push(Arc::new(Plan { decisions: Vec::new(), notes, ..Plan::clone(&plan) }));
    }
}
