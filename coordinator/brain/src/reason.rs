//! Why a decision was taken, and the sentences that say so.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{Ec2State, RefusalClass};
use crate::id::InstanceId;
use crate::phase::DrainCause;
use crate::time::Timestamp;
use crate::words::{counted, in_words};

/// Why a decision was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    BelowDesired {
        demand: u64,
        desired: u32,
        ready: u32,
        on_the_way: u32,
    },
    LaunchUnanswered {
        attempt: u32,
    },
    ScaleIn {
        desired: u32,
        idle: bool,
    },
    Interrupted {
        at: Timestamp,
        left: Duration,
    },
    BootFailed {
        #[serde(with = "crate::or_empty")]
        detail: Option<String>,
    },
    BootDeadline {
        after: Duration,
        #[serde(with = "crate::or_empty")]
        detail: Option<String>,
    },
    AgentLost {
        silent: Duration,
    },
    AgentDrains {
        #[serde(with = "crate::or_empty")]
        detail: Option<String>,
    },
    Stopped {
        state: Ec2State,
    },
    OperatorAsked {
        #[serde(with = "crate::or_empty")]
        reason: Option<String>,
    },
    DemandReturned {
        demand: u64,
        desired: u32,
    },
    ToldAgain {
        cause: DrainCause,
    },
    Drained {
        cause: DrainCause,
    },
    NoAgentNoJob {
        cause: DrainCause,
    },
    DrainOverdue {
        by: Duration,
    },
    TerminateAgain {
        attempt: u32,
    },
    BreakerOpened {
        failures: u32,
        until: Timestamp,
        wait: Duration,
    },
    Refused {
        class: RefusalClass,
        code: String,
        message: String,
    },
    NotOurs {
        id: InstanceId,
    },
    HandedBack {
        cause: DrainCause,
        jobs: u32,
    },
    LeftByDrain {
        jobs: u32,
    },
    Terminated,
    ShutsDown,
    Vanished,
    HandBackAgain {
        left: Option<u32>,
        #[serde(with = "crate::or_empty")]
        problem: Option<String>,
    },
    HandBackFails {
        id: InstanceId,
        detail: String,
    },
    JobsLeft {
        id: InstanceId,
        left: u32,
        span: Duration,
    },
    RebalanceRecommended,
    Replaces {
        id: InstanceId,
    },
    Replaced {
        by: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::BelowDesired { .. }
            | Reason::LaunchUnanswered { .. }
            | Reason::Refused { .. }
            | Reason::BreakerOpened { .. }
            | Reason::NotOurs { .. }
            | Reason::Replaces { .. } => self.of_launches(f),
            Reason::Drained { .. }
            | Reason::NoAgentNoJob { .. }
            | Reason::DrainOverdue { .. }
            | Reason::TerminateAgain { .. }
            | Reason::Stopped { .. }
            | Reason::HandedBack { .. } => self.of_terminations(f),
            Reason::LeftByDrain { .. }
            | Reason::Terminated
            | Reason::ShutsDown
            | Reason::Vanished
            | Reason::HandBackAgain { .. }
            | Reason::HandBackFails { .. }
            | Reason::JobsLeft { .. } => self.of_hand_backs(f),
            Reason::ScaleIn { .. }
            | Reason::Interrupted { .. }
            | Reason::BootFailed { .. }
            | Reason::BootDeadline { .. }
            | Reason::AgentLost { .. }
            | Reason::AgentDrains { .. }
            | Reason::OperatorAsked { .. }
            | Reason::DemandReturned { .. }
            | Reason::ToldAgain { .. }
            | Reason::RebalanceRecommended
            | Reason::Replaced { .. } => self.of_drains(f),
        }
    }
}

