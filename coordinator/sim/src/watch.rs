//! What must always hold (coordinator/ARCHITECTURE.md says what), checked against the world as it really is. Owns the
//! checks and what they need to know by themselves; nothing here is told to the brain.
//!
//! `Shadow` is what one line of knowledge was told (it is saved and taken over with the ledger's state), `plan` checks each
//! plan by it, `effects` what is done against what is saved, `policy` says once more what desired capacity must be, `state` compares what is known with what is there.

mod effects;
mod plan;
mod policy;
mod shadow;
mod state;

use spillway_pool::{Input, Observation};

use crate::agenda::C;
use crate::coordinator::number;
use crate::counts::Met;
use crate::world::World;

pub use effects::Watched;
pub use shadow::Shadow;

/// An invariant, by its number in `coordinator/ARCHITECTURE.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invariant {
    Cap,
    NothingForgotten,
    OneToken,
    UnknownIsNotZero,
    FencedAndEmpty,
    RunsOnce,
    NoJobLost,
    HandedBackInTime,
    OnlyReady,
    NoLeak,
    OnlyOurs,
    NothingNew,
    Bounded,
    OnlyTheLeader,
    AtOnce,
    AsAnswered,
    Converges,
    Policy,
    Panics,
}

impl Invariant {
    pub fn words(self) -> &'static str {
        match self {
            Invariant::Cap => "1: never more than max_instances that bill",
            Invariant::NothingForgotten => "1: nothing that bills is forgotten",
            Invariant::OneToken => "2: one token, one instance",
            Invariant::UnknownIsNotZero => "3: unknown is not zero",
            Invariant::FencedAndEmpty => "4: terminated only fenced and empty by two sources",
            Invariant::RunsOnce => "5: no job runs twice",
            Invariant::NoJobLost => "5: no job is lost",
            Invariant::HandedBackInTime => "5: a notice is enough to hand everything back",
            Invariant::OnlyReady => "6: only ready instances are capacity",
            Invariant::NoLeak => "7: no instance outlives its use",
            Invariant::OnlyOurs => "8: only ours are touched",
            Invariant::NothingNew => "9: a tick with nothing new plans nothing",
            Invariant::Bounded => "10: calls are bounded and back off",
            Invariant::OnlyTheLeader => "11: only the leader acts",
            Invariant::AtOnce => "4: a notice is acted on at once",
            Invariant::AsAnswered => "operators: what is granted happens",
            Invariant::Converges => "12: converges after the faults",
            Invariant::Policy => "policy: desired capacity follows from the observations",
            Invariant::Panics => "nothing panics",
        }
    }
}

/// What did not hold, when.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: Invariant,
    pub at: u64,
    pub detail: String,
}

impl World {
    pub fn met(&mut self, met: Met) {
        self.counts.add(met);
    }

    pub fn violate(&mut self, invariant: Invariant, detail: String) {
        if self.violation.is_none() {
            crate::say!(self, "VIOLATION {}: {detail}", invariant.words());
            self.violation = Some(Violation { invariant, at: self.now, detail });
        }
    }

    /// What a coordinator is told, as far as the checks of instances need it.
    pub fn note_told(&mut self, c: C, input: &Input) {
        match input {
            Input::Observed(Ok(Observation { jobs: Some((asked_at, seen)), .. })) => {
                let asked_at = asked_at.0.saturating_add_signed(-self.setup.skew[c]);
                for n in &self.cloud.listed {
                    if !seen.jobs.contains_key(&self.cloud.machines[*n].id) {
                        self.hosts[*n].zero_seen_at = self.hosts[*n].zero_seen_at.max(asked_at);
                    }
                }
            }
            Input::HandedBack(attempt) if attempt.certain && attempt.left == 0 && attempt.problem.is_none() => {
                self.hosts[number(&attempt.id)].emptied_at = self.now;
            }
            _ => {}
        }
    }
}
