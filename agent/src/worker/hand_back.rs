//! Hands back, from outside, the jobs that a stopped worker left active in Redis. Owns which queues and jobs are read;
//! the script and its checks are `spillway-handback`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use spillway_handback::{Held, Outcome, Queue, Way, forbidden, hand_back, hand_back_all};
use tokio::time::timeout;

use super::evidence::{Redis, in_words};
use crate::shim::wire::Job;

/// For one attempt: a queue with a thousand active jobs takes a tenth of it.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The result of one attempt.
#[derive(Debug, Default)]
pub struct Returned {
    /// Jobs that were requeued.
    pub jobs: u32,
    /// Jobs of this instance that are still active; `None` where that cannot be known.
    pub left: Option<u32>,
    /// A retry may bring more.
    pub again: bool,
    /// Why not all of it could be done.
    pub problem: Option<String>,
}

impl Redis {
    /// Hands back every job that names this instance, and those that its processes last reported to hold. The
    /// worker must be dead.
    pub async fn hand_back(&mut self, reported: &[Job]) -> Returned {
        let mut returned = Returned::default();
        match timeout(TIMEOUT, self.try_hand_back(reported, &mut returned)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.disconnect();
                // A missing permission is still missing in a second.
                let forbidden = forbidden(self.url(), self.prefix(), &error);
                returned.again = forbidden.is_none();
                returned.problem = Some(forbidden.unwrap_or_else(|| in_words(self.url(), &error)));
            }
            Err(_) => {
                self.disconnect();
                returned.again = true;
                returned.problem = Some(format!("{} did not answer in time", self.url()));
            }
        }
        match self.check(false).await {
            Ok(check) => returned.left = check.active,
            Err(problem) => {
                returned.again = true;
                returned.problem.get_or_insert(problem);
            }
        }
        returned
    }

    async fn try_hand_back(&mut self, reported: &[Job], returned: &mut Returned) -> redis::RedisResult<()> {
        let (instance, own) = (self.instance_id().to_owned(), self.queues());
        // A worker may work queues that the configuration does not name.
        let mut queues: BTreeSet<(&str, &str)> = own.iter().map(|(prefix, queue)| (&**prefix, &**queue)).collect();
        queues.extend(reported.iter().map(|job| (&*job.prefix, &*job.queue)));
        let connection = self.connected().await?;
        for job in reported {
            let queue = Queue { prefix: &job.prefix, name: &job.queue };
            let held = Held::reported(&*job.id, &*job.token);
            returned.count(hand_back(connection, queue, &instance, &held, Way::Front).await?, false);
        }
        for (prefix, name) in queues {
            for (_, outcome) in hand_back_all(connection, Queue { prefix, name }, &instance).await? {
                returned.count(outcome, true);
            }
        }
        Ok(())
    }

    /// Whether this user may hand back: tried with a script that changes nothing.
    pub async fn may_hand_back(&mut self) -> Result<(), String> {
        let key = format!("{}:spillway-check:active", self.prefix());
        let script = "redis.call('LREM',KEYS[1],1,'') redis.call('DEL',KEYS[1]) redis.call('SREM',KEYS[1],'') \
            redis.call('HDEL',KEYS[1],'x') return 1";
        let probe = async {
            let connection = self.connected().await?;
            redis::cmd("EVAL").arg(script).arg(1).arg(&key).query_async::<u32>(connection).await
        };
        match timeout(TIMEOUT, probe).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                Err(forbidden(self.url(), self.prefix(), &error).unwrap_or_else(|| in_words(self.url(), &error)))
            }
            Err(_) => Err(format!("{} did not answer in time", self.url())),
        }
    }
}

impl Returned {
    fn count(&mut self, outcome: Outcome, look_again: bool) {
        match outcome {
            Outcome::HandedBack(_) => self.jobs += 1,
            Outcome::Missing | Outcome::NotActive | Outcome::LeftToStallCheck => {}
            // A reported job: another worker's by now, or found by its name below.
            Outcome::LockChanged | Outcome::Doubtful => self.again |= look_again,
        }
    }
}
