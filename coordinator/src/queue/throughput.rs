//! How fast jobs finish, and how long they take.

use std::time::Duration;

use redis::{Value, pipe};

use super::keys::QueueKeys;
use super::reply::{decoration, lossy, whole};
use crate::redis_client::{Redis, RedisProblem};

/// Number of newest finished jobs from which the mean duration is taken.
const SAMPLE: isize = 50;

/// Counts from which two observations tell how many jobs finished in between: jobs added so far, less those that are
/// not finished. Exact even where finished jobs are removed; a removal by hand shows as a negative difference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished {
    pub at_ms: u64,
    pub added: u64,
    pub unfinished: u64,
}

impl Finished {
    /// Jobs that ever ended; None where the counts contradict each other.
    pub(super) fn finished(&self) -> Option<u64> {
        self.added.checked_sub(self.unfinished)
    }

    /// None without an earlier observation, or if jobs were removed by hand in between.
    pub(super) fn per_minute_since(&self, earlier: Option<&Finished>) -> Option<f64> {
        let earlier = earlier?;
        let elapsed_ms = self.at_ms.checked_sub(earlier.at_ms).filter(|elapsed| *elapsed > 0)?;
        let jobs = self.finished()?.checked_sub(earlier.finished()?)?;
        Some(jobs as f64 * 60_000.0 / elapsed_ms as f64)
    }
}

/// What the finished jobs that Redis still keeps show.
pub(super) struct Recent {
    /// None if no finished job is kept.
    pub finished_last_minute: Option<f64>,
    pub mean_duration: Option<Duration>,
}

pub(super) async fn recent(redis: &mut Redis, keys: &QueueKeys, now_ms: u64) -> Result<Recent, RedisProblem> {
    let mut pipeline = pipe();
    let a_minute_ago = now_ms.saturating_sub(60_000);
    pipeline.cmd("ZCOUNT").arg(keys.key("completed")).arg(a_minute_ago).arg("+inf");
    pipeline.cmd("ZCOUNT").arg(keys.key("failed")).arg(a_minute_ago).arg("+inf");
    pipeline.cmd("ZREVRANGE").arg(keys.key("completed")).arg(0).arg(SAMPLE - 1);
    let mut answers = redis.query_each(&mut pipeline).await?.into_iter();
    let (completed, failed): (Option<u64>, Option<u64>) =
        (answers.next().and_then(decoration), answers.next().and_then(decoration));
    let ids: Vec<Vec<u8>> = answers.next().and_then(decoration).unwrap_or_default();
    if ids.is_empty() {
        return Ok(Recent { finished_last_minute: None, mean_duration: None });
    }
    let mut pipeline = pipe();
    for id in ids {
        pipeline.cmd("HMGET").arg(keys.key(&lossy(id))).arg("processedOn").arg("finishedOn");
    }
    let times = redis.query_each(&mut pipeline).await?.into_iter().filter_map(decoration::<(Value, Value)>);
    let durations: Vec<u64> =
        times.filter_map(|(started, finished)| whole(finished)?.checked_sub(whole(started)?)).collect();
    let mean_ms = durations.iter().copied().fold(0, u64::saturating_add).checked_div(durations.len() as u64);
    Ok(Recent {
        finished_last_minute: completed.zip(failed).map(|(completed, failed)| completed.saturating_add(failed) as f64),
        mean_duration: mean_ms.map(Duration::from_millis),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throughput_is_what_was_added_less_what_is_left() {
        let at = |at_ms, added, unfinished| Finished { at_ms, added, unfinished };
        let first = at(0, 100, 40);
        assert_eq!(at(60_000, 110, 20).per_minute_since(Some(&first)), Some(30.0));
        assert_eq!(at(30_000, 100, 30).per_minute_since(Some(&first)), Some(20.0));
        assert_eq!(at(60_000, 100, 50).per_minute_since(Some(&first)), None, "jobs were put back by hand");
        assert_eq!(at(0, 100, 40).per_minute_since(Some(&first)), None, "no time has passed");
        assert_eq!(first.per_minute_since(None), None);
    }
}
