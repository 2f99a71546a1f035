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
//! ```text
//!   controller     what each event does (handle), what time does (tick), what operators may ask (operator)
//!   capacity       how many instances: the policy (steps, wait), scale_out, scale_in, rebalance, drill
//!   phases         one instance's life, one file a phase: what ends it, by an event or by the time
//!   state          what is known of the pool; under it data that calls nobody above it
//! ```
//!
//! Arrows point down in this list. What must always hold is listed in the architecture page; the code refers to it as
//! *invariant N*, and a debug build checks it at the end of each tick.

mod backlog;
mod backoff;
mod breaker;
mod capacity;
mod config;
mod controller;
mod drill;
mod early_ends;
mod ending;
mod event;
mod floor;
mod forecast;
mod hand_back;
mod id;
mod instance;
mod late_start;
mod launch_image;
mod measures;
mod note;
mod or_empty;
mod phase;
mod phases;
mod plan;
mod proven_images;
mod reason;
mod refusal;
mod refusal_class;
mod scheduled;
mod state;
mod state_reason;
mod stepped;
mod stranger;
mod sustain;
mod time;
mod words;
mod work;

pub use backlog::{Backlog, JobsByInstance, QueueBacklog, RateLimit};
pub use breaker::Breaker;
pub use config::{Config, OnDrift, OnRebalance, Step, Steps, Wait};
pub use controller::{Cleared, Controller, NoDrill, Rejection, Resumed};
pub use drill::{Drill, Outcome, Stays, Times, Tried};
pub use early_ends::{EARLY, EarlyEnds};
pub use event::{AgentPhase, Ec2State, Event, LaunchAnswer, Listed, Report};
pub use floor::Floor;
pub use hand_back::{HandBack, Next, Suspect};
pub use id::{InstanceId, LaunchToken};
pub use instance::{Instance, NotTerminated, Owed, Rebalance, SaidByAgent, SaidByEc2};
pub use late_start::LateStart;
pub use launch_image::LaunchImage;
pub use note::{Note, WorksOn};
pub use phase::{DrainCause, Phase, PhaseKind};
pub use phases::draining::when_reclaimed;
pub use phases::gone::GONE_KEPT;
pub use plan::{AlertKind, Decision, Plan, Planned};
pub use proven_images::{NeverRan, ProvenImages};
pub use reason::Reason;
pub use refusal::Refusal;
pub use refusal_class::RefusalClass;
pub use scheduled::{Schedule, ScheduledEvent};
pub use state::{Counts, State, Window};
pub use state_reason::StateReason;
pub use stranger::Stranger;
pub use time::Timestamp;
pub use words::in_words;
pub use work::{Finished, Running, Waiting, Work};
