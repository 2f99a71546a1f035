//! The demo's jobs as Redis shows them: one atomic reading, so that its numbers add up, and BullMQ's events since the
//! last.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Script;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use spillway_stage::QUEUE;
use spillway_stage::redis_server::connection_to;

/// Reads every list of the queue, who holds each active job, and the events after ARGV[2]. A script is atomic: a job is
/// in exactly one list.
const READ: &str = r"
local key = function(part) return ARGV[1] .. part end
local waiting = redis.call('LLEN', key('wait')) + redis.call('LLEN', key('paused'))
waiting = waiting + redis.call('ZCARD', key('prioritized')) + redis.call('ZCARD', key('delayed'))
local active = redis.call('LRANGE', key('active'), 0, -1)
local holders = {}
for index, id in ipairs(active) do holders[index] = redis.call('HGET', key(id), 'pb') or '' end
local events = redis.call('XRANGE', key('events'), ARGV[2], '+')
return {waiting, redis.call('ZCARD', key('completed')), redis.call('ZCARD', key('failed')), active, holders, events}
";

/// What the script returns.
type Read = (u64, u64, u64, Vec<String>, Vec<String>, Vec<(String, BTreeMap<String, String>)>);

/// How many jobs are where. They add up to all jobs, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub waiting: u64,
    pub running: u64,
    pub done: u64,
    pub failed: u64,
}

impl Counts {
    pub(super) fn all(self) -> u64 {
        self.waiting + self.running + self.done + self.failed
    }
}

/// A job that was put back to wait because its instance went, and runs again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HandBack {
    pub job: String,
    /// From the hand-back to its start, by Redis' clock.
    pub after: Duration,
    /// The worker that runs it now; empty where it is not known.
    pub on: String,
}

/// The jobs so far.
#[derive(Debug)]
pub(super) struct Jobs {
    redis: MultiplexedConnection,
    read: Script,
    read_to: String,
    pub counts: Counts,
    /// Active jobs by the worker that holds them.
    pub running_on: BTreeMap<String, u64>,
    pub fates: Fates,
}

/// What became of the jobs, by BullMQ's events.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// Completed jobs by the worker that completed them.
    pub done_on: BTreeMap<String, u64>,
    /// When each job that was handed back and does not run yet was handed back, in Redis' milliseconds.
    waiting_again: BTreeMap<String, u64>,
    /// Hand-backs so far of each job.
    handed_back: BTreeMap<String, u64>,
}

/// What the demo's worker returns.
#[derive(Deserialize)]
struct Returned {
    by: String,
}

impl Jobs {
    pub(super) async fn connect(redis_url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            redis: connection_to(redis_url).await?,
            read: Script::new(READ),
            read_to: "-".to_owned(),
            counts: Counts::default(),
            running_on: BTreeMap::new(),
            fates: Fates::default(),
        })
    }

    /// Reads again; gives the jobs that run again since the last reading.
    pub(super) async fn observe(&mut self) -> anyhow::Result<Vec<HandBack>> {
        let mut call = self.read.prepare_invoke();
        call.arg(format!("bull:{QUEUE}:")).arg(&self.read_to);
        let (waiting, done, failed, active, holders, events): Read = call.invoke_async(&mut self.redis).await?;
        self.counts = Counts { waiting, running: active.len() as u64, done, failed };
        let holders: BTreeMap<String, String> = active.into_iter().zip(holders).collect();
        self.running_on = BTreeMap::new();
        for holder in holders.values() {
            *self.running_on.entry(holder.clone()).or_default() += 1;
        }
        let mut again = Vec::new();
        for (id, fields) in events {
            self.fates.happened(&id, &fields, &mut again);
            self.read_to = format!("({id}");
        }
        for hand_back in &mut again {
            if let (true, Some(holder)) = (hand_back.on.is_empty(), holders.get(&hand_back.job)) {
                hand_back.on.clone_from(holder);
            }
        }
        Ok(again)
    }

    /// Jobs that were started more often than their hand-backs account for, by the workers' own count.
    pub(super) async fn run_twice(&mut self) -> anyhow::Result<u64> {
        let runs: BTreeMap<String, u64> =
            redis::cmd("HGETALL").arg("spillway-demo:runs").query_async(&mut self.redis).await?;
        let expected = |field: &str| {
            let job = field.rsplit(':').next().unwrap_or_default();
            1 + self.fates.handed_back.get(job).copied().unwrap_or(0)
        };
        Ok(runs.iter().filter(|(field, runs)| **runs > expected(field)).count() as u64)
    }
}

impl Fates {
    /// One event, by its id in the stream.
    fn happened(&mut self, id: &str, fields: &BTreeMap<String, String>, again: &mut Vec<HandBack>) {
        let get = |name: &str| fields.get(name).map_or("", String::as_str);
        let at_ms: u64 = id.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0);
        let job = get("jobId").to_owned();
        match (get("event"), get("prev")) {
            // BullMQ's stall check puts it back to wait too, and says so in the same script: that is no hand-back.
            ("stalled", _) => {
                if let (Some(_), Some(count)) = (self.waiting_again.remove(&job), self.handed_back.get_mut(&job)) {
                    *count -= 1;
                }
            }
            ("waiting", "active") => {
                *self.handed_back.entry(job.clone()).or_default() += 1;
                self.waiting_again.insert(job, at_ms);
            }
            ("active", _) => {
                if let Some(since) = self.waiting_again.remove(&job) {
                    let after = Duration::from_millis(at_ms.saturating_sub(since));
                    again.push(HandBack { job, after, on: String::new() });
                }
            }
            ("completed", _) => {
                let by = serde_json::from_str::<Returned>(get("returnvalue")).map_or(String::new(), |it| it.by);
                // It may have started and completed within one reading.
                let started = again.iter_mut().find(|it| it.job == job && it.on.is_empty());
                if let Some(hand_back) = started {
                    hand_back.on.clone_from(&by);
                }
                *self.done_on.entry(by).or_default() += 1;
            }
            _ => {}
        }
    }

    /// Hand-backs so far.
    pub(super) fn hand_backs(&self) -> u64 {
        self.handed_back.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(events: &[(u64, &str, &str, &str)]) -> (Fates, Vec<HandBack>) {
        let (mut fates, mut again) = (Fates::default(), Vec::new());
        for (at, event, prev, returned) in events {
            let fields = [("event", *event), ("jobId", "7"), ("prev", *prev), ("returnvalue", *returned)];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            fates.happened(&format!("{at}-0"), &fields, &mut again);
        }
        (fates, again)
    }

    #[test]
    fn a_hand_back_is_told_once_it_runs_again_and_where() {
        let back = [(1000, "active", "waiting", ""), (2000, "waiting", "active", ""), (2004, "active", "waiting", "")];
        let (fates, again) = told(&back);
        let after = Duration::from_millis(4);
        assert_eq!(again, [HandBack { job: "7".to_owned(), after, on: String::new() }]);
        assert_eq!(fates.hand_backs(), 1);
        let (fates, again) = told(&[&back[..], &[(2010, "completed", "active", r#"{"by":"i-0a"}"#)]].concat());
        assert_eq!((again[0].on.as_str(), fates.done_on.get("i-0a")), ("i-0a", Some(&1)));
    }

    #[test]
    fn a_stalled_job_is_no_hand_back() {
        let stalled = [(1, "waiting", "active", ""), (1, "stalled", "", ""), (5, "active", "waiting", "")];
        let (fates, again) = told(&stalled);
        assert_eq!((fates.hand_backs(), again.len()), (0, 0));
    }
}
