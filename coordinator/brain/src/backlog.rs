//! What one observation of the queues found, and what of it is demand: the jobs that could start now.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::InstanceId;

/// One observation of all of the pool's queues.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Backlog {
    pub queues: Vec<QueueBacklog>,
}

/// One queue in one observation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueBacklog {
    pub queue: String,
    pub waiting: u64,
    pub prioritized: u64,
    pub delayed: u64,
    /// Delayed jobs whose time has come: they stay in `delayed` until a worker fetches.
    pub delayed_due: u64,
    pub active: u64,
    pub paused: bool,
    /// BullMQ's global concurrency, where one is set.
    pub concurrency: Option<u64>,
    pub oldest_age: Option<Duration>,
    pub completed: u64,
    pub failed: u64,
}

impl QueueBacklog {
    /// Jobs that could start now; 0 while the queue is paused.
    pub fn demand(&self) -> u64 {
        if self.paused { 0 } else { self.waiting + self.prioritized + self.delayed_due }
    }

    /// Whether the queue's global concurrency is used up: another worker would not get a job.
    pub fn is_limited(&self) -> bool {
        self.concurrency.is_some_and(|limit| self.active >= limit)
    }
}

impl Backlog {
    pub fn demand(&self) -> u64 {
        self.queues.iter().map(QueueBacklog::demand).sum()
    }

    pub fn active(&self) -> u64 {
        self.queues.iter().map(|queue| queue.active).sum()
    }
}

/// Active jobs by the instance that their lock or their `pb` field names. An instance that is absent holds none that
/// carries its name: for one whose worker is not named that says nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobsByInstance {
    pub jobs: BTreeMap<InstanceId, u32>,
}
