//! The coordinator of Spillway: observes the queues and EC2, has the brain decide, acts, and serves agents and
//! operators.
//!
//! `run` starts everything; `reconcile` is one I/O loop for each pool. Dependencies point one way: `reconcile` uses
//! `queue`, `hand_back`, `cloud`, `ledger` and `agents`; `rpc` and `web` show what it publishes, and pass it what
//! agents and operators send. The text and the JSON that `web` shows are made elsewhere, and passed to `run`.

pub mod acl;
pub mod agents;
pub mod bake;
pub mod beside;
mod checkout;
pub mod clock;
pub mod cloud;
pub mod config;
pub mod doctor;
pub mod doors;
mod fleet;
pub mod hand_back;
pub mod installation;
mod leading;
pub mod ledger;
pub mod notify;
pub mod operators;
pub mod pools;
pub mod prices;
pub mod queue;
pub mod reconcile;
pub mod record;
pub mod redis_client;
pub mod registration;
mod requests;
mod retire;
pub mod rpc;
pub mod run;
mod settling;
pub mod telemetry;
pub mod tls;
pub mod view;
pub mod web;
pub mod wire_time;

/// This coordinator's, as agents and operators are told it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
