//! What the agent reports to the coordinator: the heartbeat and the boot flight record. Owns their content; never sends
//! them.

use std::collections::VecDeque;
use std::time::Duration;

use spillway_machine::{DrainSignal, Failure, Graceful, Machine, Missing, Phase, ShimProcess, Timestamp};
use spillway_proto::ToldBy;
use spillway_proto::times::{duration, timestamp as time};
use spillway_proto::v1::{BootStep, Heartbeat, WorkerProof};
use spillway_words::in_words;

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::imds::Document;
use crate::session::messages::phase;
use crate::vitals::Vitals;
use crate::worker::WorkerCheck;

/// Lines that wait for the coordinator: each holds up to 4 KiB of output.
const LINES_KEPT: usize = 64;
/// A supervisor that kills sooner than this may cut a job off.
const MIN_KILL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

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
    check: WorkerCheck,
    shims: Vec<ShimProcess>,
    shim_problems: Vec<String>,
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
            check: WorkerCheck::default(),
            shims: Vec::new(),
            shim_problems: Vec::new(),
            vitals: Vitals::default(),
        }
    }

    /// The newest check of the worker.
    pub fn worker_checked(&mut self, check: WorkerCheck) {
        self.check = check;
    }

    /// The worker's processes as the shim reports them; true where a job began or ended.
    pub fn shims_seen(&mut self, shims: Vec<ShimProcess>, problems: Vec<String>) -> bool {
        let jobs = |shims: &[ShimProcess]| shims.iter().map(|process| process.jobs.len()).sum::<usize>();
        let changed = jobs(&shims) != jobs(&self.shims);
        self.shims = shims;
        self.shim_problems = problems;
        changed
    }

    /// There is no shim, and why.
    pub fn no_shim(&mut self, why: String) {
        self.shim_problems = vec![why];
    }

    /// The application's commit.
    pub fn set_commit(&mut self, commit: String) {
        self.commit = Some(commit);
    }

    /// The state as it now is.
    pub fn heartbeat(&mut self, machine: &Machine, clock: Clock) -> Heartbeat {
        let now = clock.now();
        let vitals = self.vitals.read();
        let redis = self.check.redis.as_ref();
        Heartbeat {
            phase: phase(machine.phase()).into(),
            worker: Some(self.proof(machine, now)),
            active_jobs: machine.shim_jobs().or_else(|| redis.and_then(|redis| redis.active)),
            oldest_lock_age: redis.and_then(|redis| redis.oldest_lock_age).map(duration),
            redis_round_trip: redis.map(|redis| duration(redis.round_trip)),
            git_commit: self.commit.clone().unwrap_or_default(),
            image_id: self.image_id.clone(),
            cpu_percent: vitals.cpu_percent,
            memory_used_bytes: vitals.memory_used_bytes,
            memory_total_bytes: vitals.memory_total_bytes,
            problem: self.problem(machine, now).unwrap_or_default(),
            unprotected: self.unprotected(),
            at: Some(time(clock::wall_now())),
            shims: u32::try_from(self.shims.len()).unwrap_or(u32::MAX),
            fenced: !self.shims.is_empty() && self.shims.iter().all(|process| process.fenced),
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
            found => found.and_then(|found| found.by),
        };
        let missing = match machine.phase() {
            Phase::Proving | Phase::Ready { .. } => machine.missing(now).map(|missing| self.missing(missing)),
            Phase::Identifying | Phase::Booting { .. } => Some("the boot steps are still running".to_owned()),
            Phase::Draining(_) => Some("the worker is draining".to_owned()),
            Phase::Drained(_) => Some("the worker has stopped".to_owned()),
            Phase::Failed(_) => self.problem(machine, now),
        };
        WorkerProof {
            proven: missing.is_none(),
            processes: worker.map_or(0, |worker| worker.processes),
            restarts: worker.map_or(0, |worker| worker.restarts),
            connections: connections.map_or(0, |found| found.count),
            fetching: connections.is_some_and(|found| found.fetching),
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
                format!("the worker keeps crashing ({restarts} restarts): read `pm2 logs` on the instance")
            }
        })
    }

    fn queues_without(&self) -> Option<String> {
        let connections = self.check.redis.as_ref().and_then(|redis| redis.connections.as_ref());
        let found = connections.filter(|found| found.count > 0 && !found.without.is_empty())?;
        Some(format!(
            "no worker is connected for queue {}: start one, or remove the queue from worker.queues",
            found.without.join(", ")
        ))
    }

    fn missing(&self, missing: Missing) -> String {
        match missing {
            Missing::Supervisor => {
                self.check.pm2_problem.clone().unwrap_or_else(|| "pm2 has not been checked yet".to_owned())
            }
            Missing::Process => "pm2 shows no online process".to_owned(),
            Missing::Settling => "the worker restarted recently: it is ready once it has stayed up for a \
                while"
                .to_owned(),
            Missing::Redis => {
                self.check.redis_problem.clone().unwrap_or_else(|| "Redis has not been checked yet".to_owned())
            }
            Missing::Connection => "Redis shows no worker connection of this instance: name each Worker \
                process.env.SPILLWAY_INSTANCE_ID, and check that it uses the same Redis, prefix and queue"
                .to_owned(),
            Missing::Fenced => "the worker is fenced and takes no new job: the agent is lifting the fence".to_owned(),
            Missing::Progress => "the worker is connected but neither waits for a job nor renews a lock: it may \
                hang; read `pm2 logs` on the instance"
                .to_owned(),
        }
    }

    fn unprotected(&self) -> Vec<String> {
        let mut words = self.shim_problems.clone();
        if !self.shims.is_empty() {
            return words;
        }
        if words.is_empty() && self.check.observation.evidence.as_ref().is_some_and(|found| found.connections > 0) {
            words.push(
                "no worker process has loaded the shim: pass BUN_OPTIONS and NODE_OPTIONS on in the boot steps, and \
                 do not bundle bullmq into the worker"
                    .to_owned(),
            );
        }
        if let Some(worker) = self.check.observation.worker.as_ref().filter(|worker| worker.processes > 0) {
            words.extend(unprotected(worker, self.signal, &self.check.not_graceful));
        }
        if self.check.redis.as_ref().is_some_and(|redis| redis.active.is_none()) {
            words.push(
                "active jobs do not carry this instance's name, so a drain cannot find them: name each Worker \
                 process.env.SPILLWAY_INSTANCE_ID"
                    .to_owned(),
            );
        }
        words
    }
}

