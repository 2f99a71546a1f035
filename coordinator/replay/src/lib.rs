//! What a policy would have cost, and how long jobs would have waited: arrivals that were recorded are replayed in a
//! model of the primary, of instances and of EC2. Spillway's own policies are decided by `spillway-brain`, the object
//! that decides in production; what others do is computed by their formulas.
//!
//! ```text
//!   trace      arrivals and durations, from CSV
//!   model      the machines: slots, boots, the cap
//!   world      the queue and the workers, from event to event
//!   policy     who decides: the brain, or a formula
//!   bound      what nobody can go below, nearly
//!   outcome    a policy's row
//! ```
//!
//! The crate has no clock and no I/O: the same trace, model and policy give the same outcome, to the last digit.

pub mod bound;
mod model;
mod outcome;
mod policy;
mod trace;
mod world;

pub use model::Model;
pub use outcome::{Outcome, replay};
pub use policy::{AWS_IDLE, BUILDKITE_IDLE, KEDA_IDLE, Policy};
pub use spillway_brain::{Step, Steps, Wait};
pub use trace::{Job, WrongTrace, parse};
