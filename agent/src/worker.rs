//! The worker from outside: what PM2 shows of its processes, and Redis of its connections and jobs. Owns one check of
//! both and how often each is worth its cost; never decides what a check means (the machine does).

pub mod clients;
pub mod evidence;
pub mod hand_back;
pub mod log;
pub mod pm2;
pub mod preload;
pub mod proc;
pub mod stop;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use spillway_machine::{Evidence, Graceful, Jobs, Observation, Worker};
use tokio::time::Instant;

use crate::clock::{self, Clock};
use crate::mask::Mask;
use clients::Connections;
use evidence::{Redis, RedisCheck};
use pm2::{Pm2, Process};
use preload::Loading;

/// How often the worker is checked.
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
    /// Between two checks.
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
            // Three checks, less what they take.
            Self::Off | Self::Ready => Some(Duration::from_secs(13)),
            Self::Draining => None,
        }
    }

    /// How old PM2's list may be while no process of it changed: a list costs 0.3 s of CPU.
    fn list_age(self) -> Duration {
        match self {
            Self::Off | Self::Ready => Duration::from_secs(60),
            Self::Proving | Self::Draining => Duration::from_secs(10),
        }
    }
}

/// One check of the worker: the machine's part, and details for the report.
#[derive(Clone, Debug, Default)]
pub struct WorkerCheck {
    /// For the machine.
    pub observation: Observation,
    /// Redis's answer; absent where there was none.
    pub redis: Option<RedisCheck>,
    /// Processes that are not seen to finish their jobs on the signal.
    pub not_graceful: Vec<String>,
    /// Whether its processes can have loaded the shim.
    pub loading: Vec<Loading>,
    /// The end of the worker's own log, masked; empty while it works.
    pub log: String,
    /// Why PM2 shows nothing; `None` where it does, was not called, or runs nothing.
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

/// Checks the worker.
#[derive(Debug)]
pub struct Observer {
    pm2: Pm2,
    redis: Redis,
    clock: Clock,
    mask: Mask,
    began: SystemTime,
    /// The end of the log when it was last read.
    log: String,
    /// Restarts of all processes when they were last listed.
    restarts_seen: u64,
    baseline: Baseline,
    base: Option<BTreeMap<u32, u32>>,
    listed: Option<Listed>,
    connections: Option<(Instant, Connections)>,
    /// Why Redis does not list them.
    unlisted: Option<String>,
    /// PM2's daemon is another user's; told once.
    foreign_daemon: Option<String>,
}

/// PM2's last list, and the start times that show when it is out of date.
#[derive(Debug)]
struct Listed {
    at: Instant,
    processes: Vec<Process>,
    started: Vec<Option<u64>>,
    loading: Vec<Loading>,
}

impl Observer {
    /// Of the worker on this instance.
    pub fn new(pm2: Pm2, redis: Redis, clock: Clock, mask: Mask, baseline: Baseline) -> Self {
        Self {
            pm2,
            redis,
            clock,
            mask,
            began: clock::wall_now(),
            log: String::new(),
            restarts_seen: 0,
            baseline,
            base: None,
            listed: None,
            connections: None,
            unlisted: None,
            foreign_daemon: None,
        }
    }

    /// The worker is started (again): restarts count from there.
    pub fn restart(&mut self, baseline: Baseline) {
        self.baseline = baseline;
        self.base = None;
        self.listed = None;
        (self.connections, self.unlisted) = (None, None);
    }

