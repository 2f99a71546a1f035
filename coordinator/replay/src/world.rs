//! The model's world: a queue, the primary, and instances that boot, work and end, from event to event.
//!
//! Jobs start in the order of their arrival. A worker with a free slot that has waited for a job longest takes the next
//! one, as Redis serves those that block on a list.

mod run;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::model::{LEAST_BILLED, Model};
use crate::trace::Job;

/// The primary among the workers.
pub(crate) const PRIMARY: usize = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Booting,
    Ready,
    Draining,
    Ended,
}

/// The primary, or an instance.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub phase: Phase,
    pub launched_at: u64,
    pub ended_at: u64,
    pub slots: u32,
    pub busy: u32,
    /// Since when it runs no job.
    pub idle_since: u64,
    /// EC2 takes it then.
    pub reclaimed_at: Option<u64>,
}

/// A job that runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub job: usize,
    pub worker: usize,
    pub started_at: u64,
    pub ends_at: u64,
}

/// What a policy does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Launch,
    Drain(usize),
    CancelDrain(usize),
    /// Whatever it runs.
    Terminate(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends { run: usize },
    Ready { worker: usize },
    Requeue { job: usize },
    Notice { worker: usize },
    HandBack { worker: usize },
    Reclaimed { worker: usize },
    Look,
}

#[derive(Debug)]
pub(crate) struct World<'a> {
    pub now: u64,
    pub model: &'a Model,
    jobs: &'a [Job],
    /// The first job that has not arrived.
    next: usize,
    pub queue: VecDeque<usize>,
    runs: Vec<Option<Run>>,
    free_runs: Vec<usize>,
    pub workers: Vec<Worker>,
    /// Instances that have not ended, oldest first.
    pub live: Vec<usize>,
    /// Workers with a free slot, those that have waited longest for a job first.
    blocked: VecDeque<usize>,
    agenda: BinaryHeap<Reverse<(u64, u64, Event)>>,
    scheduled: u64,
    draws: fastrand::Rng,
    /// When each job first started.
    started_at: Vec<Option<u64>>,
    ended: usize,
    /// How long the jobs took that ended since a policy last looked.
    pub finished: Vec<u64>,
    pub launches: u64,
    pub interruptions: u64,
    pub jobs_killed: u64,
}

impl<'a> World<'a> {
    pub(crate) fn new(jobs: &'a [Job], model: &'a Model) -> Self {
        let (launched_at, slots) = (0, model.primary_slots);
        let primary =
            Worker { phase: Phase::Ready, launched_at, ended_at: 0, slots, busy: 0, idle_since: 0, reclaimed_at: None };
        World {
            now: 0,
            model,
            jobs,
            next: 0,
            queue: VecDeque::new(),
            runs: Vec::new(),
            free_runs: Vec::new(),
            workers: vec![primary],
            live: Vec::new(),
            blocked: VecDeque::from([PRIMARY]),
            agenda: BinaryHeap::new(),
            scheduled: 0,
            draws: fastrand::Rng::with_seed(model.seed),
            started_at: vec![None; jobs.len()],
            ended: 0,
            finished: Vec::new(),
            launches: 0,
            interruptions: 0,
            jobs_killed: 0,
        }
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().flatten()
    }

    /// For how long a job has waited.
    pub(crate) fn age(&self, job: usize) -> u64 {
        self.now - self.jobs[job].arrival
    }

    /// How long each job waited until it first started, shortest first.
    pub(crate) fn waits(&self) -> Vec<u64> {
        let started = self.jobs.iter().zip(&self.started_at);
        let mut waits: Vec<u64> = started.filter_map(|(job, at)| Some((*at)? - job.arrival)).collect();
        waits.sort_unstable();
        waits
    }

    /// What EC2 bills, in milliseconds of instances.
    pub(crate) fn billed(&self) -> u64 {
        let span = |worker: &Worker| (worker.ended_at - worker.launched_at).max(LEAST_BILLED);
        self.workers.iter().skip(1).map(span).sum()
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.agenda.push(Reverse((at, self.scheduled, event)));
    }
}
