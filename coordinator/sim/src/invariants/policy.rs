//! A second implementation of the `steps` policy, from all observations in the window rather than from counters. The
//! brain must give the same result.

use spillway_brain::Config;

use super::Shadow;
use super::shadow::Observation;
use crate::clock::ms;

/// Desired capacity now; `before` is what it was. Every window is longer by `by_ms`.
pub fn desired(config: &Config, shadow: &Shadow, before: u32, by_ms: i64) -> u32 {
    let holds =
        |over: u64, test: &dyn Fn(&Observation) -> bool| is_sustained(shadow, over.saturating_add_signed(by_ms), test);
    if holds(ms(config.policy.idle), &|seen| seen.demand == 0 && !seen.is_paced) {
        return 0;
    }
    // What was observed before a threshold was set says nothing of it.
    let meets = |seen: &Observation, jobs: u64| seen.demand >= jobs && seen.thresholds.contains(&jobs);
    let steps = config.policy.steps.iter().filter(|step| holds(ms(step.over), &|seen| meets(seen, step.jobs)));
    steps.map(|step| step.instances).max().unwrap_or(0).max(before).min(config.max_instances)
}

/// Every observation within at least the last `over` passes the test, and no gap between them was too long.
fn is_sustained(shadow: &Shadow, over: u64, test: &dyn Fn(&Observation) -> bool) -> bool {
    let Some(last) = shadow.observed.back() else { return false };
    for seen in shadow.observed.iter().rev() {
        if !test(seen) {
            return false;
        }
        if last.at - seen.at >= over {
            return true;
        }
        if seen.is_first {
            return false;
        }
    }
    false
}
