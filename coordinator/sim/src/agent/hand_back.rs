//! Hand-backs of the worker's jobs by its own processes, and by the agent once they are dead.

use spillway_machine::Event;

use crate::agenda::{AgentEv, N};
use crate::bull::{Claim, Exec, Way};
use crate::counts::Occurrence;
use crate::world::World;

impl World {
    /// The process requeues its own jobs, and freezes.
    pub(super) fn hands_back_inside(&mut self, n: N, pid: u32) {
        let Some(index) = self.hosts[n].index_of(pid) else { return };
        // A hung process does not answer.
        if !self.hosts[n].procs[index].works() {
            return;
        }
        let reaches = self.net.host_redis(n, self.now);
        let (mut jobs, mut kept) = (0, 0);
        for run in self.hosts[n].procs[index].runs.clone() {
            let job = self.bull.runs[run].job;
            let is_its = self.bull.jobs[job].run == Some(run) && self.bull.runs[run].lock_left(self.now).is_some();
            if !(reaches && is_its) {
                kept += 1;
                continue;
            }
            self.run_is_over(run, Exec::Over);
            self.moved_back(job, Way::Front, Occurrence::HandedBackInside);
            jobs += 1;
        }
        self.hosts[n].procs[index].is_frozen = kept == 0;
        let after = if reaches { 5 } else { 1500 };
        self.put_agent(n, self.now + after, AgentEv::Machine(Event::HandedBack { pid, jobs, kept }));
        self.shims_changed(n);
        self.dispatch();
    }

    /// Jobs of the dead worker, found by the lock's token or by the name.
    pub(super) fn hands_back_outside(&mut self, n: N) {
        if !self.net.host_redis(n, self.now) {
            let at = self.now + self.rng.between(500, 5000);
            let event = Event::HandedBackOutside { jobs: 0, left: None, again: true };
            return self.put_agent(n, at, AgentEv::Machine(event));
        }
        let (mut jobs, mut again) = (0, false);
        for held in self.held_by(n) {
            if held.claim == Claim::Name && held.token.is_some_and(|token| self.is_anothers(token, n)) {
                continue;
            }
            if self.moves_back(held, Way::Front, Occurrence::HandedBackAgent) { jobs += 1 } else { again = true }
        }
        self.dispatch();
        let left = self.active_of(n);
        let at = self.now + self.rng.between(2, 40);
        self.put_agent(n, at, AgentEv::Machine(Event::HandedBackOutside { jobs, left, again }));
    }
}
