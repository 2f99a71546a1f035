//! What is to be done for a pool. Whoever performs it has no choice left to make.

use std::sync::Arc;
use std::time::Duration;

use spillway_brain::{InstanceId, LaunchToken, PhaseKind, Plan, Planned, Timestamp};

use crate::{Asker, Attempt, Denied, Granted};

/// Something to do.
#[derive(Debug)]
pub enum Effect {
    /// Look at the queues; with `with_jobs` also at who holds which active job.
    Observe {
        with_jobs: bool,
    },
    /// List EC2's instances.
    List,
    /// Ask EC2 which instances it is about to take.
    ListInterruptions,
    /// Read the ledger, to lead in this epoch.
    Load {
        epoch: u64,
    },
    /// Write `Pool::state` as it is now, before anything of the plan is done.
    Save(Save),
    /// What was decided, and why. The effect that carries it out comes next; an alert has none.
    Decided(Planned),
    Launch {
        token: LaunchToken,
    },
    Terminate {
        id: InstanceId,
    },
    /// To the agent's session. Where that is not open the brain tells it again by and by.
    Command {
        id: InstanceId,
        epoch: u64,
        command: Command,
    },
    /// Carry out this attempt.
    HandBack(Attempt),
    /// Tell the agent to behave as if EC2 had given notice, and say whether its session took the command.
    Rehearse {
        epoch: u64,
        rehearsal: Rehearsal,
    },
    Reply {
        asker: Asker,
        answer: Result<Granted, Denied>,
    },
    /// Nothing to do: worth a line in the log.
    Happened(Happening),
}

/// What is to be saved.
#[derive(Clone, Debug)]
pub struct Save {
    pub epoch: u64,
    /// None: for the last time, since the process ends.
    pub plan: Option<Arc<Plan>>,
    /// The plan and what it was made from are worth an entry in the record.
    pub is_recorded: bool,
}

/// What an agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `left` until the deadline: what counts where the agent's wall clock shows another time.
    Drain {
        deadline: Timestamp,
        left: Duration,
        reason: String,
    },
    CancelDrain,
    /// EC2 refuses to terminate the instance: end it from within, once the worker is stopped.
    PowerOff {
        reason: String,
    },
}

/// A rehearsed interruption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    pub asker: Asker,
    pub id: InstanceId,
    /// As if EC2 took the instance in so long.
    pub notice: Duration,
    pub deadline: Timestamp,
}

/// What people should be able to read later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The wall clock was set by so many milliseconds; `is_elsewhen`: between the last save and this start, or on the
    /// machine of the leader before.
    ClockStepped {
        by_ms: i64,
        is_elsewhen: bool,
    },
    /// What the ledger has is what is known from now on.
    LedgerRead {
        instances: usize,
    },
    /// There is none: a new one begins.
    NoLedgerYet,
    LedgerUnreadable {
        problem: String,
    },
    /// Once, until a save succeeds again.
    LedgerUnwritable {
        problem: String,
    },
    Leads {
        epoch: u64,
    },
    LeadsNoLonger,
    QueuesUnknown {
        problem: String,
    },
    QueuesKnownAgain,
    InstancesUnknown {
        problem: String,
    },
    InstancesKnownAgain,
    Rehearsed {
        id: InstanceId,
        notice: Duration,
    },
    /// An instance that this ledger did not launch, or has forgotten, is found by its token.
    Adopted {
        id: String,
        token: LaunchToken,
    },
    /// An operator's drill has begun.
    DrillBegan {
        instances: u32,
        asked: String,
    },
    /// It is over: how many of its instances were ready, and why the others were not, or what stays.
    DrillEnded {
        asked: String,
        ready: u32,
        failed: u32,
        why: String,
    },
    /// By no decision: those have a line of their own. `id` is the launch token before EC2 accepted the launch; `after`
    /// is how long it took to be ready, or how long the instance lived.
    PhaseChanged {
        id: String,
        phase: PhaseKind,
        after: Option<Duration>,
        reason: String,
    },
    /// With the end of the worker's own log.
    BootFailed {
        id: String,
        log: String,
    },
    /// Its boot failed, and a person may look at it.
    Kept {
        id: String,
        over: Duration,
    },
    DesiredChanged {
        from: u32,
        to: u32,
        reason: String,
    },
    /// `wait`: None until an operator acts.
    BackOffBegan {
        code: String,
        message: String,
        wait: Option<Duration>,
    },
    BackOffEnded {
        code: String,
    },
    BreakerOpened {
        failures: u32,
        wait: Duration,
    },
    BreakerClosed,
    /// Demand has met the threshold of a step that would raise desired capacity.
    WindowBegan {
        jobs: u64,
        over: Duration,
        instances: u32,
    },
}
