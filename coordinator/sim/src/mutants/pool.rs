//! Bugs of the pool: lease, ledger, inputs and effects.

use super::list::{Mutant, bug};

pub const MUTANTS: &[Mutant] = &[
    bug(
        "acts-before-the-save",
        "a plan is carried out while it is being saved",
        "coordinator/pool/src/pool/tick.rs",
        "        self.saving = Some(Saving { plan: Arc::clone(&plan), is_recorded });\n",
        "        plan.decisions.iter().for_each(|planned| self.act(now, planned));\n        self.saving = Some(Saving { plan: Arc::clone(&plan), is_recorded });\n",
    ),
    bug(
        "lease-end-ignored",
        "a plan is carried out after the lease under which it was saved",
        "coordinator/pool/src/pool/tick.rs",
        "Saved::Until(until) if now.up < until => self.acts(now, saving),",
        "Saved::Until(until) if now.up < until * 2 => self.acts(now, saving),",
    ),
    bug(
        "not-undone",
        "a tick that was not saved counts as done",
        "coordinator/pool/src/pool/tick.rs",
        "            self.controller = journal.undo(self.controller.config());\n",
        "            drop(journal.undo(self.controller.config()));\n",
    ),
    bug(
        "old-epoch-taken",
        "a new leadership keeps the epoch of the last one",
        "coordinator/pool/src/pool/leadership.rs",
        "        self.leadership.epoch = epoch;\n",
        "        self.leadership.epoch = self.leadership.loaded_epoch.unwrap_or(epoch);\n",
    ),
    bug(
        "ledger-not-read-again",
        "a leader that leads again does not load the ledger",
        "coordinator/pool/src/pool/leadership.rs",
        "Some(saved) if self.leadership.loaded_epoch == Some(saved.epoch) => {}",
        "Some(saved) if self.leadership.loaded_epoch.is_some() && saved.epoch > 0 => {}",
    ),
    bug(
        "ledger-asked-once",
        "loading the ledger is not retried",
        "coordinator/pool/src/pool/leadership.rs",
        "        self.leadership.load_at = Some(now.up + AGAIN_AFTER);\n",
        "        self.leadership.load_at = Some(now.up + AGAIN_AFTER).filter(|_| epoch == 0);\n",
    ),
    bug(
        "observation-forgotten",
        "after a failed observation there is no further one",
        "coordinator/pool/src/pool/events.rs",
        "        self.schedule.observed();\n",
        "        if answer.is_ok() {\n            self.schedule.observed();\n        }\n",
    ),
    bug(
        "no-tick-after-a-notice",
        "an interruption notice waits for the next observation",
        "coordinator/pool/src/pool.rs",
        "known.interrupted_at.is_none_or(|earlier| at < earlier) || (known.is_rehearsed && !is_rehearsal)",
        "known.interrupted_at.is_some_and(|earlier| at < earlier) || (known.is_rehearsed && !is_rehearsal)",
    ),
    bug(
        "list-back-off-ignored",
        "failed listings do not back off",
        "coordinator/pool/src/schedule.rs",
        "self.listing_interval * 2u32.pow(self.failed_listings.min(DOUBLED))",
        "self.listing_interval * 2u32.pow(self.failed_listings.min(0))",
    ),
    bug(
        "stranger-admitted",
        "any agent is admitted",
        "coordinator/pool/src/admission.rs",
        "if expected.contains(id) {",
        "if expected.contains(id) || !id.0.is_empty() {",
    ),
    bug(
        "gone-admitted",
        "the agent of an instance that is gone is admitted",
        "coordinator/pool/src/admission.rs",
        "filter(|instance| !instance.is_gone())",
        "filter(|instance| instance.id.is_some())",
    ),
    bug(
        "looks-forgotten",
        "each hand-back attempt forgets the locks that the last one saw",
        "coordinator/pool/src/hand_back.rs",
        "let look = Look::new((asked, answered), job, self.before.get(&key));",
        "let look = Look::new((asked, answered), job, self.before.get(&key).filter(|_| asked > answered));",
    ),
    bug(
        "clock-jumps",
        "the brain's times do not move with a wall clock that is set",
        "coordinator/pool/src/pool.rs",
        "            self.tell(now, Event::ClockStepped { by_ms });\n",
        "",
    ),
    bug(
        "anothers-clock",
        "a ledger that was saved by another clock is taken as of this one",
        "coordinator/pool/src/pool/leadership.rs",
        "if ahead_ms.unsigned_abs() > TOLERATED_MS {",
        "if ahead_ms.unsigned_abs() > TOLERATED_MS * 1_000_000 {",
    ),
];
