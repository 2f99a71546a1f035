//! How the world goes on.

use super::{Action, Event, PRIMARY, Phase, Run, Worker, World};
use crate::model::{HANDED_BACK_BEFORE, NOTICE, STALLED_AFTER};
use crate::policy::Acts;

impl World<'_> {
    /// Until the last job and the last instance have ended. `each` is called now and then with the jobs that ended.
    pub(crate) fn run(&mut self, policy: &mut dyn Acts, each: &mut dyn FnMut(usize)) {
        self.schedule(0, Event::Look);
        let mut told = 0;
        while self.ended < self.jobs.len() || !self.live.is_empty() {
            if self.ended >= told + 1000 {
                told = self.ended;
                each(told);
            }
            let arrival = self.jobs.get(self.next).map(|job| job.arrival);
            let event = self.agenda.peek().map(|std::cmp::Reverse((at, ..))| *at);
            match (arrival, event) {
                (Some(at), event) if event.is_none_or(|event| at <= event) => {
                    self.now = at;
                    self.queue.push_back(self.next);
                    self.next += 1;
                }
                _ => {
                    let Some(std::cmp::Reverse((at, _, event))) = self.agenda.pop() else { return };
                    self.now = at;
                    self.happens(event, policy);
                }
            }
            self.start_jobs();
        }
        each(self.ended);
    }

    fn happens(&mut self, event: Event, policy: &mut dyn Acts) {
        match event {
            Event::Ends { run } => self.job_ends(run, policy),
            Event::Ready { worker } if self.workers[worker].phase == Phase::Booting => {
                self.workers[worker].phase = Phase::Ready;
                self.workers[worker].idle_since = self.now;
                self.blocked.push_back(worker);
                policy.ready(self, worker);
            }
            Event::Ready { .. } => {}
            Event::Requeue { job } => self.queue.push_front(job),
            Event::Notice { worker } => self.notice(worker, policy),
            Event::HandBack { worker } if self.workers[worker].phase != Phase::Ended => self.hand_back(worker),
            Event::HandBack { .. } => {}
            Event::Reclaimed { worker } if self.workers[worker].phase != Phase::Ended => {
                self.end(worker);
                policy.ended(self, worker);
            }
            Event::Reclaimed { .. } => {}
            Event::Look => {
                let actions = policy.look(self);
                self.finished.clear();
                self.act(actions, policy);
                self.schedule(self.next_look(policy), Event::Look);
            }
        }
    }

    /// Looks between which nothing can be decided are left out: nobody waits, and nothing bills.
    fn next_look(&self, policy: &dyn Acts) -> u64 {
        let next = self.now + policy.interval();
        let is_quiet = self.live.is_empty() && self.queue.is_empty() && policy.is_at_rest();
        let is_requeued = || self.agenda.iter().any(|it| matches!(it.0.2, Event::Requeue { .. }));
        match self.jobs.get(self.next).filter(|job| is_quiet && job.arrival > next && !is_requeued()) {
            Some(job) => next + (job.arrival - next) / policy.interval() * policy.interval(),
            None => next,
        }
    }

    fn act(&mut self, actions: Vec<Action>, policy: &mut dyn Acts) {
        for action in actions {
            match action {
                Action::Launch => self.launch(policy),
                Action::Drain(worker) => self.drain(worker, policy),
                Action::CancelDrain(worker) => {
                    self.workers[worker].phase = Phase::Ready;
                    self.blocked.push_back(worker);
                }
                Action::Terminate(worker) => {
                    self.kill(worker);
                    policy.ended(self, worker);
                }
            }
        }
    }

    fn launch(&mut self, policy: &mut dyn Acts) {
        let (worker, slots, launched_at) = (self.workers.len(), self.model.slots, self.now);
        let booting = Phase::Booting;
        let boot = self.draws.u64(self.model.boot..=self.model.boot_max);
        self.launches += 1;
        self.live.push(worker);
        self.workers.push(Worker {
            phase: booting,
            launched_at,
            ended_at: 0,
            slots,
            busy: 0,
            idle_since: launched_at,
            reclaimed_at: None,
        });
        self.schedule(self.now + boot, Event::Ready { worker });
        if let Some(mean) = self.model.interrupted_every {
            let after = -(1.0 - self.draws.f64()).ln() * mean as f64;
            self.schedule(self.now + after as u64, Event::Notice { worker });
        }
        policy.launched(self, worker);
    }

    fn start_jobs(&mut self) {
        while !self.queue.is_empty() {
            let Some(worker) = self.blocked.pop_front() else { return };
            let it = &mut self.workers[worker];
            if it.phase != Phase::Ready || it.busy >= it.slots {
                continue;
            }
            let Some(job) = self.queue.pop_front() else { return };
            it.busy += 1;
            if it.busy < it.slots {
                self.blocked.push_back(worker);
            }
            let run = Run { job, worker, started_at: self.now, ends_at: self.now + self.jobs[job].duration };
            self.started_at[job].get_or_insert(self.now);
            let place = self.free_runs.pop().unwrap_or(self.runs.len());
            if place == self.runs.len() {
                self.runs.push(None);
            }
            self.runs[place] = Some(run);
            self.schedule(run.ends_at, Event::Ends { run: place });
        }
    }

    fn job_ends(&mut self, place: usize, policy: &mut dyn Acts) {
        // Its place may be another job's by now.
        let Some(run) = self.runs[place].filter(|run| run.ends_at == self.now) else { return };
        self.runs[place] = None;
        self.free_runs.push(place);
        self.ended += 1;
        self.finished.push(self.jobs[run.job].duration);
        let worker = &mut self.workers[run.worker];
        let was_full = worker.busy == worker.slots;
        worker.busy -= 1;
        if worker.busy == 0 {
            worker.idle_since = self.now;
        }
        match worker.phase {
            Phase::Draining if worker.busy == 0 => self.drained(run.worker, policy),
            Phase::Ready if was_full => self.blocked.push_back(run.worker),
            _ => {}
        }
    }

    fn drain(&mut self, worker: usize, policy: &mut dyn Acts) {
        self.workers[worker].phase = Phase::Draining;
        self.blocked.retain(|it| *it != worker);
        if self.workers[worker].busy == 0 {
            self.drained(worker, policy);
        }
    }

    /// A worker that drains runs no job any more: the policy says what follows.
    fn drained(&mut self, worker: usize, policy: &mut dyn Acts) {
        let actions = policy.drained(self, worker);
        self.act(actions, policy);
    }

    fn notice(&mut self, worker: usize, policy: &mut dyn Acts) {
        if self.workers[worker].phase == Phase::Ended {
            return;
        }
        self.interruptions += 1;
        let at = self.now + NOTICE;
        self.workers[worker].reclaimed_at = Some(at);
        self.schedule(at - HANDED_BACK_BEFORE, Event::HandBack { worker });
        self.schedule(at, Event::Reclaimed { worker });
        self.workers[worker].phase = Phase::Draining;
        self.blocked.retain(|it| *it != worker);
        let actions = policy.noticed(self, worker);
        self.act(actions, policy);
    }

    /// What it runs waits again, before all others, and begins anew.
    fn hand_back(&mut self, worker: usize) {
        let mut back = self.stop(worker);
        back.sort_unstable_by(|one, other| other.cmp(one));
        back.into_iter().for_each(|job| self.queue.push_front(job));
    }

    fn kill(&mut self, worker: usize) {
        for job in self.stop(worker) {
            self.jobs_killed += 1;
            self.schedule(self.now + STALLED_AFTER, Event::Requeue { job });
        }
        self.end(worker);
    }

    /// The jobs that it ran.
    fn stop(&mut self, worker: usize) -> Vec<usize> {
        let mut stopped = Vec::new();
        for place in 0..self.runs.len() {
            if let Some(run) = self.runs[place].take_if(|run| run.worker == worker) {
                self.free_runs.push(place);
                stopped.push(run.job);
            }
        }
        self.workers[worker].busy = 0;
        stopped
    }

    fn end(&mut self, worker: usize) {
        debug_assert!(worker != PRIMARY && self.workers[worker].busy == 0);
        self.workers[worker].phase = Phase::Ended;
        self.workers[worker].ended_at = self.now;
        self.live.retain(|it| *it != worker);
        self.blocked.retain(|it| *it != worker);
    }
}
