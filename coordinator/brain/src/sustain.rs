//! How long the observed demand has met each threshold of the policy.
//!
//! Time without an observation proves nothing: a gap longer than [`Config::longest_gap`] starts every window anew
//! (invariant 3).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backlog::Backlog;
use crate::config::{Config, Step};
use crate::stepped::Stepped;
use crate::time::Timestamp;

/// How long each threshold has been met without a break, up to the last observation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sustain {
    last: Option<Timestamp>,
    pub(crate) demand: u64,
    /// By the step's number of jobs: since when every observation met it.
    met_since: Vec<(u64, Timestamp)>,
    idle_since: Option<Timestamp>,
    /// Since when every observation has been below the lowest step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below_since: Option<Timestamp>,
}

impl Sustain {
    /// One observation of the pool's queues.
    pub(crate) fn observe(&mut self, now: Timestamp, backlog: &Backlog, config: &Config) {
        let demand = backlog.demand();
        if self.last.is_some_and(|last| now.since(last) > config.longest_gap() || now < last) {
            self.met_since.clear();
            self.idle_since = None;
            self.below_since = None;
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
        let is_below = steps.iter().all(|step| demand < step.jobs);
        self.below_since = is_below.then(|| self.below_since.unwrap_or(now));
        self.idle_since = if backlog.is_idle() { self.idle_since.or(Some(now)) } else { None };
    }

    /// How long the observations have met `step` without a break; None when the last one did not.
    pub(crate) fn met_for(&self, step: &Step) -> Option<Duration> {
        let (_, since) = self.met_since.iter().find(|(jobs, _)| *jobs == step.jobs)?;
        Some(self.last?.since(*since))
    }

    /// The steps that are met: number of jobs, and since when.
    pub(crate) fn windows(&self) -> impl Iterator<Item = (u64, Timestamp)> + '_ {
        self.met_since.iter().copied()
    }

    /// How long demand has been below every step without a break; None when it was not at the last one.
    pub(crate) fn below_for(&self) -> Option<Duration> {
        Some(self.last?.since(self.below_since?))
    }

    /// How long demand has been 0 without a break; None when it was not at the last one.
    pub(crate) fn idle_for(&self) -> Option<Duration> {
        Some(self.last?.since(self.idle_since?))
    }
}

impl Stepped for Sustain {
    fn step(&mut self, by: i64) {
        let Sustain { last, demand: _, met_since, idle_since, below_since } = self;
        last.step(by);
        met_since.step(by);
        idle_since.step(by);
        below_since.step(by);
    }
}
