//! The `steps` policy: what the observed demand, over time, says about desired capacity.
//!
//! A step is sustained only if *every* observation in its window met it. Desired capacity falls only by the idle rule;
//! between the steps and idle it holds.

use super::wanted::{Excess, Wanted};
use crate::config::{Step, Steps};
use crate::note::Note;
use crate::sustain::Sustain;

/// What is said once demand has been below every step for this many times what idleness takes.
const LITTLE: u32 = 3;

/// What the idle rule costs where jobs come one by one: for long no step has asked for the instances, and none of them
/// goes.
pub(crate) fn kept_by_little(policy: &Steps, sustain: &Sustain, desired: u32) -> Option<Note> {
    let span = sustain.below_for().filter(|span| desired > 0 && *span >= policy.idle * LITTLE)?;
    let jobs = policy.steps.iter().map(|step| step.jobs).min()?;
    Some(Note::KeptByLittle { desired, jobs, span, idle: policy.idle })
}

/// Desired capacity by the policy, from what it was.
pub(crate) fn desired(policy: &Steps, sustain: &Sustain, before: u32) -> Wanted {
    if let Some(idle) = sustain.idle_for() {
        if idle >= policy.idle {
            return Wanted { desired: 0, floor: 0, excess: Excess::Idle, late: None, note: Note::Idle { over: idle } };
        }
        let note = match before {
            0 => Note::NothingWaits,
            _ => Note::IdleCounting { since: idle, of: policy.idle },
        };
        return Wanted { desired: before, floor: 0, excess: Excess::Lowered, late: None, note };
    }
    let sustained = |step: &&Step| sustain.met_for(step).is_some_and(|span| span >= step.over);
    let reached = policy.steps.iter().filter(sustained).max_by_key(|step| step.instances);
    if let Some(step) = reached.filter(|step| step.instances > before) {
        let (jobs, over, instances) = (step.jobs, step.over, step.instances);
        let note = Note::StepReached { demand: sustain.demand, jobs, over, instances };
        return Wanted { desired: instances, floor: 0, excess: Excess::Lowered, late: None, note };
    }
    let desired = before;
    let mut higher: Vec<&Step> = policy.steps.iter().filter(|step| step.instances > desired).collect();
    higher.sort_by_key(|step| step.jobs);
    let note = match higher.first() {
        Some(step) => match sustain.met_for(step) {
            Some(span) => Note::Sustaining {
                demand: sustain.demand,
                jobs: step.jobs,
                instances: step.instances,
                since: span,
                of: step.over,
            },
            None => Note::BelowStep { demand: sustain.demand, jobs: step.jobs, desired },
        },
        None => Note::HighestStep { demand: sustain.demand, desired },
    };
    Wanted { desired, floor: 0, excess: Excess::Lowered, late: None, note }
}
