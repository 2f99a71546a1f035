//! The decisions of Spillway, pure: what happened goes in as [`Event`]s, what to do comes out as a [`Plan`] of
//! [`Decision`]s, each with its [`Reason`], and [`Note`]s that say why nothing more and nothing less was decided.
//!
//! ```text
//!   Event ──► Controller::handle(now, event)      what happened: observations, answers, reports
//!   clock ──► Controller::tick(now) ──► Plan      what to do about it
//!                 ▲                       │
//!                 └── the outcome of a decision comes back as an Event
//! ```
//!
//! The crate has no clock, no I/O, no async and no logs; the same object runs in production, in the simulator and in
//! replay. One [`Controller`] decides for one pool. Its [`State`] is `Serialize`: the shell keeps it in the ledger
//! before it acts on a plan, so that a restart forgets nothing and a launch token is never lost.
//!
//! What must always hold is listed in the README's architecture section; the code refers to it as *invariant N*.

mod breaker;
mod config;
mod controller;
mod decision;
mod event;
mod hand_back;
mod instance;
mod listing;
mod phases;
mod policy;
mod refusal;
mod state;
mod time;
mod words;

pub use breaker::Breaker;
pub use config::{Config, OnRebalance, Step, Steps};
pub use controller::Controller;
pub use decision::{AlertKind, Decision, Note, Plan, Planned, Reason, WorksOn};
pub use event::{
    AgentPhase, Backlog, Ec2State, Event, JobsByInstance, LaunchAnswer, Listed, QueueBacklog, RefusalClass, Report,
};
pub use hand_back::{HandBack, Next};
pub use instance::{DrainCause, Instance, InstanceId, LaunchToken, Phase, Rebalance};
pub use state::{Counts, State};
pub use time::Timestamp;
pub use words::in_words;
