//! The worker's processes under PM2: started, fenced, signalled, frozen, killed, crashed and restarted. What becomes of
//! their jobs is BullMQ's.

use spillway_machine::{Event, Graceful};

use super::{Host, Stop};
use crate::agenda::{AgentEv, Ev, HostEv, N};
use crate::bull::Exec;
use crate::counts::Occurrence;
use crate::say;
use crate::setup::Naming;
use crate::world::World;

/// One process of the worker.
#[derive(Debug, Default)]
pub struct Proc {
    pub pid: u32,
    pub is_up: bool,
    pub is_starting: bool,
    /// Its jobs are handed back, or it is about to be killed.
    pub is_frozen: bool,
    pub is_fenced: bool,
    /// It was signalled: it takes no more jobs, and PM2 does not restart it.
    is_stopping: bool,
    pub hung_until: Option<u64>,
    pub restarts: u32,
    pub runs: Vec<usize>,
    /// The number of the start or exit that is pending.
    number: u64,
}

impl Proc {
    pub(super) fn works(&self) -> bool {
        self.is_up && !self.is_frozen && self.hung_until.is_none()
    }
}

impl Host {
    /// Processes that can take a job.
    pub fn free_processes(&self, slots: usize) -> impl Iterator<Item = usize> {
        let is_free = move |it: &Proc| it.works() && !it.is_fenced && !it.is_stopping && it.runs.len() < slots;
        let takes_jobs = self.idle().is_none();
        let free = self.procs.iter().enumerate().filter(move |(_, process)| takes_jobs && is_free(process));
        free.map(|(index, _)| index)
    }

    pub(super) fn index_of(&self, pid: u32) -> Option<usize> {
        self.procs.iter().position(|process| process.pid == pid)
    }
}

impl World {
    /// PM2 starts all that do not run.
    pub(super) fn starts_processes(&mut self, n: N) {
        for index in 0..self.hosts[n].procs.len() {
            if !self.hosts[n].procs[index].is_up {
                self.starts_process(n, index);
            }
        }
    }

    fn starts_process(&mut self, n: N, index: usize) {
        let (number, after) = (self.hosts[n].number(), self.rng.between(300, 4000));
        let host = &mut self.hosts[n];
        host.next_pid += 1;
        let process = &mut host.procs[index];
        *process =
            Proc { pid: host.next_pid, is_starting: true, restarts: process.restarts, number, ..Proc::default() };
        let ev = HostEv::ProcUp { pid: process.pid, number };
        self.agenda.put(self.now + after, Ev::Host { n, ev });
    }

    pub(super) fn process_is_up(&mut self, n: N, pid: u32, number: u64) {
        let host = &mut self.hosts[n];
        let Some(index) = host.index_of(pid) else { return };
        let process = &mut host.procs[index];
        if process.number != number || !process.is_starting {
            return;
        }
        (process.is_starting, process.is_up) = (false, true);
        process.is_fenced = host.fence_mark && self.setup.naming == Naming::Shim;
        self.shims_changed(n);
        self.dispatch();
    }

    pub(super) fn fenced(&mut self, n: N, on: bool) {
        if self.setup.naming != Naming::Shim {
            return;
        }
        let host = &mut self.hosts[n];
        host.fence_mark = on;
        host.procs.iter_mut().filter(|it| it.hung_until.is_none()).for_each(|process| process.is_fenced = on);
        self.shims_changed(n);
        self.dispatch();
    }

    /// PM2 signals every process.
    pub(super) fn stops_worker(&mut self, n: N) {
        say!(self, "i-{n}: the agent stops the worker");
        let host = &mut self.hosts[n];
        if let Some(agent) = &mut host.agent {
            agent.step = None;
            // The shell must not report the worker stopped while a start of its own is under way.
            agent.starting = None;
        }
        host.stop = Some(Stop::default());
        for index in 0..host.procs.len() {
            self.stops_process(n, index);
        }
        self.stopped_if_all(n);
    }

    fn stops_process(&mut self, n: N, index: usize) {
        let dies_of_it = self.setup.naming != Naming::Shim && self.setup.graceful == Graceful::No;
        let (patience, ends_after) = (self.setup.patience, self.rng.between(50, 800));
        let number = self.hosts[n].number();
        let process = &mut self.hosts[n].procs[index];
        if process.is_starting {
            (process.is_starting, process.number) = (false, number);
            return;
        }
        if !process.is_up || process.is_stopping {
            return;
        }
        (process.is_stopping, process.number) = (true, number);
        let pid = process.pid;
        let idle = process.works() && process.runs.is_empty();
        let (after, killed) = match dies_of_it && process.works() {
            true => (ends_after, false),
            false if idle => (ends_after, false),
            false => (patience, true),
        };
        self.agenda.put(self.now + after, Ev::Host { n, ev: HostEv::ProcExits { pid, number, killed } });
    }

    /// A job ended: a process that was signalled exits once it has none left.
    pub fn process_has_free_slot(&mut self, n: N, index: usize) {
        let process = &self.hosts[n].procs[index];
        if !(process.is_stopping && process.works() && process.runs.is_empty()) {
            return;
        }
        let (pid, number) = (process.pid, process.number);
        self.agenda.put(self.now + 100, Ev::Host { n, ev: HostEv::ProcExits { pid, number, killed: false } });
    }

