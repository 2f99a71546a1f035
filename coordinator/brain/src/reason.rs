//! Why a decision was taken; its sentences are in `words`, its names for metrics in `name`.

mod name;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Ec2State;
use crate::hand_back::Suspect;
use crate::id::InstanceId;
use crate::late_start::LateStart;
use crate::phase::DrainCause;
use crate::proven_images::NeverRan;
use crate::refusal_class::RefusalClass;
use crate::time::Timestamp;

pub(crate) use words::{said, when};

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
    StartsLate {
        late: LateStart,
        ready: u32,
        on_the_way: u32,
    },
    /// A schedule asks for them.
    Floor {
        instances: u32,
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
    /// A schedule asked for more until now.
    FloorEnded {
        desired: u32,
    },
    /// The promised wait has held without it for `span`.
    NotNeeded {
        waiting: u64,
        target: Duration,
        span: Duration,
        desired: u32,
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
    TakesNoJob {
        id: InstanceId,
        demand: u64,
        span: Duration,
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        never_ran: Option<NeverRan>,
    },
    Refused {
        class: RefusalClass,
        code: String,
        message: String,
        #[serde(default)]
        retried_in: Option<Duration>,
    },
    /// EC2 accepted the launch, and ended its instance before anything ran there.
    TakenBack {
        id: InstanceId,
        class: RefusalClass,
        code: String,
        message: String,
        retried_in: Duration,
    },
    NotTerminated {
        id: InstanceId,
        /// EC2's code and words.
        detail: String,
    },
    NotOurs {
        id: InstanceId,
    },
    Strangers {
        ids: Vec<InstanceId>,
        /// None: their tags do not say whose they are.
        installation: Option<String>,
        ours: String,
    },
    TagsChanged {
        id: InstanceId,
        tags: String,
    },
    Unlisted {
        id: InstanceId,
    },
    PoolRetired,
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
    SuspectJob {
        id: InstanceId,
        suspect: Suspect,
    },
    NothingTaken {
        id: InstanceId,
        demand: u64,
        span: Duration,
    },
    TwoAgents {
        id: InstanceId,
    },
    EarlyEnds {
        ends: u32,
        wait: Duration,
    },
    QueuesUnknown {
        span: Duration,
        detail: String,
    },
    InstancesUnknown {
        span: Duration,
        detail: String,
    },
    QueueGone {
        queue: String,
    },
    /// `jobless`: for how long its agent has reported no job.
    NoJobByItsAgent {
        span: Duration,
        #[serde(default)]
        jobless: Duration,
    },
    StoppedUnseen {
        cause: DrainCause,
    },
    Drill {
        instances: u32,
        asked: String,
    },
    /// `after`: how long it took to be ready; `problem`: why it was not, or nobody could tell.
    DrillOver {
        after: Option<Duration>,
        problem: Option<String>,
    },
    RebalanceRecommended,
    Replaces {
        id: InstanceId,
    },
    Replaced {
        by: String,
    },
    /// `image`: what launches take.
    ReplacesImage {
        id: InstanceId,
        image: String,
    },
    /// `by`: its replacement; None where there is no room for one.
    ReplacedImage {
        image: String,
        by: Option<String>,
    },
    EventScheduled {
        code: String,
        left: Duration,
    },
    ReplacesScheduled {
        id: InstanceId,
        code: String,
        left: Duration,
    },
    ReplacedScheduled {
        code: String,
        left: Duration,
        by: String,
    },
}
