//! Spillway in a virtual world: the real [`spillway_brain::Controller`] and a real [`spillway_machine::Machine`] for each
//! instance, between an EC2, a BullMQ, a Redis and a network that fail in every way that a seed draws.

mod agenda;
mod agent;
mod bull;
pub mod clock;
mod cloud;
mod coordinator;
pub mod counts;
mod ending;
mod faults;
mod ledger;
mod load;
pub mod mutants;
mod net;
pub mod report;
mod rng;
mod setup;
mod skip;
pub mod sweep;
mod trace;
pub mod watch;
mod world;

pub use trace::Keep;
pub use world::Outcome;

/// One life.
pub fn live(seed: u64, fault_time: u64, keep: Keep) -> Outcome {
    world::World::new(seed, keep).live(fault_time)
}

/// An answer that found no way back.
fn cloud_refused(event: spillway_brain::Event) -> spillway_brain::Event {
    use spillway_brain::{Event, LaunchAnswer, RefusalClass};
    let code = "NoAnswer".to_owned();
    match event {
        Event::LaunchAnswered { token, .. } => Event::LaunchAnswered {
            token,
            answer: LaunchAnswer::Refused { class: RefusalClass::Retry, code, message: String::new() },
        },
        Event::TerminateAccepted { id } => Event::TerminateFailed { id, class: RefusalClass::Retry, code },
        other => other,
    }
}
