//! Handing an ended instance's jobs back to their queues: which of them (`rule`), and asking Redis for it. The script
//! that moves a job is `spillway-handback`'s. The only place of the coordinator that writes to BullMQ's keys.

mod rule;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, RedisResult};
use spillway_brain::InstanceId;
use spillway_handback::{Outcome, Queue, hand_back, held_by};
use tokio::time::{Instant, timeout};

use crate::redis_client::{Redis, RedisProblem};
use rule::{Look, Verdict};

/// For all queues of one instance. The brain waits longer for the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What earlier looks saw of one instance's jobs, by queue and id: kept between two attempts of the same certainty. What
/// was renewed while the worker may have lived was its own; what is renewed after its death is somebody else's.
pub type Looks = BTreeMap<(String, String), Look>;

/// One pool's way to hand back.
#[derive(Clone, Debug)]
pub struct HandBacks {
    pub redis_url: String,
    pub prefix: String,
    pub queues: Vec<String>,
}

/// What one attempt came to.
#[derive(Debug, Default)]
pub struct Attempt {
    pub handed_back: u32,
    /// Jobs that are still the instance's.
    pub left: u32,
    /// Why not all of it could be done.
    pub problem: Option<String>,
    /// For the next attempt.
    pub looks: Looks,
}

impl HandBacks {
    /// One attempt at all queues, with a connection of its own. `certain`: the instance's worker is dead.
    pub async fn attempt(&self, id: &InstanceId, certain: bool, looks: Looks) -> Attempt {
        let mut redis = match Redis::new("redis.url", &self.redis_url) {
            Ok(redis) => redis,
            Err(problem) => return Attempt { problem: Some(problem.to_string()), looks, ..Attempt::default() },
        };
        match timeout(PATIENCE, self.all_queues(&mut redis, id, certain, &looks)).await {
            Ok(Ok(attempt)) => attempt,
            Ok(Err(problem)) => Attempt { problem: Some(problem.to_string()), looks, ..Attempt::default() },
            Err(_) => {
                let problem = Some(format!("Redis at {} does not answer in time", redis.place()));
                Attempt { problem, looks, ..Attempt::default() }
            }
        }
    }

    async fn all_queues(
        &self,
        redis: &mut Redis,
        id: &InstanceId,
        certain: bool,
        looks: &Looks,
    ) -> Result<Attempt, RedisProblem> {
        let connection = redis.connected().await?;
        // On one connection: the queues' commands go out together.
        let queues = self.queues.iter().map(|name| {
            let queue = Queue { prefix: &self.prefix, name };
            one_queue(connection.clone(), queue, id, certain, looks)
        });
        let mut all = Attempt::default();
        for (mut attempt, error) in join_all(queues).await {
            all.handed_back += attempt.handed_back;
            all.left += attempt.left;
            all.looks.append(&mut attempt.looks);
            if let Some(error) = error {
                all.problem = Some(self.problem(redis, error));
            }
        }
        if all.problem.is_some() {
            // What this attempt did not come to is not forgotten.
            let mut known = looks.clone();
            known.append(&mut all.looks);
            all.looks = known;
        }
        Ok(all)
    }

    fn problem(&self, redis: &mut Redis, error: RedisError) -> String {
        if let Some(forbidden) = spillway_handback::forbidden("redis.url", &self.prefix, &error) {
            return forbidden;
        }
        redis.failed(error).to_string()
    }
}

/// What was done before an error stands.
async fn one_queue(
    mut connection: MultiplexedConnection,
    queue: Queue<'_>,
    id: &InstanceId,
    certain: bool,
    looks: &Looks,
) -> (Attempt, Option<RedisError>) {
    let mut attempt = Attempt::default();
    let done = try_one_queue(&mut connection, queue, id, certain, (looks, &mut attempt)).await;
    (attempt, done.err())
}

async fn try_one_queue(
    connection: &mut MultiplexedConnection,
    queue: Queue<'_>,
    id: &InstanceId,
    certain: bool,
    (looks, attempt): (&Looks, &mut Attempt),
) -> RedisResult<()> {
    let began = Instant::now();
    let held = held_by(connection, queue, &id.0).await?;
    let answered = Instant::now();
    for job in held {
        let key = (queue.name.to_owned(), job.id.clone());
        let look = Look::new((began, answered), &job, looks.get(&key));
        let verdict = rule::verdict(&look, &job, certain);
        attempt.looks.insert(key, look);
        match verdict {
            Verdict::NotIts => {}
            Verdict::Wait => attempt.left += 1,
            Verdict::HandBack => {
                // It counts as left until Redis says what became of it.
                attempt.left += 1;
                let outcome = hand_back(connection, queue, &id.0, &job).await?;
                tracing::debug!(%id, queue = queue.name, job = job.id, ?outcome, "hand back");
                match outcome {
                    Outcome::HandedBack(_) => {
                        attempt.left -= 1;
                        attempt.handed_back += 1;
                    }
                    Outcome::Missing | Outcome::NotActive => attempt.left -= 1,
                    Outcome::LockChanged | Outcome::Doubtful => {}
                }
            }
        }
    }
    Ok(())
}