/// What a drain cannot protect of such a worker, some processes of which are not seen to finish their jobs on a signal.
pub fn unprotected(worker: &spillway_machine::Worker, signal: DrainSignal, not_graceful: &[String]) -> Vec<String> {
    const WAITS: &str = "a drain stops the worker once it is idle, and a job that starts at that moment is killed";
    let mut words = Vec::new();
    let names = not_graceful.join(", ");
    match (signal, worker.graceful) {
        (DrainSignal::AtOnce, Graceful::No) => {
            words.push(format!(
                "{names} does not handle SIGINT and drain.signal is at-once: a drain kills its jobs; \
                 set drain.signal = \"auto\""
            ));
        }
        (DrainSignal::AtOnce, _) | (DrainSignal::Auto, Graceful::Yes) => {}
        (DrainSignal::WhenIdle, _) => words.push(format!("drain.signal is when-idle: {WAITS}")),
        (DrainSignal::Auto, Graceful::No) => {
            words.push(format!("{names} does not handle SIGINT: {WAITS}; call worker.close() on SIGINT"));
        }
        (DrainSignal::Auto, Graceful::Unknown) => words.push(format!(
            "cannot tell whether {names} finishes its jobs on SIGINT: {WAITS}; if it does, set drain.signal = \
             \"at-once\"; if it is not the worker, set worker.process to the worker's name"
        )),
    }
    if worker.patience < MIN_KILL_TIMEOUT {
        words.push(format!(
            "pm2 kills the worker and its jobs {} after telling it to stop: remove kill_timeout from the ecosystem \
             file, and let the boot steps start pm2's daemon",
            in_words(worker.patience)
        ));
    }
    words
}

#[cfg(test)]
mod tests;
