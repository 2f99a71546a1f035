//! What the agent reports to the coordinator: the heartbeat and the boot flight record. Its sentences are in `words`.
//! Owns their content; never sends them.

mod words;

use std::collections::{BTreeMap, VecDeque};

use spillway_machine::{DrainSignal, Failure, Machine, Phase, Timestamp};
use spillway_proto::ToldBy;
use spillway_proto::times::{duration, timestamp as time};
use spillway_proto::v1::{BootStep, Heartbeat, WorkerProof, WorkerQueue};

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::imds::{Document, ScheduledEvent};
use crate::session::messages::{phase, schedule};
use crate::shim::{Place, Seen, wire};
use crate::vitals::Vitals;
use crate::worker::{WorkerCheck, log};
pub use words::unprotected;

/// Lines that wait for the coordinator: each holds up to 4 KiB of output.
const LINES_KEPT: usize = 64;
/// Queues that are told of one instance.
const QUEUES_TOLD: usize = 64;

/// The boot, line by line.
#[derive(Debug)]
pub struct FlightRecord {
    latest: Vec<Option<BootStep>>,
    unsent: VecDeque<BootStep>,
}

impl FlightRecord {
    /// Of so many steps.
    pub fn new(steps: usize) -> Self {
        Self { latest: vec![None; steps], unsent: VecDeque::new() }
    }

    /// A new line; it is kept if it could not be sent.
    pub fn record(&mut self, line: BootStep, sent: bool) {
        if let Some(latest) = self.latest.get_mut(line.index as usize) {
            *latest = Some(line.clone());
        }
        if !sent {
            if self.unsent.len() == LINES_KEPT {
                self.unsent.pop_front();
            }
            self.unsent.push_back(line);
        }
    }

    /// All unsent lines, and the latest of every step for a coordinator that was restarted.
    pub fn for_a_new_session(&mut self) -> Vec<BootStep> {
        let unsent: Vec<BootStep> = self.unsent.drain(..).collect();
        let is_unsent = |line: &BootStep| unsent.contains(line);
        let mut lines: Vec<BootStep> = self.latest.iter().flatten().filter(|line| !is_unsent(line)).cloned().collect();
        lines.extend(unsent);
        lines.sort_by_key(|line| (line.index, line.attempt));
        lines
    }
}

/// Composes heartbeats.
#[derive(Debug)]
pub struct Reporter {
    image_id: String,
    steps: Vec<String>,
    signal: DrainSignal,
    commit: Option<String>,
    lockfile: Option<String>,
    check: WorkerCheck,
    shims: Seen,
    /// Why there is no shim at all.
    no_shim: Option<String>,
    /// What it should work.
    place: Place,
    redis: String,
    /// Why the shim is not loaded, as it was said last.
    said_without_shim: Option<String>,
    /// What a drain cannot protect, while there is a worker.
    unprotected: Vec<String>,
    /// What EC2 has scheduled; None until the metadata service has told.
    schedule: Option<Vec<ScheduledEvent>>,
    vitals: Vitals,
}

impl Reporter {
    /// For this instance.
    pub fn new(config: &Config, document: &Document) -> Self {
        Self {
            image_id: document.image_id.clone(),
            steps: config.boot.steps.iter().map(|step| step.name.clone()).collect(),
            signal: config.drain.signal,
            commit: None,
            lockfile: None,
            check: WorkerCheck::default(),
            shims: Seen::default(),
            no_shim: None,
            place: Place { prefix: config.worker.prefix.clone(), queues: config.worker.queues.clone() },
            redis: config.redis.to_string(),
            said_without_shim: None,
            unprotected: Vec::new(),
            schedule: None,
            vitals: Vitals::default(),
        }
    }

    /// The newest check of the worker. Returns why its processes have not loaded the shim, when that is news.
    pub fn worker_checked(&mut self, check: WorkerCheck) -> Option<String> {
        self.check = check;
        let without_shim = self.without_shim();
        let news = without_shim.clone().filter(|words| self.said_without_shim.as_ref() != Some(words));
        self.said_without_shim = without_shim;
        news
    }