    /// One check.
    pub async fn check(&mut self, pace: Pace) -> WorkerCheck {
        let mut check = WorkerCheck::default();
        match self.processes(pace).await {
            Ok((worker, not_graceful)) => {
                check.observation.worker = Some(worker);
                check.not_graceful = not_graceful;
                check.loading = self.listed.as_ref().map(|listed| listed.loading.clone()).unwrap_or_default();
                check.log.clone_from(&self.log);
                check.pm2_problem.clone_from(&self.foreign_daemon);
            }
            Err(problem) => check.pm2_problem = Some(problem.to_string()),
        }
        let at = self.clock.now();
        let is_recent = |age| self.connections.as_ref().is_some_and(|(read, _)| read.elapsed() < age);
        let with_connections = pace.connections_age().is_some_and(|age| !is_recent(age));
        let mut checked = self.redis.check(with_connections).await;
        // A worker whose last job has ended since its connections were listed: while it ran, they did not wait.
        let was_busy = self.connections.as_ref().is_some_and(|(_, found)| found.count > 0 && !found.fetching);
        let is_idle = |redis: &RedisCheck| redis.live_locks == 0 && redis.limited.is_none();
        if was_busy && !with_connections && checked.as_ref().is_ok_and(is_idle) {
            checked = self.redis.check(true).await;
        }
        match checked {
            Ok(mut redis) => {
                match (&redis.connections, &redis.unlisted) {
                    (Some(found), _) => self.connections = Some((Instant::now(), found.clone())),
                    (None, Some(_)) => self.connections = None,
                    (None, None) => {
                        redis.connections = self.connections.as_ref().map(|(_, found)| found.clone());
                        redis.unlisted.clone_from(&self.unlisted);
                    }
                }
                self.unlisted.clone_from(&redis.unlisted);
                let evidence = |found: &Connections| Evidence {
                    connections: found.count,
                    fetching: found.fetching,
                    fresh: found.fresh,
                    unlisted: false,
                };
                let nothing = || Evidence { unlisted: true, ..Evidence::default() };
                let known = redis.connections.as_ref().map(evidence);
                check.observation.evidence = known.or_else(|| redis.unlisted.is_some().then(nothing));
                check.observation.jobs = Some(Jobs {
                    at,
                    active: redis.active,
                    live_locks: redis.live_locks,
                    limited: redis.limited.is_some(),
                });
                check.observation.server.clone_from(&redis.server);
                check.redis = Some(redis);
            }
            Err(problem) => {
                self.connections = None;
                check.redis_problem = Some(problem);
            }
        }
        check
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
            let foreign = self.pm2.foreign_daemon().filter(|_| processes.is_empty());
            if let Some(problem) = foreign.as_ref().filter(|_| foreign != self.foreign_daemon) {
                tracing::warn!(problem, "pm2 shows nothing of the worker");
            }
            self.foreign_daemon = foreign;
            let started = started(&processes);
            let loading = preload::loading(self.pm2.launcher(), &processes);
            // Of one that works nobody wants to read it.
            let restarts = processes.iter().map(|process| u64::from(process.restarts)).sum();
            let has_restarted = std::mem::replace(&mut self.restarts_seen, restarts) != restarts;
            let is_troubled =
                pace == Pace::Proving || has_restarted || processes.iter().any(|process| !process.is_online());
            self.log = match is_troubled {
                true => log::tail(self.pm2.launcher(), &processes, self.began, &self.mask).await,
                false => String::new(),
            };
            self.listed = Some(Listed { at: Instant::now(), processes, started, loading });
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
        let daemon_kill_timeout = self.pm2.daemon_kill_timeout();
        let not_graceful = online.iter().filter(|process| graceful(process) != Graceful::Yes);
        let not_graceful = not_graceful.map(|process| process.name.clone()).collect();
        let worker = Worker {
            processes: count(online.len()),
            errored: count(processes.iter().filter(|process| process.is_errored()).count()),
            restarts: processes.iter().map(restarts).fold(0, u32::saturating_add),
            graceful: online.iter().map(|process| graceful(process)).fold(Graceful::Yes, weakest),
            patience: online
                .iter()
                .map(|process| process.kill_timeout.unwrap_or(daemon_kill_timeout))
                .min()
                .unwrap_or_default(),
        };
        Ok((worker, not_graceful))
    }
}

fn started(processes: &[Process]) -> Vec<Option<u64>> {
    processes.iter().map(|process| process.pid.and_then(proc::start_time)).collect()
}

/// Whether the process catches PM2's SIGINT. Bun installs its handler only for a script that registers one; node always
/// has one, and a shell's proves nothing about its child.
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
