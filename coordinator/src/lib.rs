//! The coordinator of Spillway: observes the queues and EC2, lets the brain decide, acts, and answers agents and people.
//!
//! `run` puts it together; `reconcile` is its heart, one loop for each pool. The arrows point one way: `reconcile` uses
//! `queue`, `hand_back`, `cloud`, `ledger` and `agents`; `rpc` and `web` show what it publishes and hand it what they are
//! told. What people are shown is made elsewhere: `run` is handed the page for `/`.

pub mod agents;
pub mod clock;
pub mod cloud;
pub mod config;
pub mod hand_back;
pub mod ledger;
pub mod queue;
pub mod reconcile;
pub mod redis_client;
pub mod rpc;
pub mod run;
pub mod telemetry;
pub mod view;
pub mod web;
