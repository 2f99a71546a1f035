//! Hand-backs, as `spillway-handback`'s script does them. Owns what the script checks, and invariant 5: no worker runs
//! a job that is handed back.

use spillway_brain::Suspect;
use spillway_handback_rule::RENEWED_ABOVE;
pub use spillway_handback_rule::{Claim, Way};

use crate::agenda::N;
use crate::bull::Exec;
use crate::clock::ms;
use crate::counts::Occurrence;
use crate::invariants::Invariant;
use crate::say;
use crate::setup::Naming;
use crate::world::World;

/// A held job: active, in the name of an instance.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub job: usize,
    pub token: Option<usize>,
    pub left: Option<u64>,
    pub claim: Claim,
}

impl World {
    pub fn held_by(&self, n: N) -> Vec<Held> {
        let held = |job: &usize| {
            let entry = &self.bull.jobs[*job];
            let lock = entry.run.and_then(|run| Some((run, self.bull.runs[run].lock_left(self.now)?)));
            let is_its = lock.is_some_and(|(run, _)| self.bull.runs[run].at.is_some_and(|(at, _)| at == n));
            let claim = match (is_its && self.setup.naming == Naming::Shim, entry.pb == Some(n)) {
                (true, _) => Claim::Token,
                (false, true) => Claim::Name,
                (false, false) => return None,
            };
            Some(Held { job: *job, token: lock.map(|(run, _)| run), left: lock.map(|(_, left)| left), claim })
        };
        self.bull.active.iter().filter_map(held).collect()
    }

    /// The lock's token names another instance.
    pub fn is_anothers(&self, token: usize, n: N) -> bool {
        self.setup.naming == Naming::Shim && self.bull.runs[token].at.is_some_and(|(at, _)| at != n)
    }

    /// The script, right after the scan: nothing has changed in between. False if it leaves the job.
    pub fn moves_back(&mut self, held: Held, way: Way, occurrence: Occurrence) -> bool {
        if held.claim == Claim::Name && held.left.is_some_and(|left| left > ms(RENEWED_ABOVE)) {
            return false;
        }
        self.moved_back(held.job, way, occurrence);
        true
    }

    /// From `active` to the front of the queue, or behind the others.
    pub fn moved_back(&mut self, job: usize, way: Way, occurrence: Occurrence) {
        for run in self.bull.jobs[job].live.clone() {
            let run = &self.bull.runs[run];
            if run.exec == Exec::Running && run.is_renewing() && occurrence != Occurrence::HandedBackInside {
                let text =
                    format!("job {job} is handed back ({}) while its worker {:?} runs it", occurrence.words(), run.at);
                return self.violate(Invariant::RunsOnce, text);
            }
        }
        say!(self, "{}: job {job}", occurrence.words());
        self.count(occurrence);
        let entry = &mut self.bull.jobs[job];
        entry.run = None;
        if occurrence != Occurrence::HandedBackInside {
            entry.pb = None;
        }
        entry.sudden_ends += u32::from(way != Way::Front);
        entry.stalls += u32::from(way == Way::Behind);
        self.bull.leaves_active(job);
        self.bull.put(job, way != Way::Behind);
        if way == Way::Behind {
            self.count(Occurrence::PutBehind);
        }
    }

    /// Not handed back: it was running on instance after instance that ended without notice.
    pub fn left_to_stall_check(&mut self, suspect: &Suspect) {
        let job: usize = suspect.job.parse().expect("a job's number");
        say!(self, "job {job} is left to the stall check after {} ends", suspect.ends);
        self.count(Occurrence::LeftToStallCheck);
        self.bull.jobs[job].is_left = true;
        self.stall_check_is_due();
    }

    /// One job does not end instance after instance: only the first end without notice costs it nothing.
    pub fn check_bounded(&mut self, job: usize, n: N, way: Way) {
        let (machine, now) = (&self.cloud.machines[n], self.now);
        // A listing that was out of date may have hidden the end of one that was terminated, or drained, meanwhile.
        let is_sudden = machine.ended_suddenly_at.is_some_and(|at| at <= now) && self.hosts[n].told_at.is_none();
        if !is_sudden || !matches!(way, Way::Front | Way::FrontCounted) {
            return;
        }
        let entry = &mut self.bull.jobs[job];
        entry.fronts += 1;
        if entry.fronts > 1 {
            let text = format!("job {job} is handed back to the front after {} ends without notice", entry.fronts);
            self.violate(Invariant::JobBounded, text);
        }
    }
}
