//! What a worker that is gone left active in Redis, handed back from outside. Owns which queues and jobs are looked at;
//! the script and its checks are `spillway-handback`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use spillway_handback::{Held, Outcome, Queue, forbidden, hand_back, hand_back_all};
use tokio::time::timeout;

use super::evidence::{Redis, in_words};
use crate::shim::wire::Job;

/// For one attempt: a queue with a thousand active jobs takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one attempt came to.
#[derive(Debug, Default)]
pub struct Returned {
    /// Jobs that wait again.
    pub jobs: u32,
    /// Jobs of this instance that are still active; `None` where that cannot be known.
    pub left: Option<u32>,
    /// Another attempt may bring more.
    pub again: bool,
    /// Why not all of it could be done.
    pub problem: Option<String>,
}

impl Redis {
    /// Hands back every job that says it is this instance's, and those that its processes last said they held. The
    /// worker must be dead.
    pub async fn hand_back(&mut self, reported: &[Job]) -> Returned {
        let mut returned = Returned::default();
        match timeout(PATIENCE, self.try_hand_back(reported, &mut returned)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.disconnect();
                // What this user may not do it may not do in a second either.
                let forbidden = forbidden(self.url(), self.prefix(), &error);
                returned.again = forbidden.is_none();
                returned.problem = Some(forbidden.unwrap_or_else(|| in_words(self.url(), &error)));
            }
            Err(_) => {
                self.disconnect();
                returned.again = true;
                returned.problem = Some(format!("{} does not answer", self.url()));
            }
        }
        match self.look(false).await {
            Ok(look) => returned.left = look.active,
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
            returned.count(hand_back(connection, queue, &instance, &held).await?, false);
        }
        for (prefix, name) in queues {
            for (_, outcome) in hand_back_all(connection, Queue { prefix, name }, &instance).await? {
                returned.count(outcome, true);
            }
        }
        Ok(())
    }

    /// Whether this user may hand back: asked by a script that changes nothing.
    pub async fn may_hand_back(&mut self) -> Result<(), String> {
        let key = format!("{}:spillway-check:active", self.prefix());
        let script = "redis.call('LREM',KEYS[1],1,'') redis.call('DEL',KEYS[1]) redis.call('SREM',KEYS[1],'') \
            redis.call('HDEL',KEYS[1],'x') return 1";
        let ask = async {
            let connection = self.connected().await?;
            redis::cmd("EVAL").arg(script).arg(1).arg(&key).query_async::<u32>(connection).await
        };
        match timeout(PATIENCE, ask).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                Err(forbidden(self.url(), self.prefix(), &error).unwrap_or_else(|| in_words(self.url(), &error)))
            }
            Err(_) => Err(format!("{} does not answer", self.url())),
        }
    }
}

impl Returned {
    fn count(&mut self, outcome: Outcome, look_again: bool) {
        match outcome {
            Outcome::HandedBack(_) => self.jobs += 1,
            Outcome::Missing | Outcome::NotActive => {}
            // Of a reported job: somebody else's by now, or found by its name below.
            Outcome::LockChanged | Outcome::Doubtful => self.again |= look_again,
        }
    }
}