    /// The worker's processes as the shim reports them; true where a job began or ended.
    pub fn shims_seen(&mut self, shims: Seen) -> bool {
        let jobs = |shims: &Seen| shims.processes.iter().map(|process| process.jobs.len()).sum::<usize>();
        let changed = jobs(&shims) != jobs(&self.shims);
        self.shims = shims;
        changed
    }

    /// There is no shim, and why.
    pub fn no_shim(&mut self, why: String) {
        self.no_shim = Some(why);
    }

    /// The application's commit.
    pub fn set_commit(&mut self, commit: String) {
        self.commit = Some(commit);
    }

    /// The hash of the application's lockfile; None where it has none.
    pub fn set_lockfile(&mut self, hash: Option<String>) {
        self.lockfile = hash;
    }

    /// What EC2 has scheduled for the instance.
    pub fn set_schedule(&mut self, events: Vec<ScheduledEvent>) {
        self.schedule = Some(events);
    }

    /// The state as it now is.
    pub fn heartbeat(&mut self, machine: &Machine, clock: Clock) -> Heartbeat {
        let now = clock.now();
        let vitals = self.vitals.read();
        self.unprotected = match machine.phase() {
            Phase::Identifying | Phase::Booting { .. } | Phase::Proving | Phase::Ready { .. } => self.unprotected_now(),
            // As it was when the drain began: while its processes go, one after the other, they say nothing about it.
            Phase::Draining(_) => std::mem::take(&mut self.unprotected),
            Phase::Drained(_) | Phase::Failed(_) => Vec::new(),
        };
        let redis = self.check.redis.as_ref();
        Heartbeat {
            phase: phase(machine.phase()).into(),
            worker: Some(self.proof(machine, now)),
            active_jobs: machine.shim_jobs().or_else(|| redis.and_then(|redis| redis.active)),
            oldest_lock_age: redis.and_then(|redis| redis.oldest_lock_age).map(duration),
            redis_round_trip: redis.map(|redis| duration(redis.round_trip)),
            git_commit: self.commit.clone().unwrap_or_default(),
            image_id: self.image_id.clone(),
            lockfile: self.lockfile.clone().unwrap_or_default(),
            cpu_percent: vitals.cpu_percent,
            memory_used_bytes: vitals.memory_used_bytes,
            memory_total_bytes: vitals.memory_total_bytes,
            problem: self.problem(machine, now).unwrap_or_default(),
            unprotected: self.unprotected.clone(),
            at: Some(time(clock::wall_now())),
            shims: u32::try_from(self.shims.processes.len()).unwrap_or(u32::MAX),
            fenced: !self.shims.processes.is_empty() && self.shims.processes.iter().all(|process| process.fenced),
            queues: self.queues(),
            schedule: self.schedule.as_deref().map(schedule),
            drain_deadline: match machine.phase() {
                Phase::Draining(drain) => Some(time(clock.wall(drain.deadline))),
                _ => None,
            },
        }
    }

    fn proof(&self, machine: &Machine, now: Timestamp) -> WorkerProof {
        let worker = self.check.observation.worker.as_ref();
        let redis = self.check.redis.as_ref();
        let connections = redis.and_then(|redis| redis.connections.as_ref());
        let by = match connections {
            // The worker shim puts the name into the locks.
            _ if redis.is_some_and(|redis| redis.live_locks > 0) => Some(ToldBy::Name),
            Some(found) if found.by.is_some() => found.by,
            _ => (!self.shims.workers.is_empty()).then_some(ToldBy::Shim),
        };
        let missing = match machine.phase() {
            Phase::Proving | Phase::Ready { .. } => machine.missing(now).map(|missing| self.missing(missing)),
            Phase::Identifying | Phase::Booting { .. } => Some("the boot steps are still running".to_owned()),
            Phase::Draining(_) => Some("the worker is draining".to_owned()),
            Phase::Drained(_) => Some("the worker has stopped".to_owned()),
            Phase::Failed(_) => self.problem(machine, now),
        };
        let waits_for = missing.is_none().then(|| self.waits_for()).flatten();
        let is_waiting = |worker: &wire::Worker| worker.doing == wire::Doing::Waiting;
        let log_tail = if missing.is_some() { self.check.log.clone() } else { String::new() };
        WorkerProof {
            proven: missing.is_none(),
            waits_for: waits_for.unwrap_or_default(),
            log_tail,
            processes: worker.map_or(0, |worker| worker.processes),
            restarts: worker.map_or(0, |worker| worker.restarts),
            connections: connections.map_or(0, |found| found.count),
            fetching: connections.is_some_and(|found| found.fetching) || self.shims.workers.iter().any(is_waiting),
            live_locks: redis.map_or(0, |redis| redis.live_locks),
            by: by.map(ToldBy::as_str).unwrap_or_default().to_owned(),
            missing: missing.unwrap_or_default(),
        }
    }

