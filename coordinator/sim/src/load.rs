//! The load: single jobs, bursts and floods. Owns how many there are and how long they take; the rest is BullMQ's.

use crate::agenda::{Ev, Load};
use crate::clock::{MINUTE, NEVER, SECOND};
use crate::counts::Occurrence;
use crate::world::World;

/// Between two checks whether the steady load needs more jobs.
const TOP_UP: u64 = 10 * SECOND;

impl World {
    pub fn load_begins(&mut self) {
        if self.setup.arrivals != NEVER {
            self.agenda.put(self.now + self.setup.arrivals, Ev::Load(Load::Arrive));
        }
        let first = self.rng.below(self.setup.bursts);
        self.agenda.put(self.now + first, Ev::Load(Load::Burst));
    }

    pub fn load_happens(&mut self, load: Load) {
        match load {
            Load::Arrive if !self.is_calm => {
                let every = self.setup.arrivals;
                let after = every / 4 + self.rng.below(every * 3 / 2);
                self.agenda.put(self.now + after, Ev::Load(Load::Arrive));
                let took = self.job_length();
                self.job_arrives(took);
            }
            Load::Burst if !self.is_calm => {
                let every = self.setup.bursts;
                let after = every / 2 + self.rng.below(every);
                self.agenda.put(self.now + after, Ev::Load(Load::Burst));
                let is_flood = self.rng.one_in(5);
                self.count(if is_flood { Occurrence::Flood } else { Occurrence::Burst });
                let jobs = self.rng.between(1, self.setup.burst_size) * if is_flood { 4 } else { 1 };
                let longest = self.setup.job.1.min(if jobs > 30 { 2 * MINUTE } else { self.setup.job.1 });
                for _ in 0..jobs {
                    let took = self.rng.octaves(self.setup.job.0, longest);
                    self.job_arrives(took);
                }
            }
            Load::TopUp if self.is_steady => {
                self.agenda.put(self.now + TOP_UP, Ev::Load(Load::TopUp));
                // However many are taken before the next check, the highest step's threshold stays met.
                let setup = &self.setup;
                let slots = setup.primary_slots as u64
                    + u64::from(setup.config.max_instances * setup.processes) * setup.slots as u64;
                let target = setup.config.policy.steps.iter().map(|step| step.jobs).max().unwrap_or(1) + slots + 2;
                while (self.bull.waiting() as u64) < target {
                    let took = self.rng.between(20, 40) * SECOND;
                    self.job_arrives(took);
                }
            }
            _ => {}
        }
    }

    /// In milliseconds; few jobs are of the longest kind.
    fn job_length(&mut self) -> u64 {
        let (shortest, longest) = self.setup.job;
        let longest = if self.rng.one_in(4) { longest } else { longest / 8 };
        self.rng.octaves(shortest, longest.max(shortest))
    }
}
