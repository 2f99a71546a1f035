//! One pool's loop without I/O: what happened goes in as an [`Input`], what to do comes out as [`Effect`]s, whose
//! outcomes come back as inputs. The daemon performs the effects on Redis, EC2 and agents; the simulator performs the
//! same effects in a virtual world that fails.
//!
//! ```text
//!   Input ──► Pool::handle(now, input)                 observed, listed, answered, leading, saved, from agents, operators
//!   clock ──► Pool::poll(now) ──► Effect               observe, list, load, save; and only after the save: launch, drain …
//!             Pool::next_deadline(now)                 when to poll although nothing happened
//! ```
//!
//! `poll` gives one effect at a time: the outcome of one that is answered at once goes in before the next comes out.
//!
//! The crate decides *when* and *whether*; *what* to do with instances is `spillway-brain`'s. It owns:
//!
//! | module | |
//! |---|---|
//! | `pool` | the loop: what makes a tick due, and the order of things |
//! | `pool::tick` | save before act; the undo of a tick that was not saved, or saved too late |
//! | `pool::leadership` | taking over from the ledger; epochs |
//! | `journal` | what was told since a state, for the undo |
//! | `clock` | the time that the brain is told, and what a wall clock that is set does to it |
//! | `schedule` | observations, and listings with their back-off |
//! | `lease` | how long the leader lease lasts, and what an attempt to renew it means |
//! | `hand_back` | attempts to hand back an instance's jobs, and what earlier ones saw |
//! | `operator` | what an operator may ask for, and the answer |
//! | `admission` | which agent is let in |
//! | `changes` | what has changed between two saves and is worth a line in the log |
//! | `history` | the newest plans, and which of them are recorded |

mod admission;
mod changes;
mod clock;
mod effect;
mod hand_back;
mod history;
mod input;
mod journal;
pub mod lease;
mod operator;
mod pool;
mod schedule;

use std::time::Duration;

use spillway_brain::Timestamp;

pub use admission::{Admission, NotAdmitted};
pub use clock::agreed;
pub use effect::{Command, Effect, Happening, Rehearsal, Save};
pub use hand_back::{Attempt, Looks};
pub use history::{Entry, History};
pub use input::{Asker, FromAgent, Input, Observation, Refused, Saved, SavedState};
pub use operator::{Denied, Granted, Wish};
pub use pool::Pool;

/// Both clocks, read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, which may be set at any time: only where both clocks stand together is taken from it.
    pub wall: Timestamp,
    /// By a clock that never jumps, and goes on while the machine is suspended: schedules, the lease, and what all
    /// times that the brain is told are counted by.
    pub up: Duration,
}
