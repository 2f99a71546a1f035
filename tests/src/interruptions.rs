//! Interrupts instances at random moments while their workers run jobs, and counts what became of every job. The
//! application is an unmodified BullMQ worker; what is counted is its own record of runs and BullMQ's stream of events.

mod interrupt;
mod tally;

pub use interrupt::{NOTICES, Options, interrupt, scale_in};
pub use tally::{Interruption, Row, Tally};
