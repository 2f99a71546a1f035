//! What happens to a pool.

use std::time::Duration;

use spillway_brain::{
    Backlog, Floor, InstanceId, JobsByInstance, LaunchAnswer, LaunchToken, Listed, Plan, RefusalClass, Report, State,
    Timestamp, Work,
};

use crate::{Attempt, Rehearsal, Wish};

/// Who waits for an answer: the shell's number for them.
pub type Asker = u64;

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// The answer to `Observe`, or what kept it from being answered.
    Observed(Result<Observation, String>),
    /// The answer to `List`. `asked_at`: before EC2 was asked, by `Now::up`.
    Listed {
        asked_at: Duration,
        answer: Result<Vec<Listed>, Refused>,
    },
    /// The spans in which instances are scheduled, from now on for some days: all of them.
    Floors(Vec<Floor>),
    /// Which image a launch would take now; None where EC2 did not tell.
    LaunchImage(Option<String>),
    /// The answer to `ListInterruptions`: instances that EC2 has marked for interruption.
    Interruptions(Vec<InstanceId>),
    LaunchAnswered {
        token: LaunchToken,
        answer: LaunchAnswer,
    },
    TerminateAnswered {
        id: InstanceId,
        answer: Result<(), Refused>,
    },
    /// An attempt of `HandBack` that was carried out.
    HandedBack(Attempt),
    /// The lease was gained.
    Lead {
        epoch: u64,
    },
    /// It was lost.
    StandBy,
    /// While it does not lead: why this version does not read the ledger, so that the lease is left to others; None: it
    /// does.
    LedgerRefused {
        problem: Option<String>,
    },
    /// The answer to `Load`: what was saved, and the recorded plans, newest first.
    Loaded {
        epoch: u64,
        saved: Option<SavedState>,
        plans: Vec<Plan>,
    },
    NotLoaded {
        epoch: u64,
        problem: String,
    },
    /// The answer to `Save`.
    Saved(Saved),
    FromAgent(InstanceId, FromAgent),
    /// Answered with `Reply`.
    Operator(Asker, Wish),
    /// The answer to `Rehearse`: whether the agent's session took the command.
    Rehearsed {
        rehearsal: Rehearsal,
        is_delivered: bool,
    },
    /// The process ends: what is known is saved once more.
    Stop,
}

/// What the ledger has of a pool.
#[derive(Clone, Debug)]
pub struct SavedState {
    pub state: Box<State>,
    /// Of the leader that saved it.
    pub epoch: u64,
    /// By how many milliseconds this coordinator's wall clock is ahead of the one that the state's times are of:
    /// another's, or its own before it was set.
    pub ahead_ms: i64,
}

/// What one look at the queues found.
#[derive(Clone, Debug)]
pub struct Observation {
    pub backlog: Backlog,
    /// Where it was asked for and could be told: when the look at the jobs' holders began, by `Now::up`, and what it
    /// found.
    pub jobs: Option<(Duration, JobsByInstance)>,
    /// The jobs one by one, where the policy wants them and they could be read.
    pub work: Option<Work>,
}

/// EC2 refused a call, or did not answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub class: RefusalClass,
    pub code: String,
    /// Code and message, for people.
    pub detail: String,
}

/// What an attempt to save came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The lease is held until then for sure, by `Now::up`.
    Until(Duration),
    /// Nothing was written: another leads, or nobody.
    NotLeader { problem: String },
    /// Nothing was written, or it is not known.
    Failed { problem: String },
}

/// What an agent says.
#[derive(Clone, Debug)]
pub enum FromAgent {
    Registered,
    /// Somebody else has proved to be its instance too, and it lives: one of the two is not what it says.
    RegisteredTwice,
    Reported(Report),
    /// EC2 takes the instance at about `at`, by the agent's wall clock, and `left` from when it said so (an older agent
    /// does not say).
    Notice {
        at: Timestamp,
        left: Option<Duration>,
        /// An operator has it rehearsed.
        is_rehearsal: bool,
    },
    RebalanceRecommended {
        at: Timestamp,
    },
    Drained {
        jobs_left: Option<u32>,
        jobs_handed_back: u32,
    },
}
