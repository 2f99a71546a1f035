//! The invariants, read a few times in a second off EC2's own record and off Redis: never off Spillway's word.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use spillway_emulator::InstanceRecord;
use tokio::time::{sleep, timeout};

use super::faults::Injected;
use super::journal::Journal;
use super::site::{MAX_INSTANCES, Site};
use super::{Broken, now_ms};
use crate::QUEUE;

const LOOK: Duration = Duration::from_millis(200);
/// Redis may be frozen.
const REDIS_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// What an ended instance held is back in wait after that, by whoever's doing: two lists of 16 s apart, a new leader.
const HANDED_BACK_WITHIN_MS: u64 = 75_000;
const TOKEN_TAG: &str = "spillway:token";
const MINUTE_MS: u64 = 60_000;
/// Two coordinators list each second, and at once after each act.
const MOST_LISTS_A_MINUTE: usize = 240;
/// Launches and terminations.
const MOST_ACTS_A_MINUTE: usize = 60;

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Seen {
    /// Ours, those included that EC2 has forgotten.
    pub records: BTreeMap<String, InstanceRecord>,
    pub peak_billing: usize,
    pub most_calls_a_minute: usize,
    pub most_acts_a_minute: usize,
    calls: VecDeque<(u64, bool)>,
    last_call: u64,
    pub calls_lost: u32,
    /// Instances that were terminated in our name while they held jobs, with what had befallen them.
    pub ended_with_jobs: u32,
    judged: BTreeSet<String>,
}

/// Until something is broken.
pub async fn watch(site: &Site, seen: &RefCell<Seen>, injected: &Injected) -> Broken {
    let mut redis = None;
    loop {
        if let Err(broken) = look(site, &mut seen.borrow_mut()) {
            return broken;
        }
        let holders = match connected(site, &mut redis).await {
            Some(connection) => timeout(REDIS_ANSWERS_WITHIN, holders(connection)).await.ok().and_then(Result::ok),
            None => None,
        };
        match holders {
            Some(holders) => {
                injected.busy.replace(holders.values().cloned().collect());
                if let Err(broken) = check_handed_back(&seen.borrow(), &holders) {
                    return broken;
                }
            }
            // Out of step, perhaps: another one next time.
            None => redis = None,
        }
        sleep(LOOK).await;
    }
}

fn look(site: &Site, seen: &mut Seen) -> Result<(), Broken> {
    for record in site.ours() {
        seen.records.insert(record.id.clone(), record);
    }
    seen.peak_billing = seen.peak_billing.max(peak(seen.records.values()));
    if seen.peak_billing > MAX_INSTANCES {
        return Err(Broken(format!("{} instances bill at once", seen.peak_billing)));
    }
    check_tokens(seen)?;
    check_foreign(site)?;
    check_calls(site, seen)
}

/// The most that billed at once, from their beginnings and ends: no moment between two looks is missed.
fn peak<'a>(records: impl Iterator<Item = &'a InstanceRecord>) -> usize {
    let mut changes: Vec<(u64, i32)> = Vec::new();
    for record in records {
        changes.push((record.launch_ms, 1));
        changes.extend(record.ending_ms.map(|at| (at, -1)));
    }
    // Of two in the same moment, the end first.
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

fn check_tokens(seen: &Seen) -> Result<(), Broken> {
    let mut tokens = BTreeSet::new();
    for record in seen.records.values() {
        let Some(token) = record.tags.get(TOKEN_TAG) else {
            return Err(Broken(format!("{} carries no launch token", record.id)));
        };
        if record.client_token.as_ref() != Some(token) || !tokens.insert(token) {
            return Err(Broken(format!("{} is the second of launch token {token}", record.id)));
        }
    }
    Ok(())
}

fn check_foreign(site: &Site) -> Result<(), Broken> {
    match site.foreign_touched().first() {
        Some(id) => Err(Broken(format!("{id}, which is somebody else's, was ended"))),
        None => Ok(()),
    }
}

fn check_calls(site: &Site, seen: &mut Seen) -> Result<(), Broken> {
    let log = site.world.emulator().calls();
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
    if acts > MOST_ACTS_A_MINUTE || seen.calls.len() - acts > MOST_LISTS_A_MINUTE {
        return Err(Broken(format!("{} calls to EC2 in a minute, {acts} of them acts", seen.calls.len())));
    }
    Ok(())
}

async fn connected<'a>(
    site: &Site,
    connection: &'a mut Option<MultiplexedConnection>,
) -> Option<&'a mut MultiplexedConnection> {
    if connection.is_none() {
        let client = redis::Client::open(site.world.redis.url()).expect("an address");
        let new = timeout(REDIS_ANSWERS_WITHIN, client.get_multiplexed_async_connection());
        *connection = new.await.ok().and_then(Result::ok);
    }
    connection.as_mut()
}

/// By active job: the instance that holds it, by its lock or else by the name that it bears.
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

fn check_handed_back(seen: &Seen, holders: &BTreeMap<String, String>) -> Result<(), Broken> {
    let now = now_ms();
    for (job, holder) in holders {
        let ending = seen.records.get(holder).and_then(|record| record.ending_ms);
        if ending.is_some_and(|at| at + HANDED_BACK_WITHIN_MS < now) {
            return Err(Broken(format!("job {job} is active on {holder}, which has ended long ago")));
        }
    }
    Ok(())
}

/// Instances that were terminated in our name must have held no job, unless something had befallen them.
pub fn judge_terminations(seen: &mut Seen, journal: &Journal, injected: &Injected) -> Result<(), Broken> {
    let causes = injected.causes.borrow();
    for record in seen.records.values() {
        let by_call = record.state_reason.as_ref().is_some_and(|it| it.code == "Client.UserInitiatedShutdown");
        let (Some(at), true) = (record.ending_ms, by_call) else { continue };
        if !seen.judged.insert(record.id.clone()) {
            continue;
        }
        let held = journal.held(&record.id, at);
        let happened_to: Vec<_> = causes.iter().filter(|cause| cause.instance == record.id).map(|it| it.what).collect();
        if held.is_empty() {
            continue;
        }
        seen.ended_with_jobs += 1;
        if happened_to.is_empty() {
            return Err(Broken(format!("{} was terminated at {at} while it held the jobs {held:?}", record.id)));
        }
    }
    Ok(())
}
