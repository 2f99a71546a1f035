//! The agent's own life, as a synchronous state machine: what happens is an [`Event`], what to do about it an
//! [`Action`].
//!
//! ```text
//!              identified             steps done              proof holds
//!   (start) ──────────────► Booting ──────────────► Proving ──────────────► Ready
//!                             │  ▲                    │  ▲                    │
//!      no retry is left       │  │       crash loop   │  └──── proof lost ────┤ worker restarted
//!            Failed ◄─────────┴──┼────────────────────┘                       │
//!              │                 │                                            │
//!              │ Drain           │ cancelled            Drain, or the notice  │ (from any phase)
//!              └────────────► Draining ◄──────────────────────────────────────┘
//!                                │ worker stopped, nothing of it left, its jobs finished or handed back
//!                                ▼
//!                             Drained
//! ```
//!
//! A drain's own course is drawn in `drain`. It owns every decision on steps, readiness, drain and reconnection. It
//! never reads a clock (time is handed in), does no I/O, logs nothing, and draws its jitter from a seed: the same
//! events give the same actions.

mod config;
mod connection;
mod dead_man;
mod drain;
mod durations;
mod event;
mod machine;
mod readiness;
mod shims;
mod time;

pub use config::{Config, DrainSignal};
pub use dead_man::LastReason;
pub use drain::{Drain, Stage};
pub use event::{
    Action, Command, Doing, DrainOutcome, Event, Evidence, Graceful, Jobs, Observation, Refusal, Report, Server,
    ShimJob, ShimProcess, ShimWorker, StepOutcome, Worker,
};
pub use machine::{Failure, Machine, Phase};
pub use readiness::Missing;
pub use time::{Timestamp, agreed, when_reclaimed};
