//! A second implementation of the `steps` policy, from all observations in the window rather than from counters. The brain
//! must give the same result.

use spillway_brain::Config;

use super::Shadow;
use crate::clock::ms;

/// Desired capacity now; `before` is what it was. Every window is longer by `by_ms`.
pub fn desired(config: &Config, shadow: &Shadow, before: u32, by_ms: i64) -> u32 {
    let holds =
        |over: u64, test: &dyn Fn(u64) -> bool| is_sustained(config, shadow, over.saturating_add_signed(by_ms), test);
    if holds(ms(config.policy.idle), &|demand| demand == 0) {
        return 0;
    }
    let steps = config.policy.steps.iter().filter(|step| holds(ms(step.over), &|demand| demand >= step.jobs));
    steps.map(|step| step.instances).max().unwrap_or(0).max(before).min(config.max_instances)
}

/// Every observation within at least the last `over` passes the test, and no gap between them is too long.
fn is_sustained(config: &Config, shadow: &Shadow, over: u64, test: &dyn Fn(u64) -> bool) -> bool {
    let longest_gap = ms(config.longest_gap());
    let Some((last, _)) = shadow.observed.back() else { return false };
    let mut later = *last;
    for (at, demand) in shadow.observed.iter().rev() {
        // A clock that was set back breaks the window too.
        if *at > later || later - at > longest_gap || !test(*demand) {
            return false;
        }
        later = *at;
        if last - at >= over {
            return true;
        }
    }
    false
}
