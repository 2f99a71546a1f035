//! BullMQ: one queue, its jobs, and which worker gets them. Owns the lists and the order; `runs` owns the locks,
//! `stall` the stall check, `moved` hand-backs, `work` what a look shows of each job.

mod moved;
mod rate;
mod runs;
mod stall;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use spillway_brain::{InstanceId, JobsByInstance, QueueBacklog};

use crate::agenda::{Ev, N};
use crate::clock::{MINUTE, SECOND};
use crate::counts::Occurrence;
use crate::setup::Naming;
use crate::world::World;

pub use moved::{Claim, Held, Way};
pub use rate::Rate;
pub use runs::{Exec, Run};

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    Waiting,
    Prioritized,
    Delayed(u64),
    Active,
    Completed,
    /// Its attempts are spent, or its one stall.
    Failed,
    /// Somebody obliterated the queue.
    Removed,
}

/// One job.
#[derive(Debug)]
pub struct Job {
    pub place: Where,
    pub took: u64,
    /// When it was added, later by its delay.
    ready_at: u64,
    priority: u32,
    /// How often the application will still fail it, and how often it may.
    fails: u32,
    attempts: u32,
    pub stalls: u32,
    /// The run whose lock it has, expired or not.
    pub run: Option<usize>,
    /// The name of the last named worker that took it.
    pub pb: Option<N>,
    /// Runs that have not ended; one, unless a worker was cut off.
    pub live: Vec<usize>,
    pub runs: u32,
    /// It ends each instance that runs it, so long after its start.
    pub ends_after: Option<u64>,
    /// As hand-backs counted it in the job's hash.
    pub sudden_ends: u32,
    /// A coordinator left it in `active`, for the stall check to decide.
    pub is_left: bool,
    /// How often a coordinator put it back to the front after its instance had ended without notice.
    pub fronts: u32,
}

