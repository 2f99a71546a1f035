//! BullMQ's stall check: an active job without a lock is requeued once; the second time it fails for good. Owns which
//! jobs the check may find, and which must have been handed back before.

use crate::agenda::Ev;
use crate::bull::{Exec, Where};
use crate::clock::SECOND;
use crate::counts::Occurrence;
use crate::say;
use crate::setup::Naming;
use crate::world::World;

const EACH: u64 = 30 * SECOND;
/// As BullMQ's `maxStalledCount`.
const STALLS_ALLOWED: u32 = 1;

impl World {
    pub(super) fn stall_check_is_due(&mut self) {
        if !self.bull.stall_check_is_due {
            self.bull.stall_check_is_due = true;
            self.agenda.put((self.now / EACH + 1) * EACH, Ev::StallCheck);
        }
    }

    pub fn stall_check(&mut self) {
        self.bull.stall_check_is_due = false;
        if !self.net.redis_down.is_down(self.now) {
            let stalled = self.bull.active.iter().copied().filter(|job| self.is_stalled(*job)).collect::<Vec<_>>();
            stalled.into_iter().for_each(|job| self.stalls(job));
            self.dispatch();
        }
        let unsure = |job: &usize| self.bull.jobs[*job].run.is_none_or(|run| !self.bull.runs[run].is_renewing());
        if self.bull.active.iter().any(unsure) {
            self.stall_check_is_due();
        }
    }

    fn is_stalled(&self, job: usize) -> bool {
        let Some(run) = self.bull.jobs[job].run.map(|run| &self.bull.runs[run]) else { return true };
        if run.lock_left(self.now).is_some() {
            return false;
        }
        // In runs without a stall check for dead workers: jobs of a named worker that ended with its instance, or in a
        // drain, must be handed back; not those of instances that nobody could know of, or that were given up while no
        // listing showed them.
        let Some((n, _)) = run.at else { return true };
        let machine = &self.cloud.machines[n];
        let is_known = machine.launched_at > self.ledger_deleted_at && !machine.vanished_unknown && !machine.forgotten;
        // Nor of one whose agent lied: its lock may have expired before anybody looked, and nothing else named the
        // instance.
        let is_owed = self.setup.naming != Naming::None
            && run.exec == Exec::Dead
            && self.hosts[n].owes_hand_back
            && !self.hosts[n].has_lied;
        self.setup.stall_check || self.bull.jobs[job].is_left || !(is_owed && is_known)
    }

    fn stalls(&mut self, job: usize) {
        let run = self.bull.jobs[job].run;
        say!(self, "job {job} stalls: its lock has expired ({:?})", run.and_then(|run| self.bull.runs[run].at));
        self.count(Occurrence::Stalled);
        let entry = &mut self.bull.jobs[job];
        entry.run = None;
        entry.stalls += 1;
        entry.is_left = false;
        let fails = entry.stalls > STALLS_ALLOWED;
        self.bull.leaves_active(job);
        if fails {
            self.bull.jobs[job].place = Where::Failed;
            self.bull.failed += 1;
            self.count(Occurrence::FailedByStalls);
        } else {
            self.bull.put(job, true);
        }
    }
}
