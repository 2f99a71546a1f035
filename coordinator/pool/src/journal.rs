//! What was told since a state: an earlier state comes out again by telling it the same once more. Owns the undo of a
//! tick without a copy of the state before each: the copies would take half of a simulated life.

use spillway_brain::{Config, Controller, Event, State, Timestamp};

/// A longer journal begins anew: what is told again is bounded.
const LONGEST: usize = 48;

#[derive(Debug)]
enum Entry {
    Told(Timestamp, Event),
    Tick(Timestamp),
}

/// A leader's journal.
#[derive(Debug)]
pub(crate) struct Journal {
    base: State,
    /// What changed it since.
    entries: Vec<Entry>,
    /// So many of them led to the state that was saved last; None where that was before `base`.
    saved: Option<usize>,
}

impl Journal {
    /// From here on.
    pub(crate) fn begin(state: &State) -> Self {
        Journal { base: state.clone(), entries: Vec::new(), saved: None }
    }

    pub(crate) fn told(&mut self, now: Timestamp, event: &Event) {
        self.entries.push(Entry::Told(now, event.clone()));
    }

    pub(crate) fn ticked(&mut self, now: Timestamp) {
        self.entries.push(Entry::Tick(now));
    }

    /// The tick that came last is saved.
    pub(crate) fn saved(&mut self, state: &State) {
        if self.entries.len() >= LONGEST {
            *self = Journal::begin(state);
        }
        self.saved = Some(self.entries.len());
    }

    /// What was known before the tick that came last; the journal goes on from there.
    pub(crate) fn undo(&mut self, config: &Config) -> Controller {
        let before = self.after(config, self.entries.len().saturating_sub(1));
        *self = Journal::begin(before.state());
        before
    }

    /// What the last save holds, unless a tick was undone since.
    pub(crate) fn saved_state(&self, config: &Config) -> Option<Controller> {
        self.saved.map(|entries| self.after(config, entries))
    }

    fn after(&self, config: &Config, entries: usize) -> Controller {
        let mut controller = Controller::restore(config.clone(), self.base.clone());
        for entry in &self.entries[..entries] {
            match entry {
                Entry::Told(now, event) => controller.handle(*now, event.clone()),
                Entry::Tick(now) => drop(controller.tick(*now)),
            }
        }
        controller
    }
}
