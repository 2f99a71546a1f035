//! Why not more was decided, and why not less: what `explain` shows while nothing happens. Its sentences are in
//! `words`.

mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drill::Stays;
use crate::id::{InstanceId, LaunchToken};
use crate::late_start::LateStart;
use crate::proven_images::NeverRan;
use crate::refusal_class::RefusalClass;

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
    /// Since the plan before.
    Resumed {
        #[serde(with = "crate::or_empty")]
        by: Option<String>,
    },
    /// A drill is under way: `ready` of its instances were, and `failed` will not be.
    Drill {
        instances: u32,
        asked: String,
        ready: u32,
        failed: u32,
    },
    /// A drill's instance stays although the drill is over.
    DrillStays {
        name: String,
        why: Stays,
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
    /// `desired` instances stay although demand has been below the lowest step (`jobs`) for `span`: it was never 0 for
    /// `idle`.
    KeptByLittle {
        desired: u32,
        jobs: u64,
        span: Duration,
        idle: Duration,
    },
    /// Desired capacity rises in this tick.
    StepReached {
        demand: u64,
        jobs: u64,
        over: Duration,
        instances: u32,
    },
    /// The policy is `wait`, and nothing tells which jobs wait, or how long jobs take: its steps decide.
    NothingMeasured,
    /// A schedule asks for more than the policy does.
    Floor {
        instances: u32,
        /// Zero: it has begun.
        begins_in: Duration,
        left: Duration,
    },
    /// Each waiting job will start within its promise, and no instance can be spared.
    PromiseKept {
        waiting: u64,
        instances: u32,
        target: Duration,
    },
    /// The promise has held without `spare` instances for `since`; they go after `of`.
    SpareCounting {
        spare: u32,
        since: Duration,
        of: Duration,
        waiting: u64,
        target: Duration,
    },
    /// Desired capacity rises in this tick.
    StartsLate {
        late: LateStart,
    },
    /// It will have to rise, but a launch at the next look is soon enough.
    LaunchCanWait {
        late: LateStart,
        boot: Duration,
    },
    /// No launch that the cap has room for makes a late job start sooner. `most_at_once`: nor would one beyond it,
    /// since a global concurrency lets no more jobs run.
    CannotKeep {
        late: LateStart,
        max_instances: u32,
        most_at_once: Option<u64>,
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
    RateLimited {
        queue: String,
        left: Duration,
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
        /// Those of them that another installation has launched, or that nobody can tell whose they are.
        #[serde(default)]
        not_ours: u32,
    },
    BreakerOpen {
        failures: u32,
        left: Duration,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        never_ran: Option<NeverRan>,
    },
    BreakerTries,
    /// Launches take this image, and no instance has become ready on it.
    NewImage {
        image: String,
    },
    /// `left`: until one instance is tried; None while one is.
    EarlyEnds {
        ends: u32,
        left: Option<Duration>,
    },
    BackOff {
        class: RefusalClass,
        code: String,
        message: String,
        left: Duration,
        /// EC2 accepted the launch, and ended its instance before anything ran there.
        #[serde(default)]
        after_accept: bool,
    },
    /// In records of an earlier version.
    FatalRefusal {
        code: String,
        message: String,
    },
    LaunchUnseen {
        token: LaunchToken,
    },
    /// EC2 has the token from a call with other parameters.
    TokenUsed {
        token: LaunchToken,
    },
    NotTerminated {
        id: InstanceId,
        detail: String,
        left: Duration,
    },
    WaitsForDrain {
        name: String,
        jobs: Option<u32>,
        silent: bool,
    },
    /// Its boot failed.
    Kept {
        id: InstanceId,
        left: Duration,
    },
    /// It is drained, and EC2 ends it.
    LeftToEc2 {
        id: InstanceId,
        left: Duration,
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
    Stranger {
        id: InstanceId,
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
    DriftWaits {
        id: InstanceId,
        image: String,
        replacement: String,
    },
    DriftHeld {
        id: InstanceId,
        image: String,
        why: WorksOn,
    },
    /// `acts_in`: until it is replaced.
    EventScheduled {
        id: InstanceId,
        code: String,
        left: Duration,
        acts_in: Duration,
    },
    EventWaits {
        id: InstanceId,
        code: String,
        left: Duration,
        replacement: String,
    },
    /// `drained_in`: until it is drained without a replacement.
    EventHeld {
        id: InstanceId,
        code: String,
        left: Duration,
        drained_in: Duration,
        why: WorksOn,
    },
}

/// Why an instance that is to be replaced works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorksOn {
    NotWanted,
    OneAtATime,
    AtCap { max_instances: u32 },
    Limit { limit: u32 },
    Replacement,
}

impl Note {
    /// It says why nothing is launched, or not yet, although more instances may be desired.
    pub(crate) fn holds_launches(&self) -> bool {
        matches!(
            self,
            Note::NotLeader
                | Note::NotObservedYet
                | Note::ObservationFailed { .. }
                | Note::ObservationStale { .. }
                | Note::NotListedYet
                | Note::ListingFailed { .. }
                | Note::ListingStale { .. }
                | Note::Held { .. }
                | Note::Paused { .. }
                | Note::ConcurrencyReached { .. }
                | Note::AtCap { .. }
                | Note::CannotKeep { .. }
                | Note::BreakerOpen { .. }
                | Note::NewImage { .. }
                | Note::EarlyEnds { left: Some(_), .. }
                | Note::BackOff { .. }
                | Note::LaunchUnseen { .. }
                | Note::TokenUsed { .. }
        )
    }
}