    pub(super) fn process_exits(&mut self, n: N, pid: u32, number: u64, killed: bool) {
        let Some(index) = self.hosts[n].index_of(pid) else { return };
        let process = &self.hosts[n].procs[index];
        if process.number != number || !process.is_up {
            return;
        }
        let was_stopping = process.is_stopping;
        if was_stopping {
            self.hosts[n].owes_hand_back = true;
            self.check_stopped_in_peace(n, index);
        }
        self.process_dies(n, index);
        if let Some(stop) = &mut self.hosts[n].stop {
            stop.killed |= killed;
        }
        if !was_stopping {
            self.hosts[n].procs[index].restarts += 1;
            self.starts_process(n, index);
        }
        self.shims_changed(n);
        self.stopped_if_all(n);
    }

    fn stopped_if_all(&mut self, n: N) {
        let host = &mut self.hosts[n];
        if host.procs.iter().any(|process| process.is_up || process.is_starting) {
            return;
        }
        let Some(stop) = host.stop.take() else { return };
        let at = self.now + self.rng.between(20, 400);
        self.put_agent(n, at, AgentEv::Machine(Event::WorkerStopped { killed: stop.killed }));
    }

    /// The process ends, and the runs of its jobs with it.
    pub fn process_dies(&mut self, n: N, index: usize) {
        let process = &mut self.hosts[n].procs[index];
        (process.is_up, process.is_starting, process.hung_until) = (false, false, None);
        for run in std::mem::take(&mut process.runs) {
            say!(self, "i-{n}: job {} is cut off", self.bull.runs[run].job);
            self.count(Occurrence::CutOff);
            self.run_is_over(run, Exec::Dead);
        }
    }

    /// SIGSTOP to all its processes: none does anything more.
    pub(super) fn freezes_worker(&mut self, n: N) {
        say!(self, "i-{n}: the agent kills the worker");
        self.hosts[n].owes_hand_back = true;
        for index in 0..self.hosts[n].procs.len() {
            self.hosts[n].procs[index].is_frozen = true;
            for run in self.hosts[n].procs[index].runs.clone() {
                self.run_is_over(run, Exec::Frozen);
            }
        }
    }

    pub(super) fn kills_worker(&mut self, n: N) {
        for index in 0..self.hosts[n].procs.len() {
            self.process_dies(n, index);
        }
        if let Some(stop) = &mut self.hosts[n].stop {
            stop.killed = true;
        }
        self.shims_changed(n);
        self.stopped_if_all(n);
    }

    pub(super) fn starts_worker(&mut self, n: N) {
        self.starts_processes(n);
        let host = &mut self.hosts[n];
        let restarts = host.procs.iter().map(|process| process.restarts).sum();
        if let Some(agent) = &mut host.agent {
            agent.base_restarts = restarts;
        }
        self.agent_feed(n, Event::WorkerStarted);
    }

    /// A process crashes; PM2 starts another.
    pub fn process_crashes(&mut self, n: N, index: usize) {
        let number = self.hosts[n].number();
        let process = &mut self.hosts[n].procs[index];
        if process.works() && !process.is_stopping {
            process.number = number;
            let pid = process.pid;
            self.hosts[n].disturb(self.now);
            self.count(Occurrence::WorkerCrash);
            say!(self, "i-{n}: a worker process crashes");
            self.process_exits(n, pid, number, false);
        }
    }

    /// A process' event loop hangs: it renews no lock and answers nothing until `until`.
    pub fn process_hangs(&mut self, n: N, index: usize, until: u64) {
        let number = self.hosts[n].procs[index].number;
        let process = &mut self.hosts[n].procs[index];
        if !process.works() {
            return;
        }
        process.hung_until = Some(until);
        let (pid, runs) = (process.pid, process.runs.clone());
        self.hosts[n].disturb(until);
        runs.into_iter().for_each(|run| self.stops_renewing(run));
        self.count(Occurrence::WorkerHung);
        say!(self, "i-{n}: a worker process hangs");
        self.agenda.put(until, Ev::Host { n, ev: HostEv::Unhang { pid, number } });
    }

    pub(super) fn process_goes_on(&mut self, n: N, pid: u32, _number: u64) {
        let Some(index) = self.hosts[n].index_of(pid) else { return };
        let fence_mark = self.hosts[n].fence_mark && self.setup.naming == Naming::Shim;
        let process = &mut self.hosts[n].procs[index];
        if process.hung_until.is_none_or(|until| until > self.now) {
            return;
        }
        process.hung_until = None;
        if process.is_frozen || !process.is_up {
            return;
        }
        process.is_fenced = fence_mark;
        if self.net.host_redis(n, self.now) {
            self.hosts[n].procs[index].runs.clone().into_iter().for_each(|run| self.renews_again(run));
        }
        self.process_has_free_slot(n, index);
        self.shims_changed(n);
        self.dispatch();
    }
}