impl Job {
    /// Neither done, failed nor removed.
    pub fn is_open(&self) -> bool {
        !matches!(self.place, Where::Completed | Where::Failed | Where::Removed)
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Bull {
    pub jobs: Vec<Job>,
    pub runs: Vec<Run>,
    wait: VecDeque<usize>,
    prioritized: BTreeMap<(u32, usize), usize>,
    delayed: BTreeSet<(u64, usize)>,
    pub active: Vec<usize>,
    pub paused: bool,
    pub limit: Option<u64>,
    pub rate: Option<Rate>,
    pub primary: Vec<usize>,
    completed: u64,
    failed: u64,
    /// When the last runs were over, and how long each took.
    ended: VecDeque<(u64, u64)>,
    stall_check_is_due: bool,
    /// It was obliterated, and nobody has added a job since: Redis has no key of it.
    pub is_gone: bool,
}

impl Bull {
    pub fn backlog(&self, now: u64) -> QueueBacklog {
        let due = self.delayed.range(..(now + 1, 0)).count() as u64;
        QueueBacklog {
            queue: "video".to_owned(),
            waiting: self.wait.len() as u64,
            prioritized: self.prioritized.len() as u64,
            delayed: self.delayed.len() as u64,
            delayed_due: due,
            active: self.active.len() as u64,
            paused: self.paused,
            concurrency: self.limit,
            rate_limit: self.rate.and_then(|rate| rate.window(now)),
            oldest_age: None,
            completed: self.completed,
            failed: self.failed,
            missing: self.is_gone.then(|| "queue \"video\" has never existed".to_owned()),
        }
    }

    /// Removes all that waits, as `Queue.obliterate` does while no job is active. False where one is.
    pub fn obliterate(&mut self) -> bool {
        if !self.active.is_empty() {
            return false;
        }
        let waiting = std::mem::take(&mut self.wait).into_iter();
        let prioritized = std::mem::take(&mut self.prioritized).into_values();
        let delayed = std::mem::take(&mut self.delayed).into_iter().map(|(_, job)| job);
        for job in waiting.chain(prioritized).chain(delayed) {
            self.jobs[job].place = Where::Removed;
        }
        self.rate = None;
        (self.paused, self.limit, self.completed, self.failed, self.is_gone) = (false, None, 0, 0, true);
        true
    }

    pub fn waiting(&self) -> usize {
        self.wait.len() + self.prioritized.len()
    }

    /// A job is waiting or active.
    pub fn is_busy(&self) -> bool {
        self.waiting() > 0 || !self.active.is_empty()
    }

    /// Neither done nor failed.
    pub fn open(&self) -> usize {
        self.waiting() + self.delayed.len() + self.active.len()
    }

    pub fn put(&mut self, job: usize, in_front: bool) {
        let priority = self.jobs[job].priority;
        if priority > 0 {
            self.jobs[job].place = Where::Prioritized;
            self.prioritized.insert((priority, job), job);
            return;
        }
        self.jobs[job].place = Where::Waiting;
        if in_front { self.wait.push_front(job) } else { self.wait.push_back(job) }
    }

    fn take(&mut self) -> Option<usize> {
        let job = self.wait.pop_front().or_else(|| self.prioritized.pop_first().map(|(_, job)| job))?;
        self.jobs[job].place = Where::Active;
        self.active.push(job);
        Some(job)
    }

    fn leaves_active(&mut self, job: usize) {
        if let Some(position) = self.active.iter().position(|active| *active == job) {
            self.active.swap_remove(position);
        }
    }
}

impl World {
    /// A new job; some are delayed, some have a priority.
    pub fn job_arrives(&mut self, took: u64) {
        self.new_job(took, None);
    }

    /// A job that takes each instance down on which it runs. The primary is large enough for it.
    pub fn dangerous_job_arrives(&mut self) {
        let ends_after = self.rng.between(1, 60) * SECOND;
        self.new_job(10 * MINUTE, Some(ends_after));
    }

    fn new_job(&mut self, took: u64, ends_after: Option<u64>) {
        let job = self.bull.jobs.len();
        let fails = if self.rng.per_mille(self.setup.failing) { self.rng.between(1, 3) as u32 } else { 0 };
        let priority = if self.rng.one_in(8) { self.rng.between(1, 3) as u32 } else { 0 };
        self.bull.jobs.push(Job {
            place: Where::Waiting,
            took,
            ready_at: self.now,
            priority,
            fails,
            attempts: 3,
            stalls: 0,
            run: None,
            pb: None,
            live: Vec::new(),
            runs: 0,
            ends_after,
            sudden_ends: 0,
            is_left: false,
            fronts: 0,
        });
        self.bull.is_gone = false;
        self.count(Occurrence::Arrived);
        if priority > 0 {
            self.count(Occurrence::Prioritized);
        }
        if !self.is_calm && self.rng.one_in(20) {
            let after = self.rng.octaves(10 * SECOND, 1800 * SECOND);
            return self.delay(job, after);
        }
        self.bull.put(job, false);
        self.dispatch();
    }

    fn delay(&mut self, job: usize, after: u64) {
        let at = self.now + after;
        self.bull.jobs[job].place = Where::Delayed(at);
        self.bull.jobs[job].ready_at = at;
        self.bull.delayed.insert((at, job));
        self.count(Occurrence::Delayed);
        self.agenda.put(at, Ev::Due(job));
    }

    /// A delayed job is due, and is promoted.
    pub fn job_is_due(&mut self, job: usize) {
        let Where::Delayed(at) = self.bull.jobs[job].place else { return };
        if self.net.redis_down.is_down(self.now) {
            let again = self.net.redis_down.until + SECOND;
            return self.agenda.put(again, Ev::Due(job));
        }
        if self.bull.paused {
            return self.agenda.put(self.now + 30 * SECOND, Ev::Due(job));
        }
        self.bull.delayed.remove(&(at, job));
        self.bull.put(job, false);
        self.dispatch();
    }

    /// Gives waiting jobs to free workers that reach Redis, chosen at random.
    pub fn dispatch(&mut self) {
        while self.bull.waiting() > 0 && !self.bull.paused && !self.net.redis_down.is_down(self.now) {
            if self.bull.limit.is_some_and(|limit| self.bull.active.len() as u64 >= limit) {
                return;
            }
            if self.bull.rate.is_some_and(|rate| rate.is_used_up(self.now)) {
                return self.count(Occurrence::HeldBack);
            }
            let mut free = std::mem::take(&mut self.free);
            free.clear();
            if self.bull.primary.len() < self.setup.primary_slots {
                free.push(None);
            }
            for n in &self.live_hosts {
                if !self.net.worker[*n].is_down(self.now) {
                    free.extend(self.hosts[*n].free_processes(self.setup.slots).map(|index| Some((*n, index))));
                }
            }
            let at = if free.is_empty() { None } else { Some(self.rng.pick(&free)) };
            self.free = free;
            let Some(at) = at else { return };
            let Some(job) = self.bull.take() else { return };
            self.counts_start();
            self.run_begins(job, at);
        }
    }

    /// The instance that holds an active job: by its lock's token, or else by the name of the worker that took it last.
    pub fn holder(&self, job: usize) -> Option<N> {
        let job = &self.bull.jobs[job];
        let token = job.run.map(|run| &self.bull.runs[run]).filter(|run| run.lock_left(self.now).is_some());
        let by_token = token.and_then(|run| run.at).filter(|_| self.setup.naming == Naming::Shim);
        by_token.map(|(n, _)| n).or(job.pb)
    }

    /// A scan: how many active jobs each instance holds.
    pub fn jobs_by_instance(&self) -> JobsByInstance {
        let mut seen = JobsByInstance::default();
        for job in &self.bull.active {
            if let Some(n) = self.holder(*job) {
                *seen.jobs.entry(InstanceId(format!("i-{n}"))).or_default() += 1;
            }
        }
        seen
    }
}
