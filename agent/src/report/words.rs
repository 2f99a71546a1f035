//! Sentences about the worker: what its proof lacks, what a proven one waits for, what a drain cannot protect. Each
//! says what to do about it.

use std::time::Duration;

use spillway_machine::{DrainSignal, Graceful, Missing};
use spillway_words::in_words;

use super::Reporter;
use crate::shim::process::millis;
use crate::shim::wire::{Doing, Worker};
use crate::worker::log;

/// A supervisor that kills sooner than this may cut a job off.
const MIN_KILL_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// Of a sentence of another program's, in one of ours.
const SHORT: usize = 200;

impl Reporter {
    pub(super) fn queues_without(&self) -> Option<String> {
        let connections = self.check.redis.as_ref().and_then(|redis| redis.connections.as_ref());
        let found = connections.filter(|found| found.count > 0)?;
        // Redis cuts no name, but some Workers have none there: their own word counts as well.
        let has_worker = |queue: &String| self.ours().any(|worker| worker.queue == *queue);
        let without: Vec<&str> = found.without.iter().filter(|queue| !has_worker(queue)).map(String::as_str).collect();
        (!without.is_empty()).then(|| {
            format!(
                "no worker is connected for queue {}: start one, or remove the queue from worker.queues",
                without.join(", ")
            )
        })
    }

    /// What the proof lacks, with the end of the worker's log where that may tell why.
    pub(super) fn missing(&self, missing: Missing) -> String {
        let words = self.lacks(missing);
        let may_tell = !matches!(missing, Missing::Supervisor | Missing::Settling | Missing::Fenced | Missing::Redis);
        match log::cause(&self.check.log).filter(|_| may_tell) {
            Some(cause) => format!("{words}; its log ends with: {}", short(cause)),
            None => words,
        }
    }

    fn lacks(&self, missing: Missing) -> String {
        match missing {
            Missing::Supervisor => {
                self.check.pm2_problem.clone().unwrap_or_else(|| "pm2 has not been checked yet".to_owned())
            }
            Missing::Process => {
                self.check.pm2_problem.clone().unwrap_or_else(|| "pm2 shows no online process".to_owned())
            }
            Missing::Settling => {
                "the worker restarted recently: it is ready once it has stayed up for a while".to_owned()
            }
            Missing::Redis => {
                self.check.redis_problem.clone().unwrap_or_else(|| "Redis has not been checked yet".to_owned())
            }
            Missing::Connection => match self.without_shim() {
                Some(why) => format!("Redis shows no worker connection of this instance; {why}"),
                None => "Redis shows no worker connection of this instance: name each Worker \
                    process.env.SPILLWAY_INSTANCE_ID, and check that it uses the same Redis, prefix and queue"
                    .to_owned(),
            },
            Missing::Fenced => "the worker is fenced and takes no new job: the agent is lifting the fence".to_owned(),
            Missing::Progress => "the worker is connected but neither waits for a job nor renews a lock: it may \
                hang; read `pm2 logs` on the instance"
                .to_owned(),
            Missing::Silent => {
                "the worker's processes do not answer: a job keeps the event loop to itself, or they hang; \
                read `pm2 logs` on the instance"
                    .to_owned()
            }
            Missing::OtherQueue => self.other_queue(),
            Missing::OtherRedis => {
                let address = self.ours().find_map(|worker| {
                    let db = worker.db.filter(|db| *db != 0).map_or(String::new(), |db| format!("/{db}"));
                    Some(format!(" at {}{db}", worker.address.as_ref()?))
                });
                format!(
                    "the worker is connected to another Redis or database{}: the agent reads {}; give both the same REDIS_URL",
                    address.unwrap_or_default(),
                    self.redis
                )
            }
            Missing::NotRunning => {
                "the worker has a Worker of its queue, but does not run it: it is closed, or made with \
                autorun: false and its run() not called"
                    .to_owned()
            }
            Missing::Disconnected => {
                "the worker's own connection to Redis does not answer: read `pm2 logs` on the instance".to_owned()
            }
            Missing::Unlisted => {
                let why = self.check.redis.as_ref().and_then(|redis| redis.unlisted.as_deref()).unwrap_or_default();
                format!(
                    "Redis does not list its clients ({}), and the worker holds no job yet: allow the agent's Redis user \
                     +client|list, or have the worker load the shim{}",
                    short(why),
                    self.without_shim().map(|why| format!("; {why}")).unwrap_or_default()
                )
            }
        }
    }

    fn other_queue(&self) -> String {
        let name = |queue: &str, prefix: &str| format!("\"{queue}\" (prefix {prefix})");
        let mut theirs: Vec<String> =
            self.shims.workers.iter().map(|worker| name(&worker.queue, &worker.prefix)).collect();
        theirs.sort();
        theirs.dedup();
        let ours: Vec<String> = self.place.queues.iter().map(|queue| name(queue, &self.place.prefix)).collect();
        format!(
            "the worker works queue {}, and worker.queues and worker.prefix say {}: use the same names in both",
            short(&theirs.join(", ")),
            ours.join(", ")
        )
    }

    fn ours(&self) -> impl Iterator<Item = &Worker> {
        self.shims.workers.iter().filter(|worker| self.place.is_ours(worker))
    }

    /// Why a worker that works takes no job: on purpose, and which.
    pub(super) fn waits_for(&self) -> Option<String> {
        let redis = self.check.redis.as_ref();
        let limited = || redis.and_then(|redis| redis.limited);
        let workers: Vec<&Worker> = self.ours().filter(|worker| worker.doing != Doing::Closing).collect();
        if workers.is_empty() {
            let is_busy = redis.is_some_and(|redis| {
                redis.live_locks > 0 || redis.connections.as_ref().is_some_and(|found| found.fetching)
            });
            return limited().filter(|_| !is_busy).map(rate_limited);
        }
        let is = |doing| workers.iter().any(|worker| worker.doing == doing);
        if !workers.iter().all(|worker| matches!(worker.doing, Doing::Limited | Doing::Paused)) {
            return None;
        }
        let own = workers.iter().filter_map(|worker| worker.limited_ms).map(millis).max();
        let limit = limited().or(own).filter(|_| is(Doing::Limited)).map(rate_limited);
        let paused = is(Doing::Paused).then(|| "paused by the application".to_owned());
        let parts: Vec<String> = limit.into_iter().chain(paused).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// Why a process of the worker has not loaded the shim, where that is certain by now.
    pub fn without_shim(&self) -> Option<String> {
        let has_it = |pids: &[u32]| self.shims.processes.iter().any(|process| pids.contains(&process.pid));
        let missing = self.check.loading.iter().filter(|process| !has_it(&process.pids));
        let why: Vec<&str> = missing
            .filter_map(|process| process.lost.as_deref().or(process.is_old.then_some(&*process.otherwise)))
            .collect();
        let more = match why.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        why.first().map(|why| format!("the shim is not loaded: {why}{more}"))
    }

    pub(super) fn unprotected_now(&self) -> Vec<String> {
        let mut words = self.shims.problems.clone();
        words.extend(self.no_shim.clone());
        words.extend(self.without_shim());
        // One that has just started may be loading the shim.
        let loading = &self.check.loading;
        let is_loading = !loading.is_empty() && loading.iter().all(|process| process.lost.is_none() && !process.is_old);
        if !self.shims.processes.is_empty() || is_loading {
            return words;
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

fn rate_limited(left: Duration) -> String {
    // To the second: it is read, not counted by.
    format!(
        "rate limited for {}",
        in_words(Duration::from_secs(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)))
    )
}

/// The beginning of another program's sentence.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHORT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
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
