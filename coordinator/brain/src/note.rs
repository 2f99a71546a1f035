//! Why not more was decided, and why not less: what `explain` shows while nothing happens.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::RefusalClass;
use crate::id::{InstanceId, LaunchToken};
use crate::words::{counted, in_words};

/// Why not more, and why not less.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    NotLeader,
    NotObservedYet,
    ObservationFailed {
        detail: String,
    },
    ObservationStale {
        age: Duration,
    },
    NotListedYet,
    ListingFailed {
        detail: String,
    },
    ListingStale {
        age: Duration,
    },
    Held {
        #[serde(with = "crate::or_empty")]
        reason: Option<String>,
    },
    NothingWaits,
    Idle {
        over: Duration,
    },
    IdleCounting {
        since: Duration,
        of: Duration,
    },
    Sustaining {
        demand: u64,
        jobs: u64,
        instances: u32,
        since: Duration,
        of: Duration,
    },
    BelowStep {
        demand: u64,
        jobs: u64,
        desired: u32,
    },
    HighestStep {
        demand: u64,
        desired: u32,
    },
    Paused {
        waiting: u64,
    },
    ConcurrencyReached {
        queue: String,
        limit: u64,
    },
    NoDemandNoReplacement {
        desired: u32,
    },
    OnTheWay {
        count: u32,
        next_deadline: Duration,
    },
    AtCap {
        max_instances: u32,
        billing: u32,
    },
    BreakerOpen {
        failures: u32,
        left: Duration,
    },
    BreakerTries,
    BackOff {
        class: RefusalClass,
        code: String,
        message: String,
        left: Duration,
    },
    FatalRefusal {
        code: String,
        message: String,
    },
    LaunchUnseen {
        token: LaunchToken,
    },
    WaitsForDrain {
        name: String,
        jobs: Option<u32>,
        silent: bool,
    },
    SourcesDisagree {
        id: InstanceId,
        redis: u32,
    },
    RedisViewMissing {
        id: InstanceId,
    },
    AgentSilent {
        id: InstanceId,
        silent: Duration,
    },
    NotOurs {
        id: InstanceId,
    },
    HandsBack {
        id: InstanceId,
        certain: bool,
        left: Option<u32>,
        #[serde(with = "crate::or_empty")]
        problem: Option<String>,
    },
    RebalanceWaits {
        id: InstanceId,
        replacement: String,
    },
    RebalanceHeld {
        id: InstanceId,
        why: WorksOn,
    },
}

/// Why an instance that EC2 recommends to replace works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorksOn {
    NotWanted,
    OneAtATime,
    AtCap { max_instances: u32 },
    Limit { limit: u32 },
    Replacement,
}

