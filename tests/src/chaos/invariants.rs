//! The invariant checks, a few times a second, against the emulator's record and Redis: never against what Spillway
//! reports.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use spillway_emulator::InstanceRecord;
use tokio::time::{sleep, timeout};

use super::faults::Injected;
use super::journal::Journal;
use super::stage::{ChaosStage, MAX_INSTANCES};
use super::{Violation, now_ms};
use crate::QUEUE;

const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Redis may be frozen.
const REDIS_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Jobs of an ended instance are requeued within this time, by whatever means: two listings 16 s apart, a new leader.
const HANDED_BACK_WITHIN_MS: u64 = 75_000;
const TOKEN_TAG: &str = "spillway:token";
const MINUTE_MS: u64 = 60_000;
/// Two coordinators list every second, and at once after each launch or termination.
const MOST_LISTS_A_MINUTE: usize = 240;
/// Launches and terminations.
const MOST_ACTS_A_MINUTE: usize = 60;

/// What has been seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Our instances, including those that EC2 no longer lists.
    pub records: BTreeMap<String, InstanceRecord>,
    pub peak_billing: usize,
    pub most_calls_a_minute: usize,
    pub most_acts_a_minute: usize,
    calls: VecDeque<(u64, bool)>,
    last_call: u64,
    pub calls_lost: u32,
    /// Instances that Spillway terminated while they held jobs, after a fault had hit them.
    pub ended_with_jobs: u32,
    judged: BTreeSet<String>,
}

/// Checks until an invariant is violated.
pub async fn check(stage: &ChaosStage, seen: &RefCell<Seen>, injected: &Injected) -> Violation {
    let mut redis = None;
    loop {
        if let Err(violation) = check_ec2(stage, &mut seen.borrow_mut()) {
            return violation;
        }
        let holders = match connected(stage, &mut redis).await {
            Some(connection) => timeout(REDIS_ANSWERS_WITHIN, holders(connection)).await.ok().and_then(Result::ok),
            None => None,
        };
        match holders {
            Some(holders) => {
                injected.busy.replace(holders.values().cloned().collect());
                if let Err(violation) = check_handed_back(&seen.borrow(), &holders) {
                    return violation;
                }
            }
            // The connection may be out of step: the next check opens another.
            None => redis = None,
        }
        sleep(POLL_INTERVAL).await;
    }
}

fn check_ec2(stage: &ChaosStage, seen: &mut Seen) -> Result<(), Violation> {
    for record in stage.ours() {
        seen.records.insert(record.id.clone(), record);
    }
    seen.peak_billing = seen.peak_billing.max(peak(seen.records.values()));
    if seen.peak_billing > MAX_INSTANCES {
        return Err(Violation(format!("{} billable instances at once", seen.peak_billing)));
    }
    check_tokens(seen)?;
    check_foreign(stage)?;
    check_calls(stage, seen)
}

/// The most billable instances at once, from their launches and ends: no moment between two checks is missed.
fn peak<'a>(records: impl Iterator<Item = &'a InstanceRecord>) -> usize {
    let mut changes: Vec<(u64, i32)> = Vec::new();
    for record in records {
        changes.push((record.launch_ms, 1));
        changes.extend(record.ending_ms.map(|at| (at, -1)));
    }
    // An end counts before a launch in the same millisecond.
    changes.sort_unstable();
    let now = changes.into_iter().scan(0, |now, (_, change)| {
        *now += change;
        Some(*now)
    });
    usize::try_from(now.max().unwrap_or(0)).unwrap_or(0)
}

impl Seen {
    /// Launch tokens, by the instances' tags.
    pub fn tokens(&self) -> BTreeSet<&String> {
        self.records.values().filter_map(|record| record.tags.get(TOKEN_TAG)).collect()
    }
}

fn check_tokens(seen: &Seen) -> Result<(), Violation> {
    let mut tokens = BTreeSet::new();
    for record in seen.records.values() {
        let Some(token) = record.tags.get(TOKEN_TAG) else {
            return Err(Violation(format!("{} carries no launch token", record.id)));
        };
        if record.client_token.as_ref() != Some(token) || !tokens.insert(token) {
            return Err(Violation(format!("{} is the second instance of launch token {token}", record.id)));
        }
    }
    Ok(())
}

