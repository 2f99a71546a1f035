//! Handing an ended instance's jobs back to their queues: asking Redis for what an attempt of the pool's says. The script
//! that moves a job is `spillway-handback`'s. The only place of the coordinator that writes to BullMQ's keys.

use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use spillway_handback::{Held, Outcome, Queue, hand_back, held_by};
use spillway_pool::Attempt;
use tokio::time::{Instant, timeout};

use crate::redis_client::Redis;

/// For all queues of one instance. The brain waits longer for the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One pool's way to hand back.
#[derive(Clone, Debug)]
pub struct HandBacks {
    pub redis_url: String,
    pub prefix: String,
    pub queues: Vec<String>,
}

impl HandBacks {
    /// Carries out an attempt at all queues, with a connection of its own. `began`: of the process.
    pub async fn carry_out(&self, began: Instant, mut attempt: Attempt) -> Attempt {
        let mut redis = match Redis::new("redis.url", &self.redis_url) {
            Ok(redis) => redis,
            Err(problem) => {
                attempt.fails(problem.to_string());
                return attempt;
            }
        };
        match timeout(PATIENCE, self.all_queues(&mut redis, began, &mut attempt)).await {
            Ok(Ok(())) => {}
            Ok(Err(problem)) => attempt.fails(problem),
            Err(_) => attempt.fails(format!("Redis at {} does not answer in time", redis.place())),
        }
        attempt
    }

    /// What was done before an error stands. The queues are looked at together, on one connection.
    async fn all_queues(&self, redis: &mut Redis, began: Instant, attempt: &mut Attempt) -> Result<(), String> {
        let connection = redis.connected().await.map_err(|problem| problem.to_string())?;
        let looks = self.queues.iter().map(|name| look(connection.clone(), began, self.queue(name), &attempt.id.0));
        let looks = join_all(looks).await;
        let mut problem = None;
        for (name, (times, found)) in self.queues.iter().zip(looks) {
            let done = match found {
                Ok(held) => one_queue(&mut connection.clone(), self.queue(name), (times, held), attempt).await,
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
        if let Some(forbidden) = spillway_handback::forbidden("redis.url", &self.prefix, &error) {
            return forbidden;
        }
        redis.failed(error).to_string()
    }
}

/// When a look's question was sent and its answer came, since the process began.
type Times = (Duration, Duration);

async fn look(
    mut connection: MultiplexedConnection,
    began: Instant,
    queue: Queue<'_>,
    instance: &str,
) -> (Times, RedisResult<Vec<Held>>) {
    let asked = began.elapsed();
    let held = held_by(&mut connection, queue, instance).await;
    ((asked, began.elapsed()), held)
}

async fn one_queue(
    connection: &mut MultiplexedConnection,
    queue: Queue<'_>,
    (times, held): (Times, Vec<Held>),
    attempt: &mut Attempt,
) -> RedisResult<()> {
    for job in held {
        if !attempt.finds(times, queue.name, &job) {
            continue;
        }
        let outcome = hand_back(connection, queue, &attempt.id.0, &job).await?;
        tracing::debug!(id = %attempt.id, queue = queue.name, job = job.id, ?outcome, "hand back");
        match outcome {
            Outcome::HandedBack(_) => attempt.hands_back(),
            Outcome::Missing | Outcome::NotActive => attempt.has_left(),
            Outcome::LockChanged | Outcome::Doubtful => {}
        }
    }
    Ok(())
}
