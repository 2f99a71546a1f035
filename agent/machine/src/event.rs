//! What happens to the agent, and what it does about it. Owns the vocabulary between machine and shell, no behaviour.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{LastReason, Timestamp};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The instance knows who it is.
    Identified,
    /// The coordinator gave a session token.
    Registered,
    /// It did not.
    RegistrationFailed(Refusal),
    /// The session stands: the coordinator's welcome came, with the epoch of its lease.
    Connected {
        /// Of the leader lease.
        epoch: u64,
    },
    /// The session is gone, or never came about.
    Disconnected {
        /// The coordinator does not know the session token: register again.
        token_refused: bool,
    },
    /// A boot step ended.
    StepFinished { index: usize, outcome: StepOutcome },
    /// The supervisor and Redis were looked at.
    Observed(Observation),
    /// EC2 takes the instance at this time.
    Interruption {
        /// When EC2 acts.
        at: Timestamp,
    },
    /// The coordinator asks for something.
    Command {
        /// Of the leader lease under which it was sent.
        epoch: u64,
        /// Answered in the result.
        id: String,
        /// What it asks.
        command: Command,
    },
    /// The processes of the worker that have the shim, as they are now: all of them.
    ShimsSeen(Vec<ShimProcess>),
    /// A job ended well: how long such jobs take.
    JobFinished {
        /// Its kind.
        class: String,
        /// From its start.
        took: Duration,
    },
    /// A process answers that it put its jobs back to wait.
    HandedBack {
        pid: u32,
        jobs: u32,
        /// So many could not be, and run on.
        kept: u32,
    },
    /// Nothing of the worker is left running.
    WorkerStopped {
        /// It did not go by itself.
        killed: bool,
    },
    /// What the stopped worker had left active in Redis was put back to wait.
    HandedBackOutside {
        jobs: u32,
        /// Jobs of this instance that are still active; `None` where that cannot be known.
        left: Option<u32>,
        /// It is worth another try: Redis did not answer, or somebody may yet hold a job.
        again: bool,
    },
    /// The worker was started again (or could not be: the observations will tell).
    WorkerStarted,
}

/// Why the coordinator gave no session token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It cannot answer now: ask again soon.
    Unavailable,
    /// It does not want this agent: ask again, but slowly.
    Refused,
}

/// How a boot step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepOutcome {
    /// It did what it should.
    Succeeded,
    /// It did not: bad exit, signal, time-out, could not be started.
    Failed,
}

/// What the coordinator can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Take no new job, finish the current ones, stop the worker.
    Drain {
        /// When the worker must be stopped.
        deadline: Timestamp,
    },
    /// Work again.
    CancelDrain,
    /// Behave as if EC2 had given notice.
    Rehearse {
        /// When EC2 would take the instance.
        deadline: Timestamp,
    },
}

/// A process of the worker that has the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimProcess {
    /// Its number.
    pub pid: u32,
    /// It takes no new job.
    pub fenced: bool,
    /// It can put its jobs back to wait by itself.
    pub can_hand_back: bool,
    /// Its active jobs.
    pub jobs: Vec<ShimJob>,
}

/// An active job, as the process says that runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimJob {
    /// Its kind: queue and name.
    pub class: String,
    /// When it began.
    pub began: Timestamp,
}

/// One look at the worker. A part that did not answer is `None`: unknown, which is never read as "nothing there".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// As the supervisor shows it.
    pub worker: Option<Worker>,
    /// As Redis shows its connections; also `None` where they were not looked at this time.
    pub evidence: Option<Evidence>,
    /// As Redis shows its jobs.
    pub jobs: Option<Jobs>,
}

/// The worker, as the supervisor shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Processes that are online.
    pub processes: u32,
    /// Processes that the supervisor has given up.
    pub errored: u32,
    /// Restarts since the agent started it.
    pub restarts: u32,
    /// Whether it finishes its jobs when it is told to stop.
    pub graceful: Graceful,
    /// How long the supervisor waits between the signal and the kill: the shortest of its processes'.
    pub patience: Duration,
}

/// Whether a worker finishes its jobs on the stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Graceful {
    /// It catches the signal.
    Yes,
    /// The signal kills it.
    No,
    /// It cannot be seen from outside.
    Unknown,
}

/// This instance's worker connections in Redis.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How many there are.
    pub connections: u32,
    /// One of them waits for a job, and has asked for one lately.
    pub fetching: bool,
}

/// This instance's active jobs in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    /// When the look began: one from before a drain proves nothing about it.
    pub at: Timestamp,
    /// How many; `None` where jobs do not say who works on them.
    pub active: Option<u32>,
    /// How many of them have a lock that is being renewed.
    pub live_locks: u32,
}

/// Something to do. Each is answered by an event, reports aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Ask the coordinator for a session token.
    Register,
    /// Open the session with the token at hand.
    Connect,
    /// Run a boot step.
    RunStep {
        index: usize,
        /// From 1.
        attempt: u32,
    },
    /// Kill the step that runs; no answer is awaited.
    AbortStep,
    /// No process of the worker that has the shim takes a new job from now on.
    Fence,
    /// They take jobs again.
    Unfence,
    /// Have a process put its jobs back to wait, and freeze.
    HandBack { pid: u32 },
    /// Put back to wait what the stopped worker left active in Redis.
    HandBackOutside,
    /// Tell the worker to stop, and see that nothing of it is left.
    StopWorker,
    /// Kill what is left of the worker.
    KillWorker,
    /// Start the worker again.
    StartWorker,
    /// End the instance. No answer is awaited; it comes again if nothing happens.
    PowerOff(LastReason),
    /// Tell the coordinator.
    Report(Report),
}

/// Something the coordinator should know at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The state as it now is.
    Beat,
    /// What became of a command.
    CommandResult {
        /// The command's.
        id: String,
        /// Why it is not obeyed.
        refused: Option<String>,
    },
    /// A notice that the coordinator had rehearsed, to be told like EC2's own.
    Rehearsed {
        /// When EC2 would take the instance.
        at: Timestamp,
    },
    /// The drain is over.
    Drained(DrainOutcome),
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOutcome {
    /// Of the command that asked for it; `None` where a notice did.
    pub command: Option<String>,
    /// EC2 takes the instance: nothing starts the worker again.
    pub forced: bool,
    /// Every job finished: none was handed back, none is left.
    pub clean: bool,
    /// Jobs seen in the drain that were not handed back and are no longer active.
    pub jobs_finished: u32,
    /// Put back to wait.
    pub handed_back: u32,
    /// Still active; `None` where that cannot be known.
    pub jobs_left: Option<u32>,
    /// The worker had to be killed.
    pub killed: bool,
    /// The instance ends itself now.
    pub last: Option<LastReason>,
}
