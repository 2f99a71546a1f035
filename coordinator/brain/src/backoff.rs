//! How long to wait after a failure: EC2's refusals of launches keep the next ones off, by class; one class does until a
//! person acts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::event::RefusalClass;
use crate::time::Timestamp;

/// The refusal that launches are waiting out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub class: RefusalClass,
    pub code: String,
    pub message: String,
    pub at: Timestamp,
    /// None: until a person acts.
    pub until: Option<Timestamp>,
    /// Refusals of this class in a row.
    pub times: u32,
}

impl Refusal {
    /// Takes one more refusal into account.
    pub(crate) fn next(
        before: Option<&Refusal>,
        now: Timestamp,
        config: &Config,
        (class, code, message): (RefusalClass, String, String),
    ) -> Self {
        let times = before.filter(|refusal| refusal.class == class).map_or(1, |refusal| refusal.times + 1);
        Refusal { class, code, message, at: now, until: wait(config, class, times).map(|span| now + span), times }
    }

    /// Whether launches still wait for it.
    pub(crate) fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// How long to leave EC2 alone after `times` refusals of `class` in a row; None: until a person acts.
pub(crate) fn wait(config: &Config, class: RefusalClass, times: u32) -> Option<Duration> {
    match class {
        RefusalClass::Retry => Some(retried_after(times)),
        RefusalClass::Capacity => Some(doubled(config.capacity_backoff, config.capacity_backoff * 5, times)),
        RefusalClass::Quota => Some(doubled(config.quota_backoff, config.quota_backoff * 6, times)),
        RefusalClass::Fatal => None,
    }
}

/// How long to wait after `times` failures in a row of what only has to be retried.
pub(crate) fn retried_after(times: u32) -> Duration {
    doubled(Duration::from_secs(2), Duration::from_secs(60), times)
}

fn doubled(first: Duration, most: Duration, times: u32) -> Duration {
    (first * 2u32.pow(times.saturating_sub(1).min(8))).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_grows_by_class_up_to_a_limit() {
        let config = Config::default();
        let seconds = |class, times| wait(&config, class, times).map(|span| span.as_secs());
        assert_eq!(seconds(RefusalClass::Retry, 1), Some(2));
        assert_eq!(seconds(RefusalClass::Retry, 4), Some(16));
        assert_eq!(seconds(RefusalClass::Retry, 1000), Some(60));
        assert_eq!(seconds(RefusalClass::Capacity, 1), Some(180));
        assert_eq!(seconds(RefusalClass::Capacity, 9), Some(900));
        assert_eq!(seconds(RefusalClass::Quota, 2), Some(1200));
        assert_eq!(seconds(RefusalClass::Fatal, 1), None);
    }
}
