//! Runs of jobs: a lock of 30 s, renewed every 15 s while the worker works and reaches Redis. Owns the locks' times,
//! which are computed, not simulated, and what the end of a run does.

use crate::agenda::{Ev, N};
use crate::bull::Where;
use crate::clock::{NEVER, SECOND};
use crate::counts::Occurrence;
use crate::invariants::Invariant;
use crate::say;
use crate::setup::Naming;
use crate::world::World;

const LOCK: u64 = 30 * SECOND;
const RENEWED_EACH: u64 = 15 * SECOND;

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exec {
    Running,
    /// Its process is frozen, or hangs for good.
    Frozen,
    /// Its process is dead.
    Dead,
    Over,
}

/// One run of a job; its number is its lock's token.
#[derive(Debug)]
pub struct Run {
    pub job: usize,
    /// None: the primary.
    pub at: Option<(N, usize)>,
    pub began: u64,
    pub exec: Exec,
    /// The last renewal before `renews_from`, and from when on the lock is renewed every 15 s.
    renewed_at: u64,
    renews_from: u64,
}

impl Run {
    /// Until the lock expires; None where it has.
    pub fn lock_left(&self, now: u64) -> Option<u64> {
        let expires = self.last_renewal(now) + LOCK;
        (expires > now).then(|| expires - now)
    }

    pub fn is_renewing(&self) -> bool {
        self.renews_from != NEVER
    }

    fn last_renewal(&self, now: u64) -> u64 {
        if now < self.renews_from {
            self.renewed_at
        } else {
            self.renews_from + (now - self.renews_from) / RENEWED_EACH * RENEWED_EACH
        }
    }

    fn stop_renewing(&mut self, now: u64) {
        self.renewed_at = self.last_renewal(now);
        self.renews_from = NEVER;
    }
}

impl World {
    pub(super) fn run_begins(&mut self, job: usize, at: Option<(N, usize)>) {
        let run = self.bull.runs.len();
        self.check_runs_alone(job, at);
        let renewed = self.now;
        self.bull.runs.push(Run {
            job,
            at,
            began: renewed,
            exec: Exec::Running,
            renewed_at: renewed,
            renews_from: renewed + RENEWED_EACH,
        });
        let entry = &mut self.bull.jobs[job];
        entry.run = Some(run);
        entry.live.push(run);
        entry.runs += 1;
        let took = entry.took;
        self.trace.mix(job as u64);
        match at {
            None => self.bull.primary.push(run),
            Some((n, index)) => {
                if self.setup.naming != Naming::None {
                    self.bull.jobs[job].pb = Some(n);
                }
                self.hosts[n].procs[index].runs.push(run);
                self.hosts[n].took_jobs = true;
                self.count(Occurrence::RanOnInstance);
                say!(self, "i-{n} starts job {job} ({} s)", took / SECOND);
                self.check_fenced(n);
                self.shims_changed(n);
            }
        }
        if let Some(after) = self.bull.jobs[job].ends_after.filter(|_| at.is_some()) {
            self.agenda.put(self.now + after, Ev::EndsInstance(run));
        }
        self.agenda.put(self.now + took, Ev::RunEnds(run));
    }

    /// The job takes its instance down.
    pub fn run_ends_instance(&mut self, run: usize) {
        let Some((n, _)) = self.bull.runs[run].at else { return };
        if self.bull.runs[run].exec == Exec::Running && !self.is_calm {
            say!(self, "job {} takes i-{n} down", self.bull.runs[run].job);
            self.count(Occurrence::EndedByJob);
            self.hosts[n].disturb(self.now);
            self.ec2_ends_suddenly(n, "Client.InstanceInitiatedShutdown");
        }
    }

    /// Invariant 5: a job runs once, unless the worker that had it before could not renew its lock.
    fn check_runs_alone(&mut self, job: usize, at: Option<(N, usize)>) {
        for before in self.bull.jobs[job].live.clone() {
            let run = &self.bull.runs[before];
            if run.exec != Exec::Running {
                continue;
            }
            if run.is_renewing() {
                let text =
                    format!("job {job} starts at {at:?} while it runs at {:?}, where its lock is renewed", run.at);
                return self.violate(Invariant::RunsOnce, text);
            }
            say!(
                self,
                "job {job} runs twice: its worker at {:?} is cut off and still runs it",
                self.bull.runs[before].at
            );
            self.count(Occurrence::RanTwice);
        }
    }

