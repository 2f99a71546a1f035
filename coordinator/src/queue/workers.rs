//! The workers that are connected to a queue, and the instances that hold its active jobs.

use std::collections::{BTreeMap, BTreeSet};

use redis::pipe;
use spillway_brain::{InstanceId, JobsByInstance};

use super::keys::QueueKeys;
use super::reply::{decoration, lossy};
use crate::redis_client::{Redis, RedisProblem};

/// Active jobs read per queue: far more than a pool's workers hold. With more the scan gives no result, rather than too
/// low a one.
const ACTIVE_READ: usize = 10_000;

/// Worker connections by queue. CLIENT LIST is expensive with thousands of clients (2.85 MB and 15 ms of a blocked
/// server at 10,000, measured): for `spillway queues`, not for every tick.
pub(super) async fn connections_by_queue(
    redis: &mut Redis,
    queues: &[QueueKeys],
) -> Result<BTreeMap<String, u64>, RedisProblem> {
    let (clients,): (String,) = redis.query(pipe().cmd("CLIENT").arg("LIST")).await?;
    let names: Vec<&str> = clients.lines().filter_map(client_name).collect();
    let count = |keys: &QueueKeys| {
        let own = keys.connection_name();
        let named = format!("{own}:w:");
        names.iter().filter(|name| **name == own || name.starts_with(&named)).count() as u64
    };
    Ok(queues.iter().map(|keys| (keys.queue.clone(), count(keys))).collect())
}

/// Number of active jobs by the instance that their lock or their `pb` field (the Worker's name) names. Jobs of unnamed
/// Workers name none. None if there are too many active jobs to read.
pub(super) async fn jobs_by_instance(
    redis: &mut Redis,
    queues: &[QueueKeys],
    known: &BTreeSet<InstanceId>,
) -> Result<Option<JobsByInstance>, RedisProblem> {
    let mut pipeline = pipe();
    for keys in queues {
        pipeline.cmd("LRANGE").arg(keys.key("active")).arg(0).arg(ACTIVE_READ);
    }
    let active = redis.query_each(&mut pipeline).await?.into_iter().map(decoration::<Vec<Vec<u8>>>);
    // A list that cannot be read may name any instance.
    let Some(active) = active.collect::<Option<Vec<_>>>() else { return Ok(None) };
    if active.iter().any(|ids| ids.len() > ACTIVE_READ) {
        return Ok(None);
    }
    let mut pipeline = pipe();
    for (keys, ids) in queues.iter().zip(&active) {
        for id in ids {
            let id = String::from_utf8_lossy(id);
            pipeline.cmd("HGET").arg(keys.key(&id)).arg("pb");
            pipeline.cmd("GET").arg(keys.key(&format!("{id}:lock")));
        }
    }
    let mut seen = JobsByInstance::default();
    if pipeline.is_empty() {
        return Ok(Some(seen));
    }
    let answers =
        redis.query_each(&mut pipeline).await?.into_iter().map(|answer| decoration::<Vec<u8>>(answer).map(lossy));
    for answer in answers.collect::<Vec<Option<String>>>().chunks_exact(2) {
        if let Some(holder) = holder(answer[0].as_deref(), answer[1].as_deref(), known) {
            *seen.jobs.entry(holder).or_default() += 1;
        }
    }
    Ok(Some(seen))
}

/// The instance that holds an active job. The shim begins the lock's token with the instance's id, in every version of
/// BullMQ; `pb` exists from 5.3.0 on, and stays from an earlier run if the current run's Worker has no name.
pub(super) fn holder(pb: Option<&str>, token: Option<&str>, known: &BTreeSet<InstanceId>) -> Option<InstanceId> {
    let by_token = token.and_then(|token| token.split_once(':')).map(|(name, _)| InstanceId(name.to_owned()));
    let is_instance = |id: &InstanceId| id.0.starts_with("i-") || known.contains(id);
    by_token.filter(is_instance).or_else(|| pb.map(|name| InstanceId(name.to_owned())))
}

/// The `name=` of one line of CLIENT LIST.
fn client_name(line: &str) -> Option<&str> {
    line.split(' ').find_map(|field| field.strip_prefix("name=")).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_its_locks_instances_or_else_whose_name_it_bears() {
        let known = BTreeSet::from([InstanceId("vm-7".to_owned())]);
        for (pb, token, expected) in [
            (None, None, None),
            (None, Some("5e0c:3"), None),
            (None, Some("i-1"), None),
            (None, Some("i-1:5e0c:3"), Some("i-1")),
            (None, Some("vm-7:5e0c:3"), Some("vm-7")),
            (None, Some("vm-8:5e0c:3"), None),
            (Some("i-1"), None, Some("i-1")),
            (Some("i-1"), Some("5e0c:3"), Some("i-1")),
            (Some("i-1"), Some("i-1:5e0c:3"), Some("i-1")),
            (Some("i-1"), Some("i-2:5e0c:3"), Some("i-2")),
        ] {
            let said = holder(pb, token, &known).map(|id| id.0);
            assert_eq!(said.as_deref(), expected, "{pb:?} {token:?}");
        }
    }

    #[test]
    fn names_are_read_from_client_list() {
        let line =
            "id=7 addr=10.0.0.5:4242 laddr=10.0.0.1:6379 fd=8 name=bull:dmlkZW8=:w:i-1 age=3 idle=0 flags=b db=0";
        assert_eq!(client_name(line), Some("bull:dmlkZW8=:w:i-1"));
        assert_eq!(client_name("id=8 addr=10.0.0.5:4242 name= age=3"), None);
    }
}
