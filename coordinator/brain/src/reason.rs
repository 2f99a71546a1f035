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
            Reason::BelowDesired { demand, desired, ready, on_the_way } => write!(
                f,
                "{} could start; {} wanted, {ready} ready, {on_the_way} on the way",
                counted(*demand, "job"),
                counted(*desired, "instance"),
            ),
            Reason::LaunchUnanswered { attempt } => {
                write!(f, "EC2 has not answered this launch: asked again with the same token (attempt {attempt})")
            }
            Reason::ScaleIn { desired, idle: true } => {
                write!(f, "the queue has been empty for long enough; {} wanted", counted(*desired, "instance"))
            }
            Reason::ScaleIn { desired, idle: false } => {
                write!(f, "more instances than wanted ({desired})")
            }
            Reason::Interrupted { left, .. } => write!(f, "EC2 takes the instance in {}", in_words(*left)),
            Reason::BootFailed { detail: Some(detail) } => write!(f, "the boot failed: {detail}"),
            Reason::BootFailed { detail: None } => f.write_str("the boot failed"),
            Reason::BootDeadline { after, detail: None } => {
                write!(f, "not ready {} after its launch; its agent never registered", in_words(*after))
            }
            Reason::BootDeadline { after, detail: Some(detail) } => {
                write!(f, "not ready {} after its launch: {detail}", in_words(*after))
            }
            Reason::AgentDrains { detail: None } => f.write_str("its agent drains by itself"),
            Reason::AgentDrains { detail: Some(detail) } => write!(f, "its agent drains by itself: {detail}"),
            Reason::AgentLost { silent } => {
                write!(f, "its agent has been silent for {} and Redis shows no job there", in_words(*silent))
            }
            Reason::Stopped { state } => write!(f, "EC2 shows it {}: it does no work", state.as_str()),
            Reason::OperatorAsked { reason: None } => write!(f, "an operator asked for it"),
            Reason::OperatorAsked { reason: Some(reason) } => write!(f, "an operator asked for it: {reason}"),
            Reason::DemandReturned { demand, desired } => write!(
                f,
                "{} could start again and {} wanted: cheaper than a new instance",
                counted(*demand, "job"),
                counted(*desired, "instance")
            ),
            Reason::ToldAgain { cause } => {
                write!(f, "{}: the agent goes on working, so it is told again", cause.in_words())
            }
            Reason::Drained { cause } => {
                write!(f, "drained ({}): agent and Redis both show no job left", cause.in_words())
            }
            Reason::NoAgentNoJob { cause } => {
                write!(f, "{}: no agent answers, and Redis shows no job there", cause.in_words())
            }
            Reason::DrainOverdue { by } => {
                let by = in_words(*by);
                write!(f, "the drain is {by} past its deadline: its jobs are handed back once EC2 shows it terminated")
            }
            Reason::TerminateAgain { attempt } => {
                write!(f, "EC2 does not show it terminating yet: asked again (attempt {attempt})")
            }
            Reason::BreakerOpened { failures, wait, .. } => write!(
                f,
                "{failures} boots in a row failed: no launch for {}, then one instance tries; see its boot steps",
                in_words(*wait)
            ),
            Reason::Refused { class: RefusalClass::Fatal, code, message } => write!(
                f,
                "EC2 refused the launch: {code}: {message}. Launching is stopped: mend it, then `spillway resume`"
            ),
            Reason::Refused { code, message, .. } => write!(f, "EC2 refused the launch: {code}: {message}"),
            Reason::NotOurs { id } => write!(
                f,
                "{id} carries the pool's tag but no launch token: it is counted against the cap and never touched"
            ),
            Reason::HandedBack { cause, jobs } => write!(
                f,
                "drained ({}): its worker is dead, and what it left is handed back ({})",
                cause.in_words(),
                counted(*jobs, "job")
            ),
            Reason::LeftByDrain { jobs } => {
                write!(f, "its worker is stopped by its agent's word, and Redis still shows {}", counted(*jobs, "job"))
            }
            Reason::Terminated => write!(f, "EC2 shows it terminated: what it worked on goes back to wait"),
            Reason::ShutsDown => {
                write!(f, "EC2 shuts it down: jobs whose locks nobody renews go back to wait")
            }
            Reason::Vanished => {
                write!(f, "EC2 no longer lists it: jobs whose locks nobody renews go back to wait")
            }
            Reason::HandBackAgain { problem: Some(problem), .. } => {
                write!(f, "the last attempt failed: {problem}")
            }
            Reason::HandBackAgain { left: Some(left), .. } => {
                write!(f, "{} left when it was last looked at", counted(*left, "job"))
            }
            Reason::HandBackAgain { .. } => write!(f, "the last attempt was not answered"),
            Reason::HandBackFails { id, detail } => {
                write!(f, "the jobs of {id} cannot be handed back: {detail}. BullMQ's stall check has to find them")
            }
            Reason::JobsLeft { id, left, span } => write!(
                f,
                "{} of {id} left {} after its end: somebody renews their locks, and nothing more is done about them",
                counted(*left, "job"),
                in_words(*span)
            ),
            Reason::RebalanceRecommended => {
                write!(f, "EC2 recommends a rebalance: it may take the instance before long")
            }
            Reason::Replaces { id } => {
                write!(f, "EC2 recommends a rebalance of {id}: its replacement first, then it is drained")
            }
            Reason::Replaced { by } => write!(f, "{by} is ready in its place: EC2 recommends a rebalance"),
        }
    }
}
