//! The worker from outside: what PM2 shows of its processes, and Redis of its connections and jobs. Owns one look at
//! both and how often each is worth its price; never decides what a look means (the machine does).

pub mod clients;
pub mod evidence;
pub mod hand_back;
pub mod pm2;
pub mod proc;
pub mod stop;

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_machine::{Evidence, Graceful, Jobs, Observation, Worker};
use tokio::time::Instant;

use crate::clock::Clock;
use clients::Connections;
use evidence::{Redis, RedisLook};
use pm2::{Pm2, Process};

/// How closely the worker is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Not at all: there is none yet, or no more.
    Off,
    /// Connections and jobs each 2 s: the sooner it is proven, the sooner it counts.
    Proving,
    /// Jobs each 5 s, connections each 15 s: listing 10,000 of them blocks Redis for 15 ms.
    Ready,
    /// Jobs alone, each second.
    Draining,
}

impl Pace {
    /// Between two looks.
    pub fn interval(self) -> Duration {
        match self {
            Self::Off => Duration::from_secs(3600),
            Self::Proving => Duration::from_secs(2),
            Self::Ready => Duration::from_secs(5),
            Self::Draining => Duration::from_secs(1),
        }
    }

    /// How old the list of connections may be; `None`: it does not matter.
    fn connections_age(self) -> Option<Duration> {
        match self {
            Self::Proving => Some(Duration::ZERO),
            // Three looks, less what they take.
            Self::Off | Self::Ready => Some(Duration::from_secs(13)),
            Self::Draining => None,
        }
    }

    /// How old PM2's word may be while no process of it changed: asking costs 0.3 s of CPU.
    fn list_age(self) -> Duration {
        match self {
            Self::Off | Self::Ready => Duration::from_secs(60),
            Self::Proving | Self::Draining => Duration::from_secs(10),
        }
    }
}

/// One look at the worker: the machine's part, and what a reader wants to know besides.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// For the machine.
    pub observation: Observation,
    /// What Redis said; absent where it did not answer.
    pub redis: Option<RedisLook>,
    /// Processes that are not seen to finish their jobs on the signal.
    pub not_graceful: Vec<String>,
    /// Why PM2 shows nothing; `None` where it does, or was not asked.
    pub pm2_problem: Option<String>,
    /// The same of Redis.
    pub redis_problem: Option<String>,
}

/// Where restarts are counted from.
#[derive(Clone, Debug)]
pub enum Baseline {
    /// From nothing; for these processes, which PM2 had before the boot, from where they are when first seen.
    Boot(Vec<u32>),
    /// From where everything is when first seen.
    Now,
}

/// Looks at the worker.
#[derive(Debug)]
pub struct Observer {
    pm2: Pm2,
    redis: Redis,
    clock: Clock,
    baseline: Baseline,
    base: Option<BTreeMap<u32, u32>>,
    listed: Option<Listed>,
    connections: Option<(Instant, Connections)>,
}

/// PM2's last word, and by what it is seen to be out of date.
#[derive(Debug)]
struct Listed {
    at: Instant,
    processes: Vec<Process>,
    started: Vec<Option<u64>>,
}

impl Observer {
    /// Of the worker on this instance.
    pub fn new(pm2: Pm2, redis: Redis, clock: Clock, baseline: Baseline) -> Self {
        Self { pm2, redis, clock, baseline, base: None, listed: None, connections: None }
    }

    /// The worker is started (again): restarts count from there.
    pub fn restart(&mut self, baseline: Baseline) {
        self.baseline = baseline;
        self.base = None;
        self.listed = None;
        self.connections = None;
    }

