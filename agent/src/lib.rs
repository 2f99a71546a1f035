//! The agent on a spot instance: identify → register → boot → prove → check → drain.
//!
//! Every decision is `spillway-machine`'s; this crate performs its actions and reports events to it. [`agent`] is the
//! loop between the two, the other modules are its I/O.

pub mod agent;
pub mod boot;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod identity;
pub mod image;
pub mod imds;
pub mod lockfile;
pub mod mask;
pub mod report;
pub mod saved;
pub mod secret;
pub mod session;
pub mod shim;
pub mod tls;
pub mod vitals;
pub mod worker;
