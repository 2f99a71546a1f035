//! Reads BullMQ's queues from Redis, without ever writing (BullMQ's own `getCounts` writes, and is not used). Keys and
//! formulas are valid for BullMQ 3 to 6, and were measured against its own counters.
//!
//! - `keys`: BullMQ's names in Redis; `discover`: which queues a Redis has
//! - `reading`: one pipeline for all queues, and the oldest job's age
//! - `workers`: the connected workers, and which instance holds which active job
//! - `throughput`: how fast jobs finish, and how long they take
//! - `jobs`: which jobs started and ended between two observations
//! - `work`: the jobs one by one, for a policy that predicts starts

mod discover;
mod jobs;
mod keys;
mod reading;
mod reply;
mod throughput;
mod work;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use spillway_brain::{Backlog, InstanceId, JobsByInstance, QueueBacklog, Work};
use thiserror::Error;

use crate::redis_client::{Redis, RedisProblem};
pub use discover::{FoundQueue, discover};
pub use jobs::{Counts, JobsObserver};
pub use keys::QueueKeys;
use reading::Reading;
use throughput::Finished;
use work::WorkObserver;

/// Why an observation failed. Unknown is not zero: a failed observation is never an empty queue.
#[derive(Debug, Error)]
pub enum ObservationProblem {
    #[error(transparent)]
    Redis(#[from] RedisProblem),
    #[error(
        "queue \"{queue}\" has never existed in Redis at {address} under the prefix \"{prefix}\": \
         check the queue's name, the prefix and the URL (BullMQ creates a queue with its first job or Queue object)"
    )]
    NoSuchQueue { queue: String, prefix: String, address: String },
    #[error(
        "queue \"{queue}\" in Redis at {address} cannot be read: {detail}; BullMQ keeps another kind of value there: rename or \
         delete what another program wrote"
    )]
    Unreadable { queue: String, address: String, detail: String },
}

/// What `spillway queues` prints about one queue. None where unknown.
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

/// Reads a pool's queues. Keeps its connection, and the last counts for the throughput.
#[derive(Debug)]
pub struct QueueObserver {
    redis: Redis,
    queues: Vec<QueueKeys>,
    last: BTreeMap<String, Finished>,
    work: WorkObserver,
}

impl QueueObserver {
    pub fn new(redis: Redis, prefix: &str, queues: &[String]) -> Self {
        let queues = queues.iter().map(|queue| QueueKeys::new(prefix, queue)).collect();
        QueueObserver { redis, queues, last: BTreeMap::new(), work: WorkObserver::default() }
    }

    /// One observation: three round trips, whatever the number of queues or jobs. Fails as a whole if one queue cannot
    /// be read. One that does not exist is in it as missing: the ledger knows whether it ever did. With what it
    /// counted, for whoever sees jobs start and end.
    pub async fn observe(&mut self) -> Result<(Backlog, Counts), ObservationProblem> {
        let one = |reading: Result<Reading, ObservationProblem>| match reading {
            Ok(reading) => Ok(reading.backlog()),
            Err(problem) => match &problem {
                ObservationProblem::NoSuchQueue { queue, .. } => {
                    let missing = Some(problem.to_string());
                    Ok(QueueBacklog { queue: queue.clone(), missing, ..QueueBacklog::default() })
                }
                _ => Err(problem),
            },
        };
        let readings = self.read_all().await?;
        let mut counts = Counts::default();
        readings.iter().flatten().for_each(|reading| counts.read(reading));
        let queues = readings.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
        queues.iter().filter(|it| it.missing.is_some()).for_each(|it| counts.missing(&it.queue));
        Ok((Backlog { queues }, counts))
    }

    /// A report on each queue, in the order in which they were given.
    pub async fn report(&mut self) -> Result<Vec<Result<QueueReport, ObservationProblem>>, RedisProblem> {
        let readings = self.read_all().await?;
        let workers = workers::connections_by_queue(&mut self.redis, &self.queues).await;
        let mut reports = Vec::new();
        for (reading, keys) in readings.into_iter().zip(self.queues.clone()) {
            reports.push(match reading {
                Err(problem) => Err(problem),
                Ok(reading) => {
                    let recent = throughput::recent(&mut self.redis, &keys, reading.now_ms).await?;
                    let measured = reading.finished.per_minute_since(self.last.get(&keys.queue));
                    self.last.insert(keys.queue.clone(), reading.finished);
                    let finished_per_minute = measured.or(recent.finished_last_minute);
                    let workers = workers.as_ref().ok().and_then(|workers| workers.get(&keys.queue).copied());
                    Ok(reading.report(finished_per_minute, recent.mean_duration, workers))
                }
            });
        }
        Ok(reports)
    }

    /// A scan: the number of active jobs that each instance holds; None if there are too many active jobs to read.
    /// Costs two round trips, and two values for each active job.
    pub async fn jobs_by_instance(
        &mut self,
        known: &BTreeSet<InstanceId>,
    ) -> Result<Option<JobsByInstance>, RedisProblem> {
        workers::jobs_by_instance(&mut self.redis, &self.queues, known).await
    }

    /// The jobs one by one, of an observation that was just made. None if there are too many active jobs to read.
    pub async fn work(&mut self, counts: &Counts, known: &BTreeSet<InstanceId>) -> Result<Option<Work>, RedisProblem> {
        self.work.look(&mut self.redis, &self.queues, counts, known).await
    }

    async fn read_all(&mut self) -> Result<Vec<Result<Reading, ObservationProblem>>, RedisProblem> {
        reading::read_all(&mut self.redis, &self.queues).await
    }
}

impl Reading {
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
            rate_limit: self.rate_limit.clone(),
            oldest_age: self.oldest_age,
            completed: self.completed,
            failed: self.failed,
            missing: None,
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