    /// What keeps the agent from being ready, or what is wrong although it is.
    pub fn problem(&self, machine: &Machine, now: Timestamp) -> Option<String> {
        let step = |index: usize| self.steps.get(index).map_or("?", String::as_str);
        Some(match machine.phase() {
            Phase::Identifying => "the instance metadata service has not told the instance id yet".to_owned(),
            Phase::Booting { step: index, attempt, again_at: None } => {
                format!("boot step {} is running (attempt {attempt})", step(*index))
            }
            Phase::Booting { step: index, attempt, .. } => {
                format!("boot step {} starts soon (attempt {attempt})", step(*index))
            }
            Phase::Proving => return machine.missing(now).map(|missing| self.missing(missing)),
            Phase::Ready { .. } => return self.queues_without(),
            Phase::Draining(_) | Phase::Drained(_) => return None,
            Phase::Failed(Failure::Step { index }) => {
                format!("boot step {} failed and has no retry left: see its output", step(*index))
            }
            Phase::Failed(Failure::CrashLoop { restarts }) => {
                let times = spillway_words::counted(*restarts, "restart");
                match log::cause(&self.check.log) {
                    Some(cause) => format!("the worker crash-loops: {} ({times})", words::short(cause)),
                    None => format!("the worker crash-loops ({times}): read `pm2 logs` on the instance"),
                }
            }
        })
    }

    /// What its Workers work, by their own word; by the configuration where they have none.
    fn queues(&self) -> Vec<WorkerQueue> {
        let mut queues: BTreeMap<(String, String), Worked> = BTreeMap::new();
        for worker in &self.shims.workers {
            let one = Worked {
                limiter_max: worker.limiter_max.and_then(whole),
                concurrency: worker.concurrency.and_then(whole),
            };
            queues
                .entry((worker.queue.clone(), worker.prefix.clone()))
                .and_modify(|known| *known = known.with(one))
                .or_insert(one);
        }
        if queues.is_empty() {
            let of = |queue: &String| ((queue.clone(), self.place.prefix.clone()), Worked::default());
            queues = self.place.queues.iter().map(of).collect();
        }
        let told = queues.into_iter().take(QUEUES_TOLD);
        let tell = |((queue, prefix), Worked { limiter_max, concurrency })| WorkerQueue {
            queue,
            prefix,
            limiter_max,
            concurrency,
        };
        told.map(tell).collect()
    }
}

/// What the Workers of one queue tell, as [`WorkerQueue`] has it.
#[derive(Clone, Copy, Default)]
struct Worked {
    limiter_max: Option<u64>,
    concurrency: Option<u64>,
}

impl Worked {
    fn with(self, other: Worked) -> Worked {
        let both = |one: Option<u64>, other: Option<u64>| one.zip(other);
        Worked {
            // A Worker is held back by its own limiter alone: one without any never is.
            limiter_max: both(self.limiter_max, other.limiter_max).map(|(one, other)| one.max(other)),
            concurrency: both(self.concurrency, other.concurrency).map(|(one, other)| one.saturating_add(other)),
        }
    }
}

/// A whole number from 1; nonsense is none.
fn whole(number: f64) -> Option<u64> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 2^53")]
    (1.0..9.0e15).contains(&number).then_some(number as u64)
}

#[cfg(test)]
mod tests;
