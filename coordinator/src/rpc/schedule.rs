//! What an agent tells of its instance's schedule, for the brain.

use std::time::Duration;

use spillway_brain::{Schedule, Timestamp};
use spillway_proto::{times, v1};

use crate::wire_time;

/// The first event. `notices`: agents of versions before the schedule told each event once, and never that it was
/// cancelled.
pub(super) fn read(schedule: Option<&v1::Schedule>, notices: &[v1::Notice]) -> Schedule {
    let at = |at: Option<&_>| at.map(wire_time::from_timestamp);
    let events: Vec<(Timestamp, &str, Option<Duration>)> = match schedule {
        Some(told) if told.events.is_empty() => return Schedule::Empty,
        Some(told) => {
            let left = |event: &v1::ScheduledEvent| event.left.as_ref().and_then(times::from_duration);
            told.events
                .iter()
                .filter_map(|it| Some((at(it.not_before.as_ref())?, it.code.as_str(), left(it))))
                .collect()
        }
        None => {
            let maintenance = notices.iter().filter(|it| it.kind() == v1::NoticeKind::Maintenance);
            maintenance.filter_map(|it| Some((at(it.at.as_ref())?, it.action.as_str(), None))).collect()
        }
    };
    // EC2 names each event's kind: what has none is no event.
    let next = events.into_iter().filter(|(_, code, _)| !code.is_empty()).min_by_key(|(at, ..)| *at);
    next.map_or(Schedule::Unknown, |(at, code, left)| Schedule::Next { code: code.to_owned(), at, left })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: &str, at: u64, left: Option<u64>) -> v1::ScheduledEvent {
        v1::ScheduledEvent {
            code: code.to_owned(),
            not_before: Some(wire_time::timestamp(Timestamp(at))),
            left: left.map(|left| times::duration(Duration::from_secs(left))),
        }
    }

    fn told(events: Vec<v1::ScheduledEvent>) -> Schedule {
        read(Some(&v1::Schedule { events }), &[])
    }

    fn next(code: &str, at: u64, left: Option<u64>) -> Schedule {
        Schedule::Next { code: code.to_owned(), at: Timestamp(at), left: left.map(Duration::from_secs) }
    }

    #[test]
    fn the_first_event_counts_and_one_without_a_time_hides_no_other() {
        assert_eq!(told(vec![]), Schedule::Empty);
        assert_eq!(told(vec![event("a", 900, Some(9)), event("b", 600, Some(6))]), next("b", 600, Some(6)));
        let without_time = v1::ScheduledEvent { not_before: None, ..event("a", 0, None) };
        assert_eq!(told(vec![without_time.clone(), event("b", 5, None)]), next("b", 5, None));
        assert_eq!(told(vec![without_time]), Schedule::Unknown);
        assert_eq!(told(vec![event("", 1, None), event("b", 5, None)]), next("b", 5, None), "it says no kind");
    }

    #[test]
    fn times_that_nobody_can_mean_are_no_harm() {
        let odd = |seconds: i64, left: i64| {
            let at = prost_types::Timestamp { seconds, nanos: -1 };
            let left = prost_types::Duration { seconds: left, nanos: i32::MIN };
            v1::ScheduledEvent { code: "a".to_owned(), not_before: Some(at), left: Some(left) }
        };
        for (seconds, left) in [(i64::MIN, i64::MIN), (i64::MAX, i64::MAX), (-1, 0), (253_402_300_800, 1)] {
            assert!(matches!(told(vec![odd(seconds, left)]), Schedule::Next { .. }), "{seconds} {left}");
        }
    }

    #[test]
    fn an_older_agents_notices_are_its_schedule() {
        let notice = |kind: v1::NoticeKind, at: u64| v1::Notice {
            kind: kind.into(),
            action: "instance-stop".to_owned(),
            at: Some(wire_time::timestamp(Timestamp(at))),
            ..v1::Notice::default()
        };
        let notices = [notice(v1::NoticeKind::Rebalance, 1), notice(v1::NoticeKind::Maintenance, 60)];
        assert_eq!(read(None, &notices), next("instance-stop", 60, None));
        assert_eq!(read(None, &notices[..1]), Schedule::Unknown);
    }
}
