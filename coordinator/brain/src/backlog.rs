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
    /// BullMQ's rate limit, while a window of it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    pub oldest_age: Option<Duration>,
    pub completed: u64,
    pub failed: u64,
    /// Redis has no key of it, in the reader's words: it never existed, or was obliterated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

/// A window of a rate limit: the counter that each start of a job raises, until it expires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Until the window ends.
    pub left: Duration,
    /// Starts in it so far.
    pub started: u64,
    /// Further starts that it allows; None where that is not known: a Worker's own `limiter.max` is not in Redis.
    pub allows: Option<u64>,
}

impl QueueBacklog {
    /// Jobs whose turn has come.
    fn runnable(&self) -> u64 {
        self.waiting + self.prioritized + self.delayed_due
    }

    /// Jobs that could start now: 0 while the queue is paused, and no more than its rate limit allows.
    pub fn demand(&self) -> u64 {
        let allowed = self.rate_limit.as_ref().and_then(|limit| limit.allows).unwrap_or(u64::MAX);
        if self.paused { 0 } else { self.runnable().min(allowed) }
    }

    /// Its rate limit lets no job start although some wait: another worker would not get one.
    pub fn is_rate_limited(&self) -> bool {
        !self.paused && self.runnable() > 0 && self.rate_limit.as_ref().is_some_and(|limit| limit.allows == Some(0))
    }

    /// Where Redis does not say what a rate limit allows: what is left of `max`, the workers' own `limiter.max`, where
    /// one says it. Else nothing, where its window has seen no start since the `last` observation although jobs wait
    /// and none runs, or where a worker says that it is held back.
    pub(crate) fn infer_rate_limit(&mut self, last: Option<&QueueBacklog>, is_told: bool, max: Option<u64>) {
        if let Some(limit) = self.rate_limit.as_mut().filter(|limit| limit.allows.is_none()) {
            limit.allows = max.map(|max| max.saturating_sub(limit.started));
        }
        let (idle, waits) = (self.active == 0, self.runnable() > 0);
        let Some(limit) = self.rate_limit.as_mut().filter(|limit| limit.allows.is_none() && waits) else { return };
        let is_same_window = |before: &RateLimit| before.started == limit.started && before.left >= limit.left;
        let none_started = last.and_then(|last| last.rate_limit.as_ref()).is_some_and(is_same_window);
        if is_told || (idle && none_started) {
            limit.allows = Some(0);
        }
    }

    /// A worker that has a free slot takes one of its jobs: some could start, others run, and no limit paces them.
    pub(crate) fn has_job_to_take(&self) -> bool {
        self.demand() > 0 && self.active > 0 && self.rate_limit.is_none() && !self.is_limited()
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

    /// There is nothing to do. A rate limit that its jobs use up is no idleness while some run: it paces them.
    pub fn is_idle(&self) -> bool {
        self.demand() == 0 && !self.queues.iter().any(|queue| queue.is_rate_limited() && queue.active > 0)
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
