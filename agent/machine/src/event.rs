//! What happens to the agent, and what it does about it. Owns the vocabulary between machine and shell, no behaviour.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{LastReason, Timestamp};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The instance id is known.
    Identified,
    /// The coordinator returned a session token.
    Registered,
    /// It returned none.
    RegistrationFailed(Refusal),
    /// The session is open: the coordinator's welcome came, with the epoch of its lease.
    Connected {
        /// Of the leader lease.
        epoch: u64,
    },
    /// The session ended, or could not be opened.
    Disconnected {
        /// The coordinator does not know the session token: register again.
        token_refused: bool,
    },
    /// A boot step ended.
    StepFinished { index: usize, outcome: StepOutcome },
    /// The supervisor and Redis were checked.
    Observed(Observation),
    /// EC2 interrupts the instance at this time.
    Interruption {
        /// When EC2 acts.
        at: Timestamp,
    },
    /// The coordinator sent a command.
    Command {
        /// Of the leader lease under which it was sent.
        epoch: u64,
        /// Answered in the result.
        id: String,
        /// The command.
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
    /// A process reports that it handed its jobs back.
    HandedBack {
        pid: u32,
        jobs: u32,
        /// Jobs that could not be, and run on.
        kept: u32,
    },
    /// Nothing of the worker is left running.
    WorkerStopped {
        /// It did not stop by itself.
        killed: bool,
    },
    /// The jobs that the stopped worker had left active in Redis were handed back.
    HandedBackOutside {
        jobs: u32,
        /// Jobs of this instance that are still active; `None` where that cannot be known.
        left: Option<u32>,
        /// A retry may bring more: Redis did not answer, or a job may still be held.
        again: bool,
    },
    /// The worker was started again (or could not be: the next observation shows which).
    WorkerStarted,
}

/// Why the coordinator returned no session token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It cannot answer now: retry soon.
    Unavailable,
    /// It rejects this agent: retry slowly.
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

/// The coordinator's commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Take no new job, finish the current ones, stop the worker.
    Drain {
        /// When the worker must be stopped.
        deadline: Timestamp,
    },
    /// Cancel the drain and take jobs again.
    CancelDrain,
    /// End the instance, once the worker is stopped: EC2 refuses to terminate it.
    PowerOff,
    /// Behave as if EC2 had sent an interruption notice.
    Rehearse {
        /// When EC2 would interrupt the instance.
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
    /// It can hand its jobs back by itself.
    pub can_hand_back: bool,
    /// Its active jobs.
    pub jobs: Vec<ShimJob>,
    /// When it last spoke: it does so every 2 s while its event loop runs.
    #[serde(default)]
    pub heard_at: Timestamp,
    /// Its BullMQ Workers; empty where its shim does not say what they do.
    #[serde(default)]
    pub workers: Vec<ShimWorker>,
}

/// A BullMQ Worker, as its process tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimWorker {
    /// It works one of the queues that this instance is for.
    pub is_ours: bool,
    /// What it does.
    pub doing: Doing,
    /// The Redis that it is connected to, where that is known.
    pub server: Option<Server>,
    /// A job has ended in it, well or not.
    pub has_finished: bool,
}

/// What a BullMQ Worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doing {
    /// It runs a job, waits for one or asks for one.
    Works,
    /// A rate limit holds it back.
    Limited,
    /// The application paused it.
    Paused,
    /// Nobody runs it, or the application closes it.
    NotRunning,
    /// Its Redis does not answer it.
    Disconnected,
}

/// A Redis server, as it names itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Of its process: another one after each restart.
    pub run_id: String,
    /// The database there.
    pub db: i64,
}

/// An active job, as reported by the process that runs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimJob {
    /// Its kind: queue and name.
    pub class: String,
    /// When it began.
    pub began: Timestamp,
}

/// One check of the worker. A part that did not answer is `None`: unknown, which is never read as "nothing there".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// As the supervisor shows it.
    pub worker: Option<Worker>,
    /// As Redis shows its connections; also `None` where this check left them out.
    pub evidence: Option<Evidence>,
    /// As Redis shows its jobs.
    pub jobs: Option<Jobs>,
    /// The Redis that was asked, where it says who it is.
    #[serde(default)]
    pub server: Option<Server>,
}

/// The worker, as the supervisor shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Processes that are online.
    pub processes: u32,
    /// Processes that the supervisor has given up on.
    pub errored: u32,
    /// Restarts since the agent started it.
    pub restarts: u32,
    /// Whether it finishes its jobs on the stop signal.
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
    /// One of them is blocked waiting for a job.
    pub fetching: bool,
    /// One of these has asked for it lately.
    #[serde(default)]
    pub fresh: bool,
    /// Redis does not tell who is connected: a count of 0 means nothing.
    #[serde(default)]
    pub unlisted: bool,
}

/// This instance's active jobs in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    /// When the check began: one from before a drain proves nothing about it.
    pub at: Timestamp,
    /// How many; `None` where jobs do not name their worker.
    pub active: Option<u32>,
    /// How many of them have a lock that is being renewed.
    pub live_locks: u32,
    /// A rate limit holds one of the queues back.
    #[serde(default)]
    pub limited: bool,
}

/// An action for the shell. An event answers each, except reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Request a session token from the coordinator.
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
    /// Have a process hand its jobs back, and freeze.
    HandBack { pid: u32 },
    /// Hand back the jobs that the stopped worker left active in Redis.
    HandBackOutside,
    /// Stop the worker, until none of its processes is left.
    StopWorker,
    /// Kill what is left of the worker.
    KillWorker,
    /// Start the worker again.
    StartWorker,
    /// End the instance. No answer is awaited; it is repeated if nothing happens.
    PowerOff(LastReason),
    /// Send a report to the coordinator.
    Report(Report),
}

/// Something the coordinator should know at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The state as it now is.
    Beat,
    /// The result of a command.
    CommandResult {
        /// The command's.
        id: String,
        /// Why it is rejected.
        refused: Option<String>,
    },
    /// A rehearsed notice, to be reported like EC2's own.
    Rehearsed {
        /// When EC2 would interrupt the instance.
        at: Timestamp,
    },
    /// The drain is over.
    Drained(DrainOutcome),
}

/// How a drain ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOutcome {
    /// Of the command that requested it; `None` where a notice started it.
    pub command: Option<String>,
    /// EC2 interrupts the instance: nothing starts the worker again.
    pub forced: bool,
    /// Every job finished: none was handed back, none is left.
    pub clean: bool,
    /// Jobs seen in the drain that were not handed back and are no longer active.
    pub jobs_finished: u32,
    /// Jobs that were requeued.
    pub handed_back: u32,
    /// Still active; `None` where that cannot be known.
    pub jobs_left: Option<u32>,
    /// The worker had to be killed.
    pub killed: bool,
    /// The instance ends itself now.
    pub last: Option<LastReason>,
}
