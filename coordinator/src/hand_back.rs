//! Hands an ended instance's jobs back to their queues: performs an attempt of the pool's in Redis. The script that
//! moves a job is in `spillway-handback`. The only part of the coordinator that writes to BullMQ's keys.

use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use spillway_brain::in_words;
use spillway_handback::{Held, Outcome, Queue, forbidden, hand_back, held_by};
use spillway_pool::Attempt;
use tokio::time::timeout;

use crate::clock;
use crate::redis_client::Redis;

/// For one attempt at all queues. The brain waits longer for the outcome.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Performs one pool's hand-backs.
#[derive(Clone, Debug)]
pub struct HandBacks {
    pub redis_url: String,
    pub prefix: String,
    pub queues: Vec<String>,
}

impl HandBacks {
    /// Performs an attempt at all queues, on a connection of its own.
    pub async fn perform(&self, mut attempt: Attempt) -> Attempt {
        let mut redis = match Redis::new("redis.url", &self.redis_url) {
            Ok(redis) => redis,
            Err(problem) => {
                attempt.fails(problem.to_string());
                return attempt;
            }
        };
        match timeout(TIMEOUT, self.perform_at_all_queues(&mut redis, &mut attempt)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => attempt.fails(problem),
            Err(_) => attempt.fails(format!(
                "the hand-back timed out: Redis at {} did not answer within {}",
                redis.address(),
                in_words(TIMEOUT)
            )),
        }
        attempt
    }

    /// Scans all queues concurrently, on one connection. Jobs that were handed back before an error stay handed back.
    async fn perform_at_all_queues(&self, redis: &mut Redis, attempt: &mut Attempt) -> Result<(), String> {
        let connection = redis.connected().await.map_err(|problem| problem.to_string())?;
        let scans = self.queues.iter().map(|name| scan(connection.clone(), self.queue(name), &attempt.id.0));
        let scans = join_all(scans).await;
        let mut problem = None;
        for (name, (times, found)) in self.queues.iter().zip(scans) {
            let done = match found {
                Ok(held) => hand_back_queue(&mut connection.clone(), self.queue(name), (times, held), attempt).await,
                Err(error) => Err(error),
            };
            problem = done.err().or(problem);
        }
        match problem {
            Some(error) => Err(self.problem(redis, error)),
            None => Ok(()),
        }
    }

    fn queue<'a>(&'a self, name: &'a str) -> Queue<'a> {
        Queue { prefix: &self.prefix, name }
    }

    fn problem(&self, redis: &mut Redis, error: RedisError) -> String {
        match forbidden("redis.url", &self.prefix, &error) {
            Some(problem) => problem,
            None => redis.failed(error).to_string(),
        }
    }
}

/// When a scan's request was sent and its answer came, by `clock::up`.
type Times = (Duration, Duration);

async fn scan(
    mut connection: MultiplexedConnection,
    queue: Queue<'_>,
    instance: &str,
) -> (Times, RedisResult<Vec<Held>>) {
    let sent_at = clock::up();
    let held = held_by(&mut connection, queue, instance).await;
    ((sent_at, clock::up()), held)
}

async fn hand_back_queue(
    connection: &mut MultiplexedConnection,
    queue: Queue<'_>,
    (times, held): (Times, Vec<Held>),
    attempt: &mut Attempt,
) -> RedisResult<()> {
    for job in held {
        let Some(way) = attempt.finds(times, queue.name, &job) else { continue };
        let outcome = hand_back(connection, queue, &attempt.id.0, &job, way).await?;
        tracing::debug!(instance = %attempt.id, queue = queue.name, job = job.id, ?outcome, "hand back");
        match outcome {
            Outcome::HandedBack(_) => attempt.hands_back(queue.name, &job, way),
            Outcome::LeftToStallCheck => attempt.leaves(queue.name, &job),
            Outcome::Missing | Outcome::NotActive => attempt.has_left(),
            Outcome::LockChanged | Outcome::Doubtful => {}
        }
    }
    Ok(())
}
