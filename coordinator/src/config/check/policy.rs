//! The policy's settings: which one decides, and what it needs.

use std::time::Duration;

use spillway_brain as brain;
use spillway_schedule::{Mistake, Schedule};

use super::Check;
use super::pool::MOST;
use crate::config::{ConfigError, FloorSection, PoolSection, WrittenDuration};

/// The plan's variable, which sets `policy.idle`: it means that of the steps.
pub(super) const IDLE_OF_STEPS: &str = "QUEUE_SCALE_DOWN_IDLE_MINUTES";
/// Keys that only the `wait` policy reads.
pub(super) const OF_WAIT: [&str; 3] = ["target", "quantile", "slots"];

impl Check<'_> {
    /// Of the `steps` policy, which decides also while the `wait` policy knows nothing.
    pub(super) fn steps(
        &self,
        index: usize,
        section: &PoolSection,
        defaults: brain::Steps,
    ) -> Result<brain::Steps, ConfigError> {
        let at = |key: &str| format!("pool[{index}].policy.{key}");
        let idle = match self.is_idle_of_wait(index, section) {
            true => defaults.idle,
            false => self.duration(&at("idle"), section.policy.idle, defaults.idle)?,
        };
        let Some(written) = &section.policy.steps else { return Ok(brain::Steps { idle, ..defaults }) };
        let steps: Vec<brain::Step> = written
            .iter()
            .map(|step| brain::Step { jobs: step.jobs, over: step.over.0, instances: step.instances })
            .collect();
        if steps.is_empty() {
            let detail =
                "has no step, so nothing would ever be launched: add one, or remove the key to use the default";
            return Err(self.bad(&at("steps"), detail));
        }
        for (number, step) in steps.iter().enumerate() {
            if step.jobs == 0 || step.instances == 0 || step.instances > MOST {
                let detail =
                    "jobs of each step must be at least 1, and instances between 1 and 1000: write a number in between";
                return Err(self.bad(&at(&format!("steps[{number}]")), detail));
            }
        }
        let is_more = |pair: &[brain::Step]| pair[0].jobs < pair[1].jobs && pair[0].instances < pair[1].instances;
        if let Some(number) = steps.windows(2).position(|pair| !is_more(pair)) {
            let detail = "each step must have more jobs and more instances than the step before it: order them so";
            return Err(self.bad(&at(&format!("steps[{}]", number + 1)), detail));
        }
        Ok(brain::Steps { steps, idle })
    }

    /// None where the steps decide.
    pub(super) fn wait(&self, index: usize, section: &PoolSection) -> Result<Option<brain::Wait>, ConfigError> {
        let at = |key: &str| format!("pool[{index}].policy.{key}");
        match section.policy.kind.as_deref() {
            None | Some("steps") => return Ok(None),
            Some("wait") => {}
            Some(other) => {
                let detail = format!("\"{other}\" is not a policy kind: write \"steps\" or \"wait\"");
                return Err(self.bad(&at("kind"), detail));
            }
        }
        let defaults = brain::Wait::default();
        let idle = match section.policy.idle.filter(|_| self.is_idle_of_wait(index, section)) {
            // At once.
            Some(WrittenDuration(Duration::ZERO)) => Duration::ZERO,
            given => self.duration(&at("idle"), given, defaults.idle)?,
        };
        let quantile = section.policy.quantile.unwrap_or(defaults.quantile);
        if quantile.is_nan() || quantile <= 0.0 || quantile > 1.0 {
            let detail =
                format!("{quantile} is no share of the jobs: write a number above 0 and at most 1, such as 0.95");
            return Err(self.bad(&at("quantile"), detail));
        }
        let target = self.duration(&at("target"), section.policy.target, defaults.target)?;
        Ok(Some(brain::Wait { target, quantile, idle, slots: section.policy.slots.unwrap_or_default().0 }))
    }

    /// When instances are there whatever waits.
    pub(super) fn floors(&self, index: usize, section: &PoolSection) -> Result<Vec<Schedule>, ConfigError> {
        let one = |(number, floor): (usize, &FloorSection)| {
            let at = |key: &str| format!("pool[{index}].policy.floor[{number}].{key}");
            if floor.instances == 0 || floor.instances > MOST {
                let detail = format!("{} is not between 1 and {MOST}: write a number in between", floor.instances);
                return Err(self.bad(&at("instances"), detail));
            }
            let zone = floor.timezone.as_deref().unwrap_or("UTC");
            Schedule::new(&floor.cron, zone, floor.lasts.0, floor.instances).map_err(|mistake| match mistake {
                Mistake::Cron(detail) => self.bad(&at("cron"), detail),
                Mistake::Zone(detail) => self.bad(&at("timezone"), detail),
                Mistake::Lasts(detail) => self.bad(&at("for"), detail),
            })
        };
        section.policy.floor.iter().enumerate().map(one).collect()
    }

    /// `policy.idle` is that of the `wait` policy: the plan's variable never is.
    fn is_idle_of_wait(&self, index: usize, section: &PoolSection) -> bool {
        let is_plans = self.origins.of(&format!("pool[{index}].policy.idle")).name == IDLE_OF_STEPS;
        section.policy.kind.as_deref() == Some("wait") && !is_plans
    }
}
