//! Taking over: the lease is held, and what the ledger has becomes what is known.

use std::time::Duration;

use spillway_brain::{Controller, Event, Plan};

use super::Pool;
use crate::changes::Changes;
use crate::clock::TOLERATED_MS;
use crate::journal::Journal;
use crate::{Effect, Happening, Now, SavedState};

/// Until the ledger is asked again that could not be read.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// In which epoch it leads, or is about to.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    /// In which it leads, or led last.
    epoch: u64,
    /// Whose saved state the controller holds: an unchanged ledger need not be read again.
    loaded_epoch: Option<u64>,
    /// That is to be led, or is; None as a standby. What was read for another comes too late.
    leads_in: Option<u64>,
    /// When the ledger is asked again, by `Now::up`.
    load_at: Option<Duration>,
}

impl Leadership {
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn load_at(&self) -> Option<Duration> {
        self.load_at
    }

    pub(super) fn loads_again(&mut self, up: Duration) -> Option<Effect> {
        self.load_at.take_if(|at| *at <= up)?;
        Some(Effect::Load { epoch: self.leads_in? })
    }
}

impl Pool {
    /// The lease is held in this epoch. Without the ledger nothing is decided: unknown is not empty.
    pub(super) fn lead(&mut self, now: Now, epoch: u64) {
        if self.is_leader() && epoch != self.leadership.epoch {
            // Another may have led in between: what it wrote comes first.
            self.leads_no_longer(now);
        }
        self.leadership.leads_in = Some(epoch);
        self.leadership.load_at = None;
        self.effects.push_back(Effect::Load { epoch });
    }

    pub(super) fn stand_by(&mut self, now: Now) {
        self.leadership.leads_in = None;
        self.leadership.load_at = None;
        // Whoever leads now saves.
        self.ledger_problem = None;
        self.happened(Happening::LeadsNoLonger);
        self.leads_no_longer(now);
    }

    pub(super) fn leads_no_longer(&mut self, now: Now) {
        self.tell(now, Event::LeadershipLost);
        self.journal = None;
        self.changes = None;
    }

    pub(super) fn loaded(&mut self, now: Now, epoch: u64, saved: Option<SavedState>, plans: Vec<Plan>) {
        if self.leadership.leads_in != Some(epoch) {
            return;
        }
        self.ledger_problem = None;
        match saved {
            // Nobody wrote since this process did: what it knows is newer.
            Some(saved) if self.leadership.loaded_epoch == Some(saved.epoch) => {}
            Some(SavedState { state, ahead_ms, .. }) => {
                self.happened(Happening::LedgerRead { instances: state.instances().count() });
                self.controller = Controller::restore(self.config().clone(), *state);
                if ahead_ms.unsigned_abs() > TOLERATED_MS {
                    self.happened(Happening::ClockStepped { by_ms: ahead_ms, is_elsewhen: true });
                    self.controller.handle(self.time(now), Event::ClockStepped { by_ms: ahead_ms });
                }
                self.controller.handle(self.time(now), Event::Started);
                if !plans.is_empty() {
                    self.history.restore(plans);
                }
            }
            None => self.happened(Happening::NoLedgerYet),
        }
        self.leadership.epoch = epoch;
        self.leadership.loaded_epoch = Some(epoch);
        self.changes = Some(Changes::since(self.time(now), self.state()));
        self.tell(now, Event::LeadershipGained);
        // Nothing is decided before EC2 has been listed anew.
        self.schedule.lists_anew(now.up);
        self.journal = Some(Journal::begin(self.state()));
        self.happened(Happening::Leads { epoch });
    }

    pub(super) fn not_loaded(&mut self, now: Now, epoch: u64, problem: String) {
        if self.leadership.leads_in != Some(epoch) {
            return;
        }
        self.ledger_unreadable(problem);
        // The lease is renewed meanwhile.
        self.leadership.load_at = Some(now.up + AGAIN_AFTER);
    }

    pub(super) fn ledger_refused(&mut self, problem: Option<String>) {
        match problem {
            // What is led was read.
            _ if self.is_leader() => {}
            Some(problem) => self.ledger_unreadable(problem),
            None => self.ledger_problem = None,
        }
    }

    /// Told once, until it is another: it is read again each second.
    fn ledger_unreadable(&mut self, problem: String) {
        if self.ledger_problem.as_ref() != Some(&problem) {
            self.happened(Happening::LedgerUnreadable { problem: problem.clone() });
        }
        self.ledger_problem = Some(problem);
    }
}