impl Reason {
    fn of_launches(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::BelowDesired { demand, desired, ready, on_the_way } => write!(
                f,
                "{} ready to run; {} desired, {ready} ready, {on_the_way} starting",
                counted(*demand, "job"),
                counted(*desired, "instance"),
            ),
            Reason::LaunchUnanswered { attempt } => {
                write!(f, "EC2 has not answered this launch: retried with the same token (attempt {attempt})")
            }
            Reason::Refused { class: RefusalClass::Fatal, code, message } => write!(
                f,
                "EC2 refused the launch: {code}: {message}. Launching is stopped: fix it, then run `spillway resume`"
            ),
            Reason::Refused { code, message, .. } => write!(f, "EC2 refused the launch: {code}: {message}"),
            Reason::BreakerOpened { failures, wait, .. } => write!(
                f,
                "{failures} boots failed in a row: no launch for {}, then one instance is tried. `spillway status` shows \
                 the boot step that failed",
                in_words(*wait)
            ),
            Reason::NotOurs { id } => write!(
                f,
                "{id} has the pool's tag but no launch token: it counts toward max_instances and is never touched. If it \
                 is not wanted, terminate it by hand"
            ),
            Reason::Replaces { id } => {
                write!(f, "EC2 recommends a rebalance of {id}: its replacement is launched first, then it is drained")
            }
            other => write!(f, "{other:?}"),
        }
    }

    fn of_drains(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::ScaleIn { desired, idle: true } => {
                write!(f, "idle: no jobs ready to run for long enough; {} desired", counted(*desired, "instance"))
            }
            Reason::ScaleIn { desired, idle: false } => write!(f, "more instances than desired ({desired})"),
            Reason::Interrupted { left, .. } => {
                write!(f, "interruption notice: EC2 reclaims the instance in {}", in_words(*left))
            }
            Reason::BootFailed { detail: Some(detail) } => write!(f, "boot failed: {detail}"),
            Reason::BootFailed { detail: None } => f.write_str("boot failed"),
            Reason::BootDeadline { after, detail } => {
                let why = detail.as_deref().unwrap_or("its agent never registered");
                write!(f, "boot timed out: not ready {} after its launch: {why}", in_words(*after))
            }
            Reason::AgentLost { silent } => {
                write!(f, "agent lost: no heartbeat for {}, and Redis shows no job on the instance", in_words(*silent))
            }
            Reason::AgentDrains { detail: Some(detail) } => write!(f, "its agent began to drain by itself: {detail}"),
            Reason::AgentDrains { detail: None } => f.write_str("its agent began to drain by itself"),
            Reason::OperatorAsked { reason: Some(reason) } => write!(f, "requested by an operator: {reason}"),
            Reason::OperatorAsked { reason: None } => f.write_str("requested by an operator"),
            Reason::DemandReturned { demand, desired } => write!(
                f,
                "{} ready to run again, {} desired: the drain is cancelled instead of booting a new instance",
                counted(*demand, "job"),
                counted(*desired, "instance")
            ),
            Reason::ToldAgain { cause } => {
                write!(f, "{}: the agent has not started to drain, so the command is sent again", cause.in_words())
            }
            Reason::RebalanceRecommended => f.write_str("EC2 recommends a rebalance: it may reclaim the instance soon"),
            Reason::Replaced { by } => write!(f, "EC2 recommends a rebalance, and the replacement {by} is ready"),
            other => write!(f, "{other:?}"),
        }
    }

    fn of_terminations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Drained { cause } => {
                write!(f, "drained ({}): agent and Redis both show no job left", cause.in_words())
            }
            Reason::NoAgentNoJob { cause } => {
                write!(f, "{}: the agent does not answer, and Redis shows no job on the instance", cause.in_words())
            }
            Reason::DrainOverdue { by } => {
                let by = in_words(*by);
                write!(f, "drain {by} past its deadline: its jobs are handed back once EC2 shows it terminated")
            }
            Reason::TerminateAgain { attempt } => {
                write!(f, "EC2 does not show it shutting down yet: terminate is retried (attempt {attempt})")
            }
            Reason::Stopped { state } => write!(f, "EC2 shows it {}: it cannot process jobs", state.as_str()),
            Reason::HandedBack { cause, jobs } => write!(
                f,
                "drained ({}): its worker is stopped, and its remaining jobs are handed back ({})",
                cause.in_words(),
                counted(*jobs, "job")
            ),
            other => write!(f, "{other:?}"),
        }
    }

    fn of_hand_backs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::LeftByDrain { jobs } => {
                write!(
                    f,
                    "its agent reports the worker stopped, and Redis still shows {}",
                    counted(*jobs, "active job")
                )
            }
            Reason::Terminated => f.write_str("EC2 shows it terminated: its active jobs are handed back"),
            Reason::ShutsDown => {
                f.write_str("EC2 is shutting it down: jobs whose locks are no longer renewed are handed back")
            }
            Reason::Vanished => {
                f.write_str("EC2 no longer lists it: jobs whose locks are no longer renewed are handed back")
            }
            Reason::HandBackAgain { problem: Some(problem), .. } => {
                write!(f, "retried: the last attempt failed: {problem}")
            }
            Reason::HandBackAgain { left: Some(left), .. } => {
                write!(f, "retried: the last attempt left {}", counted(*left, "job"))
            }
            Reason::HandBackAgain { .. } => f.write_str("retried: the last attempt was not answered"),
            Reason::HandBackFails { id, detail } => write!(
                f,
                "cannot hand back the jobs of {id}: {detail}. BullMQ's stall check requeues them unless this is fixed first"
            ),
            Reason::JobsLeft { id, left, span } => write!(
                f,
                "{} of {id} still active {} after it ended: something renews their locks. No more attempts; look for a \
                 worker that still runs under that name",
                counted(*left, "job"),
                in_words(*span)
            ),
            other => write!(f, "{other:?}"),
        }
    }
}
