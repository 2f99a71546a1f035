//! What happened, as the shell or the simulator tells it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::backlog::{Backlog, JobsByInstance};
use crate::floor::Floor;
use crate::hand_back::Suspect;
use crate::id::{InstanceId, LaunchToken};
use crate::refusal_class::RefusalClass;
use crate::scheduled::Schedule;
use crate::state_reason::StateReason;
use crate::time::Timestamp;
use crate::work::Work;

/// Everything that the controller ever learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// This process began: what an earlier one left unanswered is retried, and a person may have fixed what EC2
    /// refused.
    Started,
    /// The clock that all times are given by was set, by so many milliseconds: what is kept moves with it, so that no
    /// deadline comes sooner or later.
    ClockStepped {
        by_ms: i64,
    },
    /// This coordinator holds the leader lease.
    LeadershipGained,
    LeadershipLost,
    BacklogObserved(Backlog),
    ObservationFailed {
        detail: String,
    },
    /// The jobs of the last observation, one by one: for the `wait` policy.
    WorkSeen(Work),
    /// The spans in which instances are scheduled: those that last, and those of the days to come. All of them.
    FloorsSet(Vec<Floor>),
    /// Which instance holds how many active jobs, as Redis shows it. `asked_at` is when the look began: it proves
    /// nothing about what happened after that.
    JobsSeen {
        asked_at: Timestamp,
        seen: JobsByInstance,
    },
    /// EC2's list of instances with the pool's tag, with those that the ledger knows by their ids. `asked_at` is when
    /// the request was sent: what happened after it cannot be in the answer.
    InstancesListed {
        asked_at: Timestamp,
        instances: Vec<Listed>,
    },
    /// Which image a launch would take now, as EC2 answers; None where it did not tell.
    LaunchImageRead {
        image: Option<String>,
    },
    ListingFailed {
        detail: String,
    },
    LaunchAnswered {
        token: LaunchToken,
        answer: LaunchAnswer,
    },
    TerminateAccepted {
        id: InstanceId,
    },
    TerminateFailed {
        id: InstanceId,
        class: RefusalClass,
        code: String,
        /// EC2's words, with the code.
        #[serde(default)]
        detail: String,
    },
    /// The agent proved who it is.
    AgentRegistered {
        id: InstanceId,
    },
    /// A second agent proved to be this instance, and the session of the first lives.
    RegisteredTwice {
        id: InstanceId,
    },
    AgentReported(Report),
    /// The worker is dead. `jobs_left` are still active under its name, None where the agent cannot know; it has put
    /// `jobs_handed_back` back to wait.
    AgentDrained {
        id: InstanceId,
        jobs_left: Option<u32>,
        jobs_handed_back: u32,
    },
    /// An interruption notice: EC2 reclaims the instance at about `at`. From the agent's IMDS watch or from
    /// DescribeSpotInstanceRequests. A time that EC2 cannot mean is not believed: [`crate::when_reclaimed`].
    NoticeSeen {
        id: InstanceId,
        at: Timestamp,
        /// An operator has it rehearsed: EC2 will not end the instance.
        #[serde(default)]
        is_rehearsal: bool,
    },
    /// EC2 recommended, at `at`, to replace the instance: it is at an elevated risk of being interrupted.
    RebalanceRecommended {
        id: InstanceId,
        at: Timestamp,
    },
    /// What a hand-back came to: `left` jobs are still active under its name in Redis. `certain` as in the decision.
    HandedBack {
        id: InstanceId,
        certain: bool,
        handed_back: u32,
        left: u32,
        /// Jobs that are behind the others or left to BullMQ's stall check: they may be what ends their instances.
        #[serde(default)]
        suspects: Vec<Suspect>,
    },
    HandBackFailed {
        id: InstanceId,
        certain: bool,
        detail: String,
    },
    OperatorHold {
        reason: String,
    },
    OperatorResume {
        by: String,
    },
    OperatorDrain {
        id: InstanceId,
        reason: String,
    },
    OperatorCancelDrain {
        id: InstanceId,
        by: String,
    },
    /// So many instances are to be launched, to be ready once, and to be ended after that.
    OperatorDrill {
        instances: u32,
        by: String,
        reason: String,
    },
}

/// EC2's answer to a launch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LaunchAnswer {
    Accepted { id: InstanceId },
    Refused { class: RefusalClass, code: String, message: String },
}

/// One instance that EC2 shows: one with the pool's tag, or one that the ledger knows by its id, whatever its tags.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub id: InstanceId,
    /// The `spillway:token` tag; an instance without it was not launched by us.
    pub token: Option<LaunchToken>,
    /// The `spillway:installation` tag; versions before it did not set it.
    #[serde(default)]
    pub installation: Option<String>,
    /// Which of the tags that its launch set are no longer what they were, in words: anyone may edit a tag.
    #[serde(default)]
    pub retagged: Option<String>,
    /// What it was launched from; None where EC2 does not tell.
    #[serde(default)]
    pub image: Option<String>,
    pub state: Ec2State,
    /// Why EC2 ends it, where it says so.
    pub state_reason: Option<StateReason>,
    pub launched_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ec2State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl Ec2State {
    /// As EC2 writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Ec2State::Pending => "pending",
            Ec2State::Running => "running",
            Ec2State::ShuttingDown => "shutting-down",
            Ec2State::Terminated => "terminated",
            Ec2State::Stopping => "stopping",
            Ec2State::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Ec2State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An agent's heartbeat, as far as decisions depend on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub id: InstanceId,
    pub phase: AgentPhase,
    /// The worker is proven to process jobs, by PM2 and by Redis.
    pub proven: bool,
    /// Its connections and jobs carry the instance's name: Redis can tell what runs there.
    pub named: bool,
    /// None where the agent cannot know.
    pub active_jobs: Option<u32>,
    /// A rate limit holds its worker back.
    #[serde(default)]
    pub is_rate_limited: bool,
    /// By queue: how many starts in a window the `limiter.max` of its workers allows.
    #[serde(default)]
    pub limiter_max: BTreeMap<String, u64>,
    /// How many jobs its worker runs at a time, by its own word.
    #[serde(default)]
    pub slots: Option<u32>,
    /// What keeps it from being ready, in the reader's words.
    #[serde(with = "crate::or_empty")]
    pub problem: Option<String>,
    /// The end of the worker's own log, while the worker is not proven.
    #[serde(default)]
    pub worker_log: Option<String>,
    #[serde(default)]
    pub schedule: Schedule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentPhase {
    Booting,
    Proving,
    Ready,
    Draining,
    Drained,
    Failed,
}
