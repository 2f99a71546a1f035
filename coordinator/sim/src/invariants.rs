//! The invariants of coordinator/ARCHITECTURE.md, checked against the true state of the world. Owns the checks and what
//! they must remember; the brain learns nothing of it.
//!
//! `Shadow` is what a brain was told (saved and loaded with its state). `plan` checks each plan against it, `effects`
//! what is carried out against what is saved, `policy` computes desired capacity a second time, `state` compares the
//! leader's state with the world.

mod drill;
mod effects;
mod new_image;
mod plan;
mod policy;
mod shadow;
mod state;
mod taken_back;
mod takes_none;

use spillway_pool::{Input, Observation};

use crate::clock::ms;
use crate::coordinator::number;
use crate::counts::Occurrence;
use crate::world::World;

pub use effects::Obligations;
pub use shadow::Shadow;
pub use state::FOUND_AGAIN;

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
    JobBounded,
    HandedBackInTime,
    OnlyReady,
    TakesNoJob,
    NoLeak,
    OnlyOurs,
    NothingNew,
    Bounded,
    OnlyTheLeader,
    AtOnce,
    AsAnswered,
    Converges,
    Policy,
    EventAnswered,
    LeftToEc2,
    FailedByItself,
    OneTriesAnImage,
    Panics,
}

impl Invariant {
    pub fn words(self) -> &'static str {
        match self {
            Invariant::Cap => "1: never more than max_instances billable instances",
            Invariant::NothingForgotten => "1: no billable instance is forgotten",
            Invariant::OneToken => "2: one launch token, one instance",
            Invariant::UnknownIsNotZero => "3: unknown is not zero",
            Invariant::FencedAndEmpty => "4: terminated only once fenced and without jobs",
            Invariant::RunsOnce => "5: no job runs twice",
            Invariant::NoJobLost => "5: no job is lost",
            Invariant::JobBounded => "5: one job does not end instance after instance",
            Invariant::HandedBackInTime => "5: a notice leaves time to hand back all jobs",
            Invariant::OnlyReady => "6: only ready instances are capacity",
            Invariant::TakesNoJob => {
                "6: what takes no job while others do is no capacity, and nothing else is drained for that"
            }
            Invariant::NoLeak => "7: no instance outlives its use",
            Invariant::OnlyOurs => "8: only instances with a launch token are touched",
            Invariant::NothingNew => "9: a tick without new events decides nothing",
            Invariant::Bounded => "10: calls are bounded and back off",
            Invariant::OnlyTheLeader => "11: only the leader acts",
            Invariant::AtOnce => "4: a notice is acted on at once",
            Invariant::AsAnswered => "operators: an accepted command is carried out",
            Invariant::Converges => "12: the pool converges once the faults stop",
            Invariant::Policy => "policy: desired capacity follows from the observations",
            Invariant::FailedByItself => "breaker: what somebody else terminates, or EC2 takes back, is no failed boot",
            Invariant::EventAnswered => "events: an instance is drained before EC2 ends it as scheduled",
            Invariant::LeftToEc2 => "money: what EC2 reclaims in its first hour is left to EC2",
            Invariant::OneTriesAnImage => "images: one that has not run here is tried by one instance at a time",
            Invariant::Panics => "nothing panics",
        }
    }
}

/// Which invariant did not hold, and when.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: Invariant,
    pub at: u64,
    pub detail: String,
}

impl World {
    pub fn count(&mut self, occurrence: Occurrence) {
        self.counts.add(occurrence);
    }

    pub fn violate(&mut self, invariant: Invariant, detail: String) {
        if self.violation.is_none() {
            crate::say!(self, "VIOLATION {}: {detail}", invariant.words());
            self.violation = Some(Violation { invariant, at: self.now, detail });
        }
    }

    /// Records what a coordinator was told, as far as the checks of instances need it.
    pub fn note_told(&mut self, input: &Input) {
        match input {
            Input::Observed(Ok(Observation { jobs: Some((asked_at, seen)), .. })) => {
                let asked_at = ms(*asked_at);
                for n in &self.cloud.listed {
                    if seen.jobs.contains_key(&self.cloud.machines[*n].id) {
                        self.hosts[*n].held_at = self.hosts[*n].held_at.max(self.now);
                    } else {
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
