//! What is decided, and why: the vocabulary of plans, and its sentences.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::words::counted;
use crate::{DrainCause, InstanceId, LaunchToken, RefusalClass, Timestamp, in_words};

/// What one tick decided. Also when nothing is done, the notes say why not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub at: Timestamp,
    /// By the last observation; None before the first.
    pub demand: Option<u64>,
    /// None before the first observation.
    pub desired: Option<u32>,
    pub decisions: Vec<Planned>,
    pub notes: Vec<Note>,
}

/// A decision with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub decision: Decision,
    pub reason: Reason,
}

/// Everything we ever do. The outcome comes back as an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Decision {
    /// RunInstances with this token as ClientToken: a new intent, or an unanswered one again.
    Launch {
        token: LaunchToken,
    },
    /// Tell the agent to take no new job and to have stopped the worker by `deadline`.
    Drain {
        id: InstanceId,
        deadline: Timestamp,
    },
    CancelDrain {
        id: InstanceId,
    },
    /// TerminateInstances.
    Terminate {
        id: InstanceId,
    },
    /// Put the instance's jobs back to wait. `certain`: its worker is dead. Otherwise it may still run, and only those
    /// jobs are put back whose locks nobody renews.
    HandBack {
        id: InstanceId,
        certain: bool,
    },
    /// A person is needed.
    Alert {
        alert: AlertKind,
    },
}

impl Decision {
    /// As the interfaces write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Decision::Launch { .. } => "launch",
            Decision::Drain { .. } => "drain",
            Decision::CancelDrain { .. } => "cancel_drain",
            Decision::Terminate { .. } => "terminate",
            Decision::HandBack { .. } => "hand_back",
            Decision::Alert { .. } => "alert",
        }
    }

    /// The instance's id or launch token; empty where none is meant.
    pub fn subject(&self) -> &str {
        match self {
            Decision::Launch { token } => &token.0,
            Decision::Drain { id, .. }
            | Decision::CancelDrain { id }
            | Decision::Terminate { id }
            | Decision::HandBack { id, .. } => &id.0,
            Decision::Alert { .. } => "",
        }
    }
}

/// What an alert is about; raised once, until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    BootsFail,
    Quota,
    FatalRefusal,
    DrainOverdue,
    UnknownInstance,
    /// Jobs of an instance that ended cannot be handed back.
    HandBackFails,
    /// Some are left, and their worker seems to live.
    JobsLeft,
}

/// Why a decision was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    BelowDesired { demand: u64, desired: u32, ready: u32, on_the_way: u32 },
    LaunchUnanswered { attempt: u32 },
    ScaleIn { desired: u32, idle: bool },
    Interrupted { at: Timestamp, left: Duration },
    BootFailed { detail: String },
    BootDeadline { after: Duration, detail: String },
    AgentLost { silent: Duration },
    AgentDrains { detail: String },
    Stopped { state: String },
    OperatorAsked { reason: String },
    DemandReturned { demand: u64, desired: u32 },
    ToldAgain { cause: DrainCause },
    Drained { cause: DrainCause },
    NoAgentNoJob { cause: DrainCause },
    DrainOverdue { by: Duration },
    TerminateAgain { attempt: u32 },
    BreakerOpened { failures: u32, until: Timestamp, wait: Duration },
    Refused { class: RefusalClass, code: String, message: String },
    NotOurs { id: InstanceId },
    HandedBack { cause: DrainCause, jobs: u32 },
    LeftByDrain { jobs: u32 },
    Terminated,
    ShutsDown,
    Vanished,
    HandBackAgain { left: Option<u32>, problem: String },
    HandBackFails { id: InstanceId, detail: String },
    JobsLeft { id: InstanceId, left: u32, span: Duration },
    RebalanceRecommended,
    Replaces { id: InstanceId },
    Replaced { by: String },
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
            Reason::BootFailed { detail } => write!(f, "the boot failed: {detail}"),
            Reason::BootDeadline { after, detail } if detail.is_empty() => {
                write!(f, "not ready {} after its launch; its agent never registered", in_words(*after))
            }
            Reason::BootDeadline { after, detail } => {
                write!(f, "not ready {} after its launch: {detail}", in_words(*after))
            }
            Reason::AgentDrains { detail } if detail.is_empty() => f.write_str("its agent drains by itself"),
            Reason::AgentDrains { detail } => write!(f, "its agent drains by itself: {detail}"),
            Reason::AgentLost { silent } => {
                write!(f, "its agent has been silent for {} and Redis shows no job there", in_words(*silent))
            }
            Reason::Stopped { state } => write!(f, "EC2 shows it {state}: it does no work"),
            Reason::OperatorAsked { reason } if reason.is_empty() => write!(f, "an operator asked for it"),
            Reason::OperatorAsked { reason } => write!(f, "an operator asked for it: {reason}"),
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
            Reason::HandBackAgain { problem, .. } if !problem.is_empty() => {
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

impl DrainCause {
    pub fn in_words(self) -> &'static str {
        match self {
            DrainCause::ScaleIn => "scale-in",
            DrainCause::Interruption => "interruption",
            DrainCause::BootFailed => "failed boot",
            DrainCause::AgentLost => "lost agent",
            DrainCause::Agent => "agent",
            DrainCause::Operator => "operator",
            DrainCause::Rebalance => "rebalance recommendation",
        }
    }
}

/// Why not more, and why not less.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    NotLeader,
    NotObservedYet,
    ObservationFailed { detail: String },
    ObservationStale { age: Duration },
    NotListedYet,
    ListingFailed { detail: String },
    ListingStale { age: Duration },
    Held { reason: String },
    NothingWaits,
    Idle { over: Duration },
    IdleCounting { since: Duration, of: Duration },
    Sustaining { demand: u64, jobs: u64, instances: u32, since: Duration, of: Duration },
    BelowStep { demand: u64, jobs: u64, desired: u32 },
    HighestStep { demand: u64, desired: u32 },
    Paused { waiting: u64 },
    ConcurrencyReached { queue: String, limit: u64 },
    NoDemandNoReplacement { desired: u32 },
    OnTheWay { count: u32, next_deadline: Duration },
    AtCap { max_instances: u32, billing: u32 },
    BreakerOpen { failures: u32, left: Duration },
    BreakerTries,
    BackOff { class: RefusalClass, code: String, message: String, left: Duration },
    FatalRefusal { code: String, message: String },
    LaunchUnseen { token: LaunchToken },
    WaitsForDrain { name: String, jobs: Option<u32>, silent: bool },
    SourcesDisagree { id: InstanceId, redis: u32 },
    RedisViewMissing { id: InstanceId },
    AgentSilent { id: InstanceId, silent: Duration },
    NotOurs { id: InstanceId },
    HandsBack { id: InstanceId, certain: bool, left: Option<u32>, problem: String },
    RebalanceWaits { id: InstanceId, replacement: String },
    RebalanceHeld { id: InstanceId, why: WorksOn },
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
            Note::Held { reason } if reason.is_empty() => write!(f, "an operator holds the pool: `spillway resume`"),
            Note::Held { reason } => write!(f, "an operator holds the pool ({reason}): `spillway resume`"),
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
            Note::HandsBack { id, problem, .. } if !problem.is_empty() => {
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
