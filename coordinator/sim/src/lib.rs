//! Spillway in a virtual world: the real [`spillway_pool::Pool`] with its brain, and a real
//! [`spillway_machine::Machine`] for each instance, between an EC2, a BullMQ, a Redis and a network that fail as the
//! seed draws.
//!
//! ```text
//!   cargo run --release -p spillway-sim -- --seeds 0..10000 --days 3 --threads 2     a sweep; fails on any violation
//!   SEED=194 cargo run --release -p spillway-sim -- --days 0.5                       one seed, with its timeline
//!   cargo run --release -p spillway-sim -- mutants                                   deliberate bugs: each must be caught
//! ```
//!
//! A run has a phase with faults, then one without: a steady load must reach its desired capacity, then the queue must
//! become empty and every instance be terminated. The same seed gives the same run (compared by a hash over all events:
//! a sample of each sweep is run twice). A sweep of more than 50 seeds in which some kind of fault never happened fails
//! too.
//!
//! | module | what it simulates or checks |
//! |---|---|
//! | `coordinator` | a coordinator process: performs the pool's effects, late or never, and crashes anywhere in between |
//! | `agent` | an instance: operating system, agent's shell, PM2, worker processes with or without the shim |
//! | `cloud` | EC2: idempotent launches, unanswered calls, listings out of date, refusals, launches that are taken back, interruptions |
//! | `bull` | BullMQ: jobs, locks of 30 s, the stall check, hand-backs |
//! | `ledger`, `net` | the lease and the saved state; which parts cannot reach each other |
//! | `faults`, `load`, `setup` | what fails, which jobs arrive, and what the seed draws of both |
//! | `invariants` | the invariants, against the true state of the world |
//!
//! # What holds only in a weaker form
//!
//! - **1, cap**: `interrupted_counts = false` allows twice the cap, and the cap itself for those that EC2 does not
//!   reclaim. An instance whose intent was deleted with the ledger before any listing could show it is not counted;
//!   unmanaged instances count once every listing must show them (5 min), and not while lists are empty. EC2 does not
//!   carry out later what it refused in the same request.
//! - **1, nothing forgotten**: listings show an instance within the consistency grace (at most 40 s late, 50 s out of
//!   date, and hidden for 60 s), and a late request takes effect within 40 s. Where they show none of an instance, or
//!   of all at once, for longer, its agent's word keeps it; once that is silent too it could not be known.
//! - **4, fenced and without jobs**: an agent without a heartbeat for `lost_after` (or that never registered by the
//!   boot deadline) cannot be fenced: a scan of Redis alone ends its drain, and jobs that it holds regardless are
//!   handed back after its end. Two minutes past the drain's deadline an instance is terminated with its jobs, which
//!   are handed back. A worker without the shim and without a name shows nothing in Redis: there is one source only. A
//!   termination that was decided is retried whatever a restarted agent does meanwhile. A drain whose command reached
//!   no agent, because the coordinator that decided it crashed and the agent does not connect to the next one, ends
//!   regardless two minutes after a new leader starts.
//! - **4, agents that lie** (they hold no job; they are drained): they are believed where Redis agrees, and where Redis
//!   cannot be asked for twice `unknown_bound`. A hand-back looks at the locks whatever they say, so no job of theirs
//!   runs twice.
//! - **6, agents that lie about readiness**: their word counts until their worker has taken no job for five minutes in
//!   which others of the queue ran some while more waited (three intervals, if that is longer), and for as long as the
//!   pool is held. A worker without shim and name shows nothing in Redis: its agent's word counts for ever. Once such
//!   an agent drains it tells the truth.
//! - **1, cap, after a restart with a smaller `max_instances`**: what the larger one allowed ends by its drain.
//! - **5, runs once**: a job may run beside its old run if that run's worker could not renew its lock (cut off from
//!   Redis, or hung): BullMQ's own contract. No hand-back and no stall check may ever do that to a worker that renews.
//! - **5, no job lost**: BullMQ fails a job for good at its second stall; each stall here has a killed, crashed,
//!   cut-off or hung worker behind it. Without a stall check (`stall_check: false`) every job of a dead named worker
//!   must be handed back; not those of instances that a deleted ledger forgot.
//! - **5, one job does not end instance after instance**: only hand-backs by coordinators after an end that nobody
//!   announced are counted. Where a drain (decided before a list showed the end), an agent, a notice or the stall check
//!   was first, the job is back without that, as after any interruption. What is left to the stall check is its own to
//!   decide also where a run has no other (`stall_check: false`).
//! - **10, taken back**: not where the instance was told to drain before, or the ledger does not know its launch.
//! - **10, early ends**: that launches stop for `breaker_backoff` is checked from the first end of a row on, since an
//!   instance that is only missing may have been one of the row; that a try which ends early too doubles the wait, by a
//!   scenario.
//! - **6, 12, capacity**: a worker without shim and name cannot give the worker proof while all its slots are busy: in
//!   such runs the steady load only requires desired capacity.
//! - **Drills**: that one ends is checked an hour beyond its deadlines, while one coordinator leads and sees for half
//!   an hour, and not while the pool is held. A forged ledger may have a drill and not its instances.
//! - **Images**: checked against the image that the coordinator was told last, which launches may take no longer. Where
//!   EC2 lists an instance's image late, the brain waits for longer than is checked.
//! - **9**: after a tick that decided nothing one in eight is repeated.
//! - **11**: a coordinator that carries out a plan has saved it under a lease that has not expired by its own clock. A
//!   request that left then may arrive up to 40 s later. Tokens, ids and the agents' epochs make that harmless, except
//!   for a ledger that is deleted in between. That an agent rejects an older epoch is shown by
//!   `agent/machine/tests/machine/life.rs`: here a command ends with its session.
//!
//! # What is not modelled
//!
//! Agents that lie about notices; a Worker's own limiter (scenarios; the queue's is modelled); CreateFleet, prices and
//! budgets; several queues or pools; TLS and proofs of identity; clocks that drift (they are off by up to 2 s, and set
//! by up to 4 h for a while); EC2 slower than its grace; a Redis that loses BullMQ's data, or a write that it
//! acknowledged (the ledger is deleted, forged and restored); a primary that fails; a host that freezes between reading
//! its clock and sending the request; sandboxed processors; child processes that outlive their parent; the dashboard.

mod agenda;
mod agent;
mod bull;
pub mod clock;
mod cloud;
mod coordinator;
pub mod counts;
mod ending;
mod faults;
pub mod invariants;
mod ledger;
mod load;
pub mod mutants;
mod net;
mod rng;
mod setup;
mod skip;
pub mod summary;
pub mod sweep;
mod trace;
mod world;

pub use trace::Keep;
pub use world::Outcome;

/// Runs one seed: faults for `fault_time` virtual milliseconds, then none until everything has converged.
pub fn run(seed: u64, fault_time: u64, keep: Keep) -> Outcome {
    world::World::new(seed, keep).run(fault_time)
}
