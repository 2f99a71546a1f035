//! How long to wait after a failure: EC2's refusals of launches keep the next ones off, by class.

use std::time::Duration;

use crate::config::Config;
use crate::refusal_class::RefusalClass;

/// How long to leave EC2 alone after `times` tries in a row that were refused with `class`.
pub(crate) fn wait(config: &Config, class: RefusalClass, times: u32) -> Duration {
    match class {
        RefusalClass::Retry => retried_after(times),
        RefusalClass::Capacity => doubled(config.capacity_backoff, config.capacity_backoff * 5, times),
        RefusalClass::Quota | RefusalClass::Permission | RefusalClass::Configuration | RefusalClass::Unknown => {
            doubled(config.quota_backoff, config.quota_backoff * 6, times)
        }
        // The next token is another one. Where that is refused in the same way, something else is wrong: no storm of
        // calls.
        RefusalClass::TokenUsed | RefusalClass::TokenEnded => match times {
            0 | 1 => Duration::ZERO,
            _ => retried_after(times - 1),
        },
    }
}

/// How long to leave EC2 alone after `times` launches in a row that it accepted and then took back, with `class`. A
/// fault of EC2's may be over at once, but finding out costs a launch, not a call.
pub(crate) fn wait_after_accept(config: &Config, class: RefusalClass, times: u32) -> Duration {
    match class {
        RefusalClass::Retry => doubled(config.capacity_backoff / 6, config.capacity_backoff * 5, times),
        class => wait(config, class, times),
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
    use crate::refusal::Refusal;
    use crate::time::Timestamp;

    #[test]
    fn the_back_off_grows_by_class_up_to_a_limit() {
        let config = Config::default();
        let seconds = |class, times| wait(&config, class, times).as_secs();
        assert_eq!(seconds(RefusalClass::Retry, 1), 2);
        assert_eq!(seconds(RefusalClass::Retry, 4), 16);
        assert_eq!(seconds(RefusalClass::Retry, 1000), 60);
        assert_eq!(seconds(RefusalClass::Capacity, 1), 180);
        assert_eq!(seconds(RefusalClass::Capacity, 9), 900);
        for class in RefusalClass::ALL.into_iter().filter(|class| class.needs_a_person()) {
            assert_eq!([1, 2, 3, 9].map(|times| seconds(class, times)), [600, 1200, 2400, 3600], "{class:?}");
        }
        for class in [RefusalClass::TokenUsed, RefusalClass::TokenEnded] {
            assert_eq!([1, 2, 3, 1000].map(|times| seconds(class, times)), [0, 2, 4, 60], "{class:?}");
        }
    }

    #[test]
    fn what_is_accepted_and_taken_back_waits_as_what_is_refused_and_a_fault_for_half_a_minute_at_first() {
        let config = Config::default();
        let seconds = |class, times| wait_after_accept(&config, class, times).as_secs();
        assert_eq!([1, 2, 3, 9].map(|times| seconds(RefusalClass::Retry, times)), [30, 60, 120, 900]);
        for class in RefusalClass::ALL.into_iter().filter(|class| *class != RefusalClass::Retry) {
            assert_eq!(wait_after_accept(&config, class, 2), wait(&config, class, 2), "{class:?}");
        }
    }

    #[test]
    fn launches_that_were_taken_back_together_double_the_back_off_once() {
        let config = Config::default();
        let minutes = |minutes: u64| Timestamp(minutes * 60_000);
        let taken_back = |before: Option<&Refusal>, launched: u64, at: u64| {
            let what = (RefusalClass::Quota, "Client.VolumeLimitExceeded".to_owned(), String::new());
            Refusal::next_after_accept(before, (minutes(at), minutes(launched)), &config, what)
        };
        let first = taken_back(None, 0, 1);
        // Seen after the back-off of the first is over, but launched with it.
        let late = taken_back(Some(&first), 0, 12);
        assert_eq!((late.times, late.until, late.after_accept), (1, Some(minutes(22)), true));
        let tried = taken_back(Some(&late), 22, 23);
        assert_eq!((tried.times, tried.until), (2, Some(minutes(43))));
    }

    #[test]
    fn only_a_launch_that_was_tried_after_the_back_off_doubles_it() {
        let config = Config::default();
        let minutes = |minutes: u64| Timestamp(minutes * 60_000);
        let refused = |before: Option<&Refusal>, at: u64| {
            let what = (RefusalClass::Quota, "VcpuLimitExceeded".to_owned(), String::new());
            Refusal::next(before, minutes(at), &config, what)
        };
        let first = refused(None, 0);
        let together = refused(Some(&refused(Some(&first), 0)), 1);
        assert_eq!((together.times, together.until), (1, Some(minutes(11))));
        assert!(together.holds(minutes(10)) && !together.holds(minutes(11)));
        let tried = refused(Some(&together), 11);
        assert_eq!((tried.times, tried.until), (2, Some(minutes(31))));
    }
}