    pub fn run_ends(&mut self, run: usize) {
        let (job, at) = (self.bull.runs[run].job, self.bull.runs[run].at);
        if self.bull.runs[run].exec != Exec::Running {
            return;
        }
        // The result cannot reach Redis yet.
        let blocked_until = match at {
            _ if self.net.redis_down.is_down(self.now) => Some(self.net.redis_down.until),
            Some((n, _)) if self.net.worker[n].is_down(self.now) => Some(self.net.worker[n].until),
            Some((n, index)) => self.hosts[n].procs[index].hung_until.filter(|until| *until > self.now),
            None => None,
        };
        if let Some(until) = blocked_until {
            let again = until + self.rng.between(1, 500);
            return self.agenda.put(again, Ev::RunEnds(run));
        }
        let has_lock = self.bull.jobs[job].run == Some(run)
            && self.bull.jobs[job].place == Where::Active
            && self.bull.runs[run].lock_left(self.now).is_some();
        self.run_is_over(run, Exec::Over);
        if has_lock {
            let took = self.now - self.bull.runs[run].began;
            self.bull.has_ended(self.now, took);
            self.job_done(job);
        } else {
            self.count(Occurrence::LostLock);
        }
        if let Some((n, index)) = at {
            if self.hosts[n].is_reporting() && has_lock {
                self.job_learnt(n, job, run);
            }
            self.process_has_free_slot(n, index);
            self.shims_changed(n);
        }
        self.dispatch();
    }

    fn job_done(&mut self, job: usize) {
        self.bull.leaves_active(job);
        let entry = &mut self.bull.jobs[job];
        entry.run = None;
        if entry.fails == 0 {
            entry.place = Where::Completed;
            self.bull.completed += 1;
            return self.count(Occurrence::Completed);
        }
        entry.fails -= 1;
        entry.attempts -= 1;
        if entry.attempts == 0 {
            entry.place = Where::Failed;
            self.bull.failed += 1;
            return self.count(Occurrence::FailedByItself);
        }
        self.count(Occurrence::Retried);
        let after = self.rng.between(1, 60) * SECOND;
        self.delay(job, after);
    }

    /// The run is over: the job was finished, or the process ended or froze.
    pub fn run_is_over(&mut self, run: usize, exec: Exec) {
        let now = self.now;
        let entry = &mut self.bull.runs[run];
        if entry.is_renewing() {
            entry.stop_renewing(now);
        }
        entry.exec = exec;
        let (job, at) = (entry.job, entry.at);
        self.bull.jobs[job].live.retain(|live| *live != run);
        match at {
            None => self.bull.primary.retain(|live| *live != run),
            Some((n, index)) if exec != Exec::Frozen => self.hosts[n].procs[index].runs.retain(|live| *live != run),
            Some(_) => {}
        }
        if matches!(exec, Exec::Dead | Exec::Frozen) && self.bull.jobs[job].run == Some(run) {
            self.stall_check_is_due();
        }
    }

    /// Its lock is no longer renewed: Redis is cut off, or the process hangs.
    pub fn stops_renewing(&mut self, run: usize) {
        if self.bull.runs[run].is_renewing() {
            self.bull.runs[run].stop_renewing(self.now);
            self.stall_check_is_due();
        }
    }

    /// Redis is reached again: the next renewal finds the lock, or it has expired.
    pub fn renews_again(&mut self, run: usize) {
        let (now, entry) = (self.now, &mut self.bull.runs[run]);
        if entry.exec != Exec::Running || entry.is_renewing() {
            return;
        }
        let next = entry.began + (now - entry.began).div_ceil(RENEWED_EACH) * RENEWED_EACH;
        if self.bull.jobs[entry.job].run == Some(run) && entry.renewed_at + LOCK > next {
            entry.renews_from = next;
        }
    }
}
