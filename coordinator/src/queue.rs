//! What BullMQ's queues show, read from Redis without ever writing (BullMQ's own `getCounts` writes: it is not used).
//! Keys and formulas hold for BullMQ 3 to 6 and were measured against its own counters; see the module's parts.
//!
//! - `keys`: BullMQ's names in Redis
//! - `look`: one pipeline for all queues, and the oldest job's age
//! - `workers`: who is connected, and who holds which active job
//! - `pace`: how fast jobs finish, and how long they take

mod keys;
mod look;
mod pace;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use spillway_brain::{Backlog, InstanceId, JobsByInstance, QueueBacklog};
use thiserror::Error;

use crate::redis_client::{Redis, RedisProblem};
pub use keys::QueueKeys;
use look::Look;
use pace::Finished;

/// Why an observation failed. Unknown is not zero: a failed observation is never an empty queue.
#[derive(Debug, Error)]
pub enum ObservationProblem {
    #[error(transparent)]
    Redis(#[from] RedisProblem),
    #[error(
        "queue \"{queue}\" has never existed in Redis at {place} under the prefix \"{prefix}\": \
         check the queue's name, the prefix and the URL (a queue exists once a job or a Queue object was made)"
    )]
    NoSuchQueue { queue: String, prefix: String, place: String },
}

/// What `spillway queues` prints of one queue. Null where unknown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueueReport {
    pub queue: String,
    pub waiting: u64,
    pub prioritized: u64,
    pub delayed: u64,
    pub delayed_due: u64,
    pub active: u64,
    pub waiting_children: u64,
    pub completed: u64,
    pub failed: u64,
    pub paused: bool,
    pub concurrency: Option<u64>,
    pub demand: u64,
    pub oldest_age_seconds: Option<f64>,
    pub finished_per_minute: Option<f64>,
    pub mean_duration_seconds: Option<f64>,
    pub workers: Option<u64>,
}

/// Reads a pool's queues. Keeps its connection, and the last look for the pace.
#[derive(Debug)]
pub struct QueueObserver {
    redis: Redis,
    queues: Vec<QueueKeys>,
    last: BTreeMap<String, Finished>,
}

impl QueueObserver {
    pub fn new(redis: Redis, prefix: &str, queues: &[String]) -> Self {
        let queues = queues.iter().map(|queue| QueueKeys::new(prefix, queue)).collect();
        QueueObserver { redis, queues, last: BTreeMap::new() }
    }

    /// One tick's observation: three round trips, whatever the number of queues or jobs. Fails as a whole when one
    /// queue is unknown: half an observation is not one.
    pub async fn observe(&mut self) -> Result<Backlog, ObservationProblem> {
        let looks = self.look().await?;
        let looks = looks.into_iter().collect::<Result<Vec<Look>, _>>()?;
        Ok(Backlog { queues: looks.iter().map(Look::backlog).collect() })
    }

    /// Everything that can be known of each queue, one result for each in the given order.
    pub async fn report(&mut self) -> Result<Vec<Result<QueueReport, ObservationProblem>>, RedisProblem> {
        let looks = self.look().await?;
        let workers = workers::connections_by_queue(&mut self.redis, &self.queues).await;
        let mut reports = Vec::new();
        for (look, keys) in looks.into_iter().zip(self.queues.clone()) {
            reports.push(match look {
                Err(problem) => Err(problem),
                Ok(look) => {
                    let recent = pace::recent(&mut self.redis, &keys, look.now_ms).await?;
                    let measured = look.finished.per_minute_since(self.last.get(&keys.queue));
                    self.last.insert(keys.queue.clone(), look.finished);
                    let finished_per_minute = measured.or(recent.finished_last_minute);
                    let workers = workers.as_ref().ok().and_then(|workers| workers.get(&keys.queue).copied());
                    Ok(look.report(finished_per_minute, recent.mean_duration, workers))
                }
            });
        }
        Ok(reports)
    }

    /// Who holds which active job; None where there are too many to tell. Costs a round trip and two
    /// values for each active job.
    pub async fn jobs_by_instance(
        &mut self,
        known: &BTreeSet<InstanceId>,
    ) -> Result<Option<JobsByInstance>, RedisProblem> {
        workers::jobs_by_instance(&mut self.redis, &self.queues, known).await
    }

    async fn look(&mut self) -> Result<Vec<Result<Look, ObservationProblem>>, RedisProblem> {
        look::look(&mut self.redis, &self.queues).await
    }
}

impl Look {
    fn backlog(&self) -> QueueBacklog {
        QueueBacklog {
            queue: self.queue.clone(),
            waiting: self.waiting,
            prioritized: self.prioritized,
            delayed: self.delayed,
            delayed_due: self.delayed_due,
            active: self.active,
            paused: self.paused,
            concurrency: self.concurrency,
            oldest_age: self.oldest_age,
            completed: self.completed,
            failed: self.failed,
        }
    }

    fn report(&self, per_minute: Option<f64>, mean: Option<Duration>, workers: Option<u64>) -> QueueReport {
        QueueReport {
            queue: self.queue.clone(),
            waiting: self.waiting,
            prioritized: self.prioritized,
            delayed: self.delayed,
            delayed_due: self.delayed_due,
            active: self.active,
            waiting_children: self.waiting_children,
            completed: self.completed,
            failed: self.failed,
            paused: self.paused,
            concurrency: self.concurrency,
            demand: self.backlog().demand(),
            oldest_age_seconds: self.oldest_age.map(|age| age.as_secs_f64()),
            finished_per_minute: per_minute,
            mean_duration_seconds: mean.map(|mean| mean.as_secs_f64()),
            workers,
        }
    }
}
