//! Which instance is taken, and the jobs that it holds.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use redis::{Value, pipe};
use spillway_console::client::refused;
use spillway_coordinator::queue::QueueKeys;
use spillway_handback::{Queue, held_by};
use spillway_proto::v1;
use tokio::time::{Duration, Instant, sleep};

use super::{Options, Scene};

const POLL: Duration = Duration::from_millis(250);

/// The instance that is taken.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub instance: String,
    pub pool: String,
    pub prefix: String,
    /// Its jobs: queue and id.
    pub jobs: Vec<(String, String)>,
    /// By queue: its last event before these jobs were read, so that no end of one is missed.
    pub read_to: BTreeMap<String, String>,
    /// Instances that the pool has already: a replacement is none of them.
    pub others: Vec<String>,
}

impl Target {
    /// The one that was asked for, or the ready one with the most jobs; waits until it holds one.
    pub(super) async fn choose(scene: &mut Scene, options: &Options) -> anyhow::Result<Self> {
        let until = Instant::now() + options.wait;
        let mut told = false;
        loop {
            let found = look(scene, options.instance.as_deref()).await?;
            if let Some(target) = found.into_iter().max_by_key(|target| target.jobs.len())
                && !target.jobs.is_empty()
            {
                return Ok(target);
            }
            if Instant::now() >= until {
                let who = match &options.instance {
                    Some(id) => format!("{id} has no running job"),
                    None => "no ready instance has a running job".to_owned(),
                };
                bail!("{who}: add jobs, or wait longer with --wait 10m");
            }
            if !told {
                scene.say("waiting for an instance with a running job …");
                told = true;
            }
            sleep(POLL).await;
        }
    }
}

/// All instances that may be taken, with their jobs.
async fn look(scene: &mut Scene, wanted: Option<&str>) -> anyhow::Result<Vec<Target>> {
    let fleet = scene.coordinator.get_fleet(v1::GetFleetRequest::default()).await.map_err(refused)?.into_inner();
    let by_pool: BTreeMap<&str, Vec<&v1::Instance>> =
        fleet.pools.iter().map(|pool| (pool.name.as_str(), pool.instances.iter().collect())).collect();
    let mut targets = Vec::new();
    for (pool, instances) in by_pool {
        for instance in &instances {
            if wanted.is_some_and(|id| id != instance.id) {
                continue;
            }
            if instance.phase != "ready" {
                if wanted.is_some() {
                    bail!("{} is {}: only a ready instance can be interrupted", instance.id, instance.phase);
                }
                continue;
            }
            let others = instances.iter().map(|it| it.id.clone()).collect();
            targets.push(holds(scene, pool, &instance.id, others).await?);
        }
    }
    if let (Some(id), true) = (wanted, targets.is_empty()) {
        bail!("no instance {id} here: `spillway status --all` lists them");
    }
    Ok(targets)
}

async fn holds(scene: &mut Scene, pool: &str, instance: &str, others: Vec<String>) -> anyhow::Result<Target> {
    let settings = scene.settings.pools.iter().find(|it| it.name == pool).with_context(|| {
        format!("the coordinator's pool {pool} is not in this configuration: give its own with --config FILE")
    })?;
    let (prefix, queues) = (settings.prefix.clone(), settings.queues.clone());
    let read_to = last_events(scene, &prefix, &queues).await?;
    let mut jobs = Vec::new();
    let mut connection = scene.redis.connected().await?;
    for name in &queues {
        let held = held_by(&mut connection, Queue { prefix: &prefix, name }, instance).await;
        let held = held.map_err(|error| scene.redis.failed(error))?;
        jobs.extend(held.into_iter().map(|held| (name.clone(), held.id)));
    }
    Ok(Target { instance: instance.to_owned(), pool: pool.to_owned(), prefix, jobs, read_to, others })
}

/// Ids of the newest entries of the queues' streams of events.
async fn last_events(scene: &mut Scene, prefix: &str, queues: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut pipeline = pipe();
    for queue in queues {
        let events = QueueKeys::new(prefix, queue).key("events");
        pipeline.cmd("XREVRANGE").arg(events).arg("+").arg("-").arg("COUNT").arg(1);
    }
    let last: Vec<Vec<(String, Value)>> = scene.redis.query(&pipeline).await?;
    let last = last.into_iter().map(|entries| entries.into_iter().next().map_or("0".to_owned(), |(id, _)| id));
    Ok(queues.iter().cloned().zip(last).collect())
}