impl fmt::Display for WorksOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorksOn::NotWanted => write!(f, "no job waits for a replacement"),
            WorksOn::OneAtATime => write!(f, "another is being replaced"),
            WorksOn::AtCap { max_instances } => {
                write!(f, "max_instances ({max_instances}) leaves no room for a replacement")
            }
            WorksOn::Limit { limit } => write!(f, "{limit} in an hour is the limit (rebalance_limit)"),
            WorksOn::Replacement => write!(f, "it is a replacement itself: another would be no better off"),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NotLeader => write!(f, "another coordinator leads: nothing is decided here"),
            Note::NotObservedYet => write!(f, "the queues have not been observed yet: unknown is not zero"),
            Note::ObservationFailed { detail } => {
                write!(f, "the queues cannot be observed ({detail}): everything holds; unknown is not zero")
            }
            Note::ObservationStale { age } => {
                write!(f, "the last observation of the queues is {} old: everything holds", in_words(*age))
            }
            Note::NotListedYet => write!(f, "EC2's instances have not been listed yet: everything holds"),
            Note::ListingFailed { detail } => {
                write!(f, "EC2's instances cannot be listed ({detail}): everything holds")
            }
            Note::ListingStale { age } => {
                write!(f, "EC2's last list is {} old: everything holds", in_words(*age))
            }
            Note::Held { reason: None } => write!(f, "an operator holds the pool: `spillway resume`"),
            Note::Held { reason: Some(reason) } => {
                write!(f, "an operator holds the pool ({reason}): `spillway resume`")
            }
            Note::NothingWaits => write!(f, "no job waits"),
            Note::Idle { over } => write!(f, "no job has waited for {}: idle", in_words(*over)),
            Note::IdleCounting { since, of } => {
                write!(f, "no job waits: idle for {} of {}", in_words(*since), in_words(*of))
            }
            Note::Sustaining { demand, jobs, instances, since, of } => write!(
                f,
                "{} could start: {jobs} or more for {} of {}, then {}",
                counted(*demand, "job"),
                in_words(*since),
                in_words(*of),
                counted(*instances, "instance")
            ),
            Note::BelowStep { demand, jobs, desired } => write!(
                f,
                "{} could start: below {jobs}, so {} as before",
                counted(*demand, "job"),
                counted(*desired, "instance")
            ),
            Note::HighestStep { demand, desired } => write!(
                f,
                "{} could start: the highest step is reached, {} wanted",
                counted(*demand, "job"),
                counted(*desired, "instance")
            ),
            Note::Paused { waiting } => {
                write!(f, "the queue is paused with {} waiting: more instances cannot help", counted(*waiting, "job"))
            }
            Note::ConcurrencyReached { queue, limit } => {
                write!(f, "the global concurrency of {queue} ({limit}) is used up: more instances cannot help")
            }
            Note::NoDemandNoReplacement { desired } => {
                write!(f, "{} wanted, but no job waits: nothing is launched for it now", counted(*desired, "instance"))
            }
            Note::OnTheWay { count, next_deadline } => {
                write!(f, "{} on the way, at most {} more", counted(*count, "instance"), in_words(*next_deadline))
            }
            Note::AtCap { max_instances, billing } => {
                write!(f, "{} may bill and max_instances is {max_instances}", counted(*billing, "instance"))
            }
            Note::BreakerOpen { failures, left } => {
                write!(f, "{failures} boots in a row failed: no launch for {}", in_words(*left))
            }
            Note::BreakerTries => write!(f, "boots failed before: one instance tries first"),
            Note::BackOff { class: RefusalClass::Retry, code, left, .. } => {
                write!(f, "EC2 answered {code}: asked again in {}", in_words(*left))
            }
            Note::BackOff { class, code, message, left } => {
                let what = if *class == RefusalClass::Quota { "a limit of the account" } else { "no capacity" };
                write!(f, "EC2 refused a launch ({what}: {code}: {message}): no launch for {}", in_words(*left))
            }
            Note::FatalRefusal { code, message } => {
                write!(f, "EC2 refused a launch for good ({code}: {message}): mend it, then `spillway resume`")
            }
            Note::LaunchUnseen { token } => {
                write!(f, "launch {token} was never answered: it counts until EC2's list shows that it is not there")
            }
            Note::WaitsForDrain { name, silent: true, .. } => {
                write!(f, "{name} drains, but its agent does not answer")
            }
            Note::WaitsForDrain { name, jobs: Some(jobs), .. } => {
                write!(f, "{name} drains: {} left", counted(*jobs, "job"))
            }
            Note::WaitsForDrain { name, jobs: None, .. } => write!(f, "{name} drains"),
            Note::SourcesDisagree { id, redis } => write!(
                f,
                "{id} is drained by its agent's word, but Redis shows {} there: handed back before it is terminated",
                counted(*redis, "active job")
            ),
            Note::RedisViewMissing { id } => {
                write!(f, "{id} is drained by its agent's word; Redis has not confirmed it yet")
            }
            Note::AgentSilent { id, silent } => {
                write!(f, "the agent of {id} has been silent for {}", in_words(*silent))
            }
            Note::NotOurs { id } => {
                write!(f, "{id} carries the pool's tag but no launch token: counted, never touched")
            }
            Note::HandsBack { id, problem: Some(problem), .. } => {
                write!(f, "the jobs of {id} are not handed back yet: {problem}")
            }
            Note::HandsBack { id, left: Some(left), certain: false, .. } => {
                write!(
                    f,
                    "{} of {id} left: handed back once it is seen that nobody renews the lock",
                    counted(*left, "job")
                )
            }
            Note::HandsBack { id, left: Some(left), .. } => {
                write!(f, "{} of {id} left to hand back", counted(*left, "job"))
            }
            Note::HandsBack { id, .. } => write!(f, "the jobs of {id} are being handed back"),
            Note::RebalanceWaits { id, replacement } => {
                write!(f, "EC2 recommends a rebalance of {id}: it works on until {replacement} is ready")
            }
            Note::RebalanceHeld { id, why } => write!(f, "EC2 recommends a rebalance of {id}; it works on: {why}"),
        }
    }
}
