//! Where an instance is in its life.
//!
//! ```text
//!            intent persisted   accepted by EC2     worker proved       scale in / notice        jobs gone
//!   (none) ───────────────► Launching ───────► Booting ───────► Ready ───────────► Draining ───────► Terminating ──► Gone
//!                               │                 ▲ └─ boot failed or past its deadline ─┘ │             ▲
//!                               │                 └──────────── drain cancelled ───────────┘             │
//!                               └── refused, or never seen by EC2 ──────────────────────────────────► Gone
//! ```
//!
//! Busy, stale and interrupted are conditions of an instance, not phases. Only EC2's own word makes it Gone: a
//! refusal, `terminated`, or absence from its list for longer than the consistency grace, while its agent is silent.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Where an instance is in its life; each phase but Ready and Gone has a deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The intent is persisted and the call is made, or made again at `next_try`.
    Launching {
        attempts: u32,
        /// When the call is to be made (again); None while an answer is awaited.
        next_try: Option<Timestamp>,
        last_try: Timestamp,
        deadline: Timestamp,
    },
    /// EC2 accepted it; the worker has not yet proved itself.
    Booting {
        deadline: Timestamp,
    },
    Ready,
    /// Fenced: takes no new job.
    Draining {
        cause: DrainCause,
        deadline: Timestamp,
        /// When the agent said that the worker is stopped.
        drained_at: Option<Timestamp>,
    },
    /// TerminateInstances is decided, and made again at `next_try` until EC2 shows it.
    Terminating {
        attempts: u32,
        next_try: Timestamp,
    },
    Gone,
}

impl Phase {
    pub fn kind(&self) -> PhaseKind {
        match self {
            Phase::Launching { .. } => PhaseKind::Launching,
            Phase::Booting { .. } => PhaseKind::Booting,
            Phase::Ready => PhaseKind::Ready,
            Phase::Draining { .. } => PhaseKind::Draining,
            Phase::Terminating { .. } => PhaseKind::Terminating,
            Phase::Gone => PhaseKind::Gone,
        }
    }
}

/// A phase without its deadlines and attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PhaseKind {
    Launching,
    Booting,
    Ready,
    Draining,
    Terminating,
    Gone,
}

impl PhaseKind {
    /// As the interfaces write it.
    pub fn as_str(self) -> &'static str {
        match self {
            PhaseKind::Launching => "launching",
            PhaseKind::Booting => "booting",
            PhaseKind::Ready => "ready",
            PhaseKind::Draining => "draining",
            PhaseKind::Terminating => "terminating",
            PhaseKind::Gone => "gone",
        }
    }

    /// An operator may drain it, or have it rehearse an interruption.
    pub fn can_be_drained(self) -> bool {
        matches!(self, PhaseKind::Booting | PhaseKind::Ready)
    }
}

impl fmt::Display for PhaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an instance is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainCause {
    ScaleIn,
    /// EC2 reclaims it, by an interruption notice.
    Interruption,
    BootFailed,
    /// No heartbeat from its agent for too long.
    AgentLost,
    /// Its agent ends it, as at `max_life`.
    Agent,
    Operator,
    /// EC2 recommends a rebalance.
    Rebalance,
    /// The queues have been unknown for too long, and its agent says that it holds no job.
    QueuesUnknown,
    /// EC2 has scheduled an event that ends or interrupts it.
    ScheduledEvent,
    /// It takes no job although some wait.
    TakesNoJob,
    /// Two agents have proved to be it.
    TwoAgents,
    /// It was launched for a drill, which is over.
    Drill,
    /// Launches take another image.
    Drift,
}

impl DrainCause {
    /// As metrics write it.
    pub fn as_str(self) -> &'static str {
        match self {
            DrainCause::ScaleIn => "scale_in",
            DrainCause::Interruption => "interruption",
            DrainCause::BootFailed => "boot_failed",
            DrainCause::AgentLost => "agent_lost",
            DrainCause::Agent => "agent",
            DrainCause::Operator => "operator",
            DrainCause::Rebalance => "rebalance",
            DrainCause::QueuesUnknown => "queues_unknown",
            DrainCause::ScheduledEvent => "scheduled_event",
            DrainCause::TakesNoJob => "takes_no_job",
            DrainCause::TwoAgents => "two_agents",
            DrainCause::Drill => "drill",
            DrainCause::Drift => "drift",
        }
    }

    pub fn in_words(self) -> &'static str {
        match self {
            DrainCause::ScaleIn => "scale-in",
            DrainCause::Interruption => "interruption",
            DrainCause::BootFailed => "failed boot",
            DrainCause::AgentLost => "lost agent",
            DrainCause::Agent => "agent",
            DrainCause::Operator => "operator",
            DrainCause::Rebalance => "rebalance recommendation",
            DrainCause::QueuesUnknown => "queues unknown",
            DrainCause::ScheduledEvent => "scheduled event",
            DrainCause::TakesNoJob => "no job taken",
            DrainCause::TwoAgents => "two agents",
            DrainCause::Drill => "drill",
            DrainCause::Drift => "another image",
        }
    }
}
