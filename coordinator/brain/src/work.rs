//! The work in the queues, job by job: what a policy that predicts starts needs beyond the counts of
//! [`crate::Backlog`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::InstanceId;

/// One look at the jobs that wait and run, in all of the pool's queues together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Jobs whose turn has come, by queue: those that start first come first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waiting: BTreeMap<String, Vec<Waiting>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<Running>,
    /// Those that ended since the last look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub finished: Vec<Finished>,
}

impl Work {
    /// Whether a job waits, in any queue.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.values().flatten().any(|it| it.jobs > 0)
    }
}

/// Jobs of one age that wait one behind the other. Of a long queue a sample of ages is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// For how long the oldest of them has been ready to run.
    pub age: Duration,
    pub jobs: u64,
}

/// A job that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The instance whose name it carries; None: it runs on a worker that is none of the pool's instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<InstanceId>,
    /// Since it was started.
    pub elapsed: Duration,
    /// BullMQ's name of the job.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A job that ended, whatever came of it: its slot was taken for so long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    pub took: Duration,
    /// BullMQ's name of the job.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}