    /// One look.
    pub async fn look(&mut self, pace: Pace) -> Look {
        let mut look = Look::default();
        match self.processes(pace).await {
            Ok((worker, not_graceful)) => {
                look.observation.worker = Some(worker);
                look.not_graceful = not_graceful;
            }
            Err(problem) => look.pm2_problem = Some(problem.to_string()),
        }
        let at = self.clock.now();
        let is_recent = |age| self.connections.as_ref().is_some_and(|(looked, _)| looked.elapsed() < age);
        let with_connections = pace.connections_age().is_some_and(|age| !is_recent(age));
        match self.redis.look(with_connections).await {
            Ok(mut redis) => {
                match &redis.connections {
                    Some(found) => self.connections = Some((Instant::now(), found.clone())),
                    None => redis.connections = self.connections.as_ref().map(|(_, found)| found.clone()),
                }
                let evidence = |found: &Connections| Evidence { connections: found.count, fetching: found.fetching };
                look.observation.evidence = redis.connections.as_ref().map(evidence);
                look.observation.jobs = Some(Jobs { at, active: redis.active, live_locks: redis.live_locks });
                look.redis = Some(redis);
            }
            Err(problem) => {
                self.connections = None;
                look.redis_problem = Some(problem);
            }
        }
        look
    }

    /// A process of the worker is no longer the one that PM2 showed.
    pub fn is_out_of_date(&self) -> bool {
        self.listed.as_ref().is_some_and(|listed| listed.started != started(&listed.processes))
    }

    async fn processes(&mut self, pace: Pace) -> Result<(Worker, Vec<String>), pm2::Pm2Error> {
        let current =
            !self.is_out_of_date() && self.listed.as_ref().is_some_and(|listed| listed.at.elapsed() < pace.list_age());
        if !current {
            self.listed = None;
            let processes = self.pm2.list().await?;
            let started = started(&processes);
            self.listed = Some(Listed { at: Instant::now(), processes, started });
        }
        let processes = self.listed.as_ref().map_or(&[][..], |listed| &listed.processes);
        let baseline = &self.baseline;
        let base = self.base.get_or_insert_with(|| {
            let counts = |process: &&Process| match baseline {
                Baseline::Now => true,
                Baseline::Boot(before) => before.contains(&process.id),
            };
            processes.iter().filter(counts).map(|process| (process.id, process.restarts)).collect()
        });
        let restarts = |process: &Process| process.restarts.saturating_sub(base.get(&process.id).copied().unwrap_or(0));
        let online: Vec<&Process> = processes.iter().filter(|process| process.is_online()).collect();
        let daemon_patience = self.pm2.daemon_patience();
        let not_graceful = online.iter().filter(|process| graceful(process) != Graceful::Yes);
        let not_graceful = not_graceful.map(|process| process.name.clone()).collect();
        let worker = Worker {
            processes: count(online.len()),
            errored: count(processes.iter().filter(|process| process.is_errored()).count()),
            restarts: processes.iter().map(restarts).fold(0, u32::saturating_add),
            graceful: online.iter().map(|process| graceful(process)).fold(Graceful::Yes, weakest),
            patience: online
                .iter()
                .map(|process| process.kill_timeout.unwrap_or(daemon_patience))
                .min()
                .unwrap_or_default(),
        };
        Ok((worker, not_graceful))
    }
}

fn started(processes: &[Process]) -> Vec<Option<u64>> {
    processes.iter().map(|process| process.pid.and_then(proc::start_time)).collect()
}

/// Whether the process catches PM2's SIGINT. Bun installs its handler only for a script that asks for one; node always
/// has one, and a shell's says nothing about its child.
fn graceful(process: &Process) -> Graceful {
    let Some(pid) = process.pid else { return Graceful::Unknown };
    match (proc::program(pid).as_deref(), proc::catches(pid, proc::SIGINT)) {
        (_, Some(false)) => Graceful::No,
        (Some(name), Some(true)) if name.starts_with("bun") => Graceful::Yes,
        _ => Graceful::Unknown,
    }
}

fn weakest(a: Graceful, b: Graceful) -> Graceful {
    match (a, b) {
        (Graceful::No, _) | (_, Graceful::No) => Graceful::No,
        (Graceful::Unknown, _) | (_, Graceful::Unknown) => Graceful::Unknown,
        (Graceful::Yes, Graceful::Yes) => Graceful::Yes,
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
