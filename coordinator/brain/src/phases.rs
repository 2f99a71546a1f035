//! What ends each phase of an instance's life, by an event or by the time: one file for each phase, with a deadline
//! that is enforced. A phase is drawn where it is defined, in `phase`.

pub(crate) mod booting;
pub(crate) mod draining;
pub(crate) mod gone;
pub(crate) mod launching;
pub(crate) mod ready;
pub(crate) mod terminating;
