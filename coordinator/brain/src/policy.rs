//! The `steps` policy: what the observed demand, over time, says about desired capacity.
//!
//! A step is sustained only if *every* observation in its window met it. Time without an observation proves nothing:
//! a gap longer than [`Config::longest_gap`] starts every window anew (invariant 3). Desired capacity falls only by the
//! idle rule; between the steps and idle it holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Step, Steps};
use crate::{Note, Timestamp};

/// How long each threshold has been met without a break, up to the last observation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sustain {
    last: Option<Timestamp>,
    demand: u64,
    /// By the step's number of jobs: since when every observation met it.
    met_since: Vec<(u64, Timestamp)>,
    idle_since: Option<Timestamp>,
}

impl Sustain {
    /// One observation of the pool's demand.
    pub(crate) fn observe(&mut self, now: Timestamp, demand: u64, config: &Config) {
        if self.last.is_some_and(|last| now.since(last) > config.longest_gap() || now < last) {
            self.met_since.clear();
            self.idle_since = None;
        }
        self.last = Some(now);
        self.demand = demand;
        let steps = &config.policy.steps;
        self.met_since.retain(|(jobs, _)| demand >= *jobs && steps.iter().any(|step| step.jobs == *jobs));
        for step in steps.iter().filter(|step| demand >= step.jobs) {
            if !self.met_since.iter().any(|(jobs, _)| *jobs == step.jobs) {
                self.met_since.push((step.jobs, now));
            }
        }
        self.idle_since = if demand == 0 { self.idle_since.or(Some(now)) } else { None };
    }

    /// How long the observations have met `step` without a break; None when the last one did not.
    fn met_for(&self, step: &Step) -> Option<Duration> {
        let (_, since) = self.met_since.iter().find(|(jobs, _)| *jobs == step.jobs)?;
        Some(self.last?.since(*since))
    }

    fn idle_for(&self) -> Option<Duration> {
        Some(self.last?.since(self.idle_since?))
    }
}

/// Desired capacity by the policy, from what it was; and what it waits for, as notes.
pub(crate) fn desired(policy: &Steps, sustain: &Sustain, before: u32) -> (u32, Vec<Note>) {
    if let Some(idle) = sustain.idle_for() {
        if idle >= policy.idle {
            return (0, vec![Note::Idle { over: idle }]);
        }
        return match before {
            0 => (0, vec![Note::NothingWaits]),
            _ => (before, vec![Note::IdleCounting { since: idle, of: policy.idle }]),
        };
    }
    let sustained = |step: &&Step| sustain.met_for(step).is_some_and(|span| span >= step.over);
    let wanted = policy.steps.iter().filter(sustained).map(|step| step.instances).max().unwrap_or(0);
    let desired = wanted.max(before);
    let mut notes = Vec::new();
    let mut higher: Vec<&Step> = policy.steps.iter().filter(|step| step.instances > desired).collect();
    higher.sort_by_key(|step| step.jobs);
    match higher.first() {
        Some(step) => match sustain.met_for(step) {
            Some(span) => notes.push(Note::Sustaining {
                demand: sustain.demand,
                jobs: step.jobs,
                instances: step.instances,
                since: span,
                of: step.over,
            }),
            None => notes.push(Note::BelowStep { demand: sustain.demand, jobs: step.jobs, desired }),
        },
        None => notes.push(Note::HighestStep { demand: sustain.demand, desired }),
    }
    (desired, notes)
}
