//! A leader's journal: the state that it began with and what it was told since. The brain is pure, so that the state at any
//! save comes out again by telling it the same once more. Owns that, and nothing else looks at it.

use spillway_brain::{Controller, Event, State, Timestamp};

use crate::agenda::C;
use crate::ledger::Kept;
use crate::world::World;

/// A journal that is longer begins anew.
const LONGEST: usize = 600;

/// What changed the controller.
#[derive(Clone, Debug)]
enum Entry {
    Told(Event),
    /// A second one right after it changes nothing (invariant 9).
    Tick,
}

/// Since a state.
#[derive(Debug, Default)]
pub struct Journal {
    base: Option<Box<State>>,
    entries: Vec<(Timestamp, Entry)>,
}

impl Journal {
    pub fn told(&mut self, now: Timestamp, event: &Event) {
        if self.base.is_some() {
            self.entries.push((now, Entry::Told(event.clone())));
        }
    }

    /// From here on.
    fn begin(&mut self, state: &State) {
        self.base = Some(Box::new(state.clone()));
        self.entries.clear();
    }
}

impl World {
    /// The ledger no longer depends on what its writer remembers.
    pub(super) fn settle_ledger(&mut self) {
        let Some(saved) = &mut self.ledger.saved else { return };
        let Kept::Journal { c, entries } = saved.kept else { return };
        let journal = &self.coordinators[c].journal;
        let Some(base) = &journal.base else { return };
        let mut controller = Controller::restore(self.setup.config.clone(), (**base).clone());
        for (now, entry) in &journal.entries[..entries] {
            match entry {
                Entry::Told(event) => controller.handle(*now, event.clone()),
                Entry::Tick => drop(controller.tick(*now)),
            }
        }
        saved.kept = Kept::State(Box::new(controller.state().clone()));
    }

    pub(super) fn journal_begins(&mut self, c: C) {
        self.settle_ledger();
        let coordinator = &mut self.coordinators[c];
        coordinator.journal.begin(coordinator.controller.state());
    }

    /// What the ledger keeps after a tick that was saved.
    pub(super) fn journal_tick(&mut self, c: C, now: Timestamp) -> Kept {
        let coordinator = &mut self.coordinators[c];
        coordinator.journal.entries.push((now, Entry::Tick));
        if coordinator.journal.entries.len() > LONGEST {
            coordinator.journal.begin(coordinator.controller.state());
        }
        Kept::Journal { c, entries: coordinator.journal.entries.len() }
    }
}