fn check_foreign(stage: &ChaosStage) -> Result<(), Violation> {
    if let Some(id) = stage.others_touched().first() {
        return Err(Violation(format!("{id}, an instance of the other installation, was to be terminated")));
    }
    match stage.foreign_touched().first() {
        Some(id) => Err(Violation(format!("{id}, an instance of another client, was ended"))),
        None => Ok(()),
    }
}

fn check_calls(stage: &ChaosStage, seen: &mut Seen) -> Result<(), Violation> {
    let log = stage.base.emulator().calls();
    for call in log.calls.iter().filter(|call| call.number > seen.last_call) {
        seen.calls.push_back((call.at_ms, !call.action.starts_with("Describe")));
        seen.calls_lost += u32::from(call.lost);
    }
    seen.last_call = log.total;
    let now = now_ms();
    while seen.calls.front().is_some_and(|(at, _)| *at + MINUTE_MS < now) {
        seen.calls.pop_front();
    }
    let acts = seen.calls.iter().filter(|(_, acts)| *acts).count();
    seen.most_calls_a_minute = seen.most_calls_a_minute.max(seen.calls.len());
    seen.most_acts_a_minute = seen.most_acts_a_minute.max(acts);
    let installations = stage.installations();
    let (most_acts, most_lists) = (MOST_ACTS_A_MINUTE * installations, MOST_LISTS_A_MINUTE * installations);
    if acts > most_acts || seen.calls.len() - acts > most_lists {
        return Err(Violation(format!(
            "{} calls to EC2 in a minute, {acts} of them launches or terminations",
            seen.calls.len()
        )));
    }
    Ok(())
}

async fn connected<'a>(
    stage: &ChaosStage,
    connection: &'a mut Option<MultiplexedConnection>,
) -> Option<&'a mut MultiplexedConnection> {
    if connection.is_none() {
        let client = redis::Client::open(stage.base.redis.url()).expect("an address");
        let new = timeout(REDIS_ANSWERS_WITHIN, client.get_multiplexed_async_connection());
        *connection = new.await.ok().and_then(Result::ok);
    }
    connection.as_mut()
}

/// By active job: the instance that holds it, by its lock's token or else by its worker's name.
async fn holders(redis: &mut MultiplexedConnection) -> redis::RedisResult<BTreeMap<String, String>> {
    let active: Vec<String> =
        redis::cmd("LRANGE").arg(format!("bull:{QUEUE}:active")).arg(0).arg(-1).query_async(redis).await?;
    let mut holders = BTreeMap::new();
    for job in active {
        let mut both = redis::pipe();
        both.cmd("GET").arg(format!("bull:{QUEUE}:{job}:lock"));
        both.cmd("HGET").arg(format!("bull:{QUEUE}:{job}")).arg("pb");
        let (lock, name): (Option<String>, Option<String>) = both.query_async(redis).await?;
        let holder = match &lock {
            Some(token) => token.split(':').next().filter(|holder| holder.starts_with("i-")),
            None => name.as_deref(),
        };
        holders.extend(holder.map(|holder| (job, holder.to_owned())));
    }
    Ok(holders)
}

fn check_handed_back(seen: &Seen, holders: &BTreeMap<String, String>) -> Result<(), Violation> {
    let now = now_ms();
    for (job, holder) in holders {
        let ending = seen.records.get(holder).and_then(|record| record.ending_ms);
        if ending.is_some_and(|at| at + HANDED_BACK_WITHIN_MS < now) {
            return Err(Violation(format!("job {job} is still active in the name of {holder}, which ended long ago")));
        }
    }
    Ok(())
}

/// Instances that Spillway terminated must have held no job, unless a fault had hit them.
pub fn judge_terminations(seen: &mut Seen, journal: &Journal, injected: &Injected) -> Result<(), Violation> {
    let causes = injected.causes.borrow();
    for record in seen.records.values() {
        let by_call = record.state_reason.as_ref().is_some_and(|it| it.code == "Client.UserInitiatedShutdown");
        let (Some(at), true) = (record.ending_ms, by_call) else { continue };
        if !seen.judged.insert(record.id.clone()) {
            continue;
        }
        let held = journal.held(&record.id, at);
        let hits: Vec<_> = causes.iter().filter(|cause| cause.instance == record.id).map(|it| it.what).collect();
        if held.is_empty() {
            continue;
        }
        seen.ended_with_jobs += 1;
        if hits.is_empty() {
            return Err(Violation(format!("{} was terminated at {at} while it held the jobs {held:?}", record.id)));
        }
    }
    Ok(())
}
