//! The controller of one pool: its settings, and what it knows. Owns the order in which things are done; what is done
//! is in `phases` and `capacity`, which only it calls.

mod agent;
mod drill;
mod hand_back;
mod handle;
mod invariants;
mod launch_image;
mod leadership;
mod listing;
mod nothing_taken;
mod operator;
mod resume;
mod strangers;
mod tick;
mod two_agents;
mod unknown;

pub use drill::NoDrill;
pub use operator::Rejection;
pub use resume::{Cleared, Resumed};

use crate::config::Config;
use crate::event::Event;
use crate::plan::Plan;
use crate::state::State;
use crate::time::Timestamp;

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

    /// Whose instances are ours. Told once, as soon as it is known.
    pub fn identify(&mut self, installation: impl Into<String>) {
        self.config.installation = installation.into();
    }

    /// What happened, at `now`.
    pub fn handle(&mut self, now: Timestamp, event: Event) {
        handle::handle(&mut self.state, now, event, &self.config);
    }

    /// What to do now. A tick after a tick with nothing new in between decides nothing (invariant 9).
    pub fn tick(&mut self, now: Timestamp) -> Plan {
        tick::tick(&mut self.state, now, &self.config)
    }

    /// When a tick is due although nothing happens: hand-backs are retried by the time. None: not before something
    /// happens.
    pub fn due_at(&self) -> Option<Timestamp> {
        tick::due_at(&self.state)
    }

    /// Whether an operator's event would have an effect now, and why not. Any other event is `NotAnOperators`.
    pub fn check_operator(&self, now: Timestamp, event: &Event) -> Result<(), Rejection> {
        operator::check(&self.state, now, event, &self.config)
    }

    /// What an operator's resume at `now` would come to.
    pub fn would_resume(&self, now: Timestamp) -> Resumed {
        resume::would(&self.state, now, &self.config)
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn state(&self) -> &State {
        &self.state
    }
}
