//! Spillway in a virtual world: the real [`spillway_pool::Pool`] with its brain, and a real [`spillway_machine::Machine`] for each
//! instance, between an EC2, a BullMQ, a Redis and a network that fail as a seed draws.
//!
//! ```text
//!   cargo run --release -p spillway-sim -- --seeds 0..10000 --days 3 --threads 2     a sweep; fails on any violation
//!   SEED=194 cargo run --release -p spillway-sim -- --days 0.5                       one life, with its timeline
//!   cargo run --release -p spillway-sim -- mutants                                   deliberate bugs: each must be caught
//! ```
//!
//! A life has a phase of faults, then none: a steady load must find the capacity that it is owed, then the queue must empty
//! and every instance go. The same seed lives the same life (a hash over all events; a sample of each sweep is lived twice).
//! A sweep of more than 50 lives in which some kind of fault never happened fails too.
//!
//! | module | plays |
//! |---|---|
//! | `coordinator` | a coordinator's process: performs the pool's effects, late or never, and crashes anywhere in between |
//! | `agent` | an instance: operating system, agent's shell, PM2, worker processes with or without the shim |
//! | `cloud` | EC2: idempotent launches, lost answers, stale lists, refusals, interruptions |
//! | `bull` | BullMQ: jobs, locks of 30 s, the stall check, hand-backs |
//! | `ledger`, `net` | the lease and the saved state; who cannot reach whom |
//! | `faults`, `load`, `setup` | what goes wrong, what there is to do, and what the seed draws of both |
//! | `watch` | the invariants, by what the simulator knows itself |
//!
//! # What holds only in a weaker form
//!
//! - **1, cap**: `interrupted_counts = false` allows twice the cap, and the cap itself for those that EC2 does not take. An
//!   instance whose intent was wiped with the ledger before any list could show it is not counted; foreign instances count
//!   once every list must show them (5 min). EC2 does not launch later what it refused in the same request.
//! - **1, nothing forgotten**: EC2's lists show an instance within the consistency grace (at most 40 s late, 50 s stale, and
//!   hidden for 60 s), and a late request takes effect within 40 s. Beyond the grace nobody could tell.
//! - **4, fenced and empty**: an agent that cannot be heard for `lost_after` (or never registered by the boot deadline) can
//!   not be fenced: Redis' word alone ends its drain, and what it holds all the same is handed back after its end. Past the
//!   drain's deadline and two minutes an instance is terminated with its jobs, which are handed back. A worker without the
//!   shim and without a name shows nothing in Redis: one source is silent. A termination that was decided is asked for again
//!   whatever a restarted agent does meanwhile. A drain that nobody could tell its agent, because the coordinator that decided
//!   it crashed and the agent is not heard by the next one, ends all the same two minutes after somebody leads again.
//! - **5, runs once**: a job may run beside its old run where that one's worker could not renew its lock (cut off from Redis,
//!   or hung): BullMQ's own contract. No hand-back and no stall check may ever do that to a worker that renews.
//! - **5, no job lost**: BullMQ fails a job for good at its second stall; each stall here has a killed, crashed, cut-off or
//!   hung worker behind it. Where no stall check helps (`stall_check: false`) every job of a dead named worker must be handed
//!   back; not those of instances that a wiped ledger forgot.
//! - **6, 12, capacity**: a worker without shim and name cannot prove itself while all its slots are busy: in such lives the
//!   steady load only asks for desired capacity.
//! - **9**: after a tick that decided nothing one in eight is asked again.
//! - **11**: who executes has saved under a lease that is not over by its own clock. A request that left then may arrive up to
//!   40 s later. Tokens, ids and the agents' epochs make that harmless, but for a ledger that is wiped in between.
//!   That an agent refuses an older epoch is `agent/machine/tests/life.rs`'s to show: here a command dies with its session.
//!
//! # What is not modelled
//!
//! CreateFleet, prices and budgets; several queues or pools; TLS and proofs of identity; clocks off by more than 2 s, or that
//! drift; EC2 slower than its grace; a Redis that loses BullMQ's data, or forgets a write that it answered; a primary that
//! fails; a machine that stands still between a last look at its clock and the request; sandboxed processors; children that
//! outlive their process; the dashboard and what it shows.

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
