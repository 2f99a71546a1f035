//! Instances interrupted at random moments while their workers work, and what became of every job. The application is an
//! unmodified BullMQ worker; its own record of runs and BullMQ's stream of events are what is counted.

mod arena;
mod tally;

pub use arena::{NOTICES, Options, interrupt, scale_in};
pub use tally::{Interruption, Row, Tally};
