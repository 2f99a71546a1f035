//! The controller of one pool: its settings, and what it knows.

use crate::{Config, Event, Plan, State, Timestamp};

/// Decides for one pool: events in, decisions with reasons out.
#[derive(Clone, Debug)]
pub struct Controller {
    config: Config,
    state: State,
}

impl Controller {
    /// A controller that knows nothing yet. `nonce` must differ from that of any earlier ledger of this pool: it goes
    /// into the launch tokens. At most 32 ASCII letters, digits and dashes, so that a token fits EC2's 64.
    pub fn new(config: Config, nonce: impl Into<String>) -> Self {
        Controller { config, state: State::new(nonce) }
    }

    /// Goes on from what the ledger kept. Tell it [`Event::Started`] next.
    pub fn restore(config: Config, state: State) -> Self {
        Controller { config, state }
    }

    /// What happened, at `now`.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        self.state.handle(now, event, &self.config);
    }

    /// What to do now. A tick after a tick with nothing new in between decides nothing (invariant 9).
    pub fn tick(&mut self, now: Timestamp) -> Plan {
        self.state.tick(now, &self.config)
    }

    /// When a tick is due although nothing happens: hand-backs are asked for again by the time. None: not before
    /// something happens.
    pub fn due_at(&self) -> Option<Timestamp> {
        self.state.due_at()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn state(&self) -> &State {
        &self.state
    }
}
