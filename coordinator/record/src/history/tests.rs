use spillway_brain::{Plan, Timestamp};

use super::*;
use crate::frame::{Ids, PhaseBegan};

fn look(at: u64, demand: u64) -> Look {
    Look { at, demand: Some(demand), ..Look::default() }
}

fn interval(at: u64, waits: &[u64]) -> Interval {
    let starts: Vec<_> = waits.iter().map(|wait| (0, 0, Some(*wait))).collect();
    let started = starts.len() as u64;
    Interval {
        at,
        millis: 10_000,
        queue: "q".into(),
        arrived: 3,
        names: vec!["a".into()],
        started,
        starts,
        ..Interval::default()
    }
}

#[test]
fn a_short_range_is_in_seconds_and_what_lasts_fills_the_gaps() {
    let mut history = History::default();
    for (at, demand) in [(0, 1), (10_000, 5), (40_000, 2)] {
        history.look(&look(at, demand));
    }
    history.ran(&interval(10_000, &[2000]));
    let buckets = history.buckets(0, 50_000, 5, 50_000);
    assert_eq!((buckets.bucket_ms, buckets.at.len()), (10_000, 5));
    assert_eq!(buckets.backlog, [Some(1), Some(5), Some(5), Some(5), Some(2)]);
    assert_eq!(buckets.arrived, [Some(3), Some(0), Some(0), Some(0), Some(0)], "an interval belongs to where it ends");
    assert!(buckets.wait_p95[0].is_some() && buckets.wait_p95[1].is_none());
    assert_eq!(buckets.unfinished_from, 50_000);
}

#[test]
fn a_gap_is_not_known_and_no_news_is_what_was_before() {
    let mut history = History::default();
    let hour = 3_600_000;
    history.look(&look(0, 4));
    history.look(&look(300_000, 4));
    history.look(&look(hour, 0));
    for now in [hour, 10 * hour] {
        let buckets = history.buckets(0, hour + 60_000, 61, now);
        assert_eq!(buckets.bucket_ms, 60_000, "by the looks, and by minutes");
        assert_eq!(&buckets.backlog[..6], [Some(4); 6], "{now}");
        assert!(buckets.backlog[6..60].iter().all(Option::is_none), "{now}");
        assert_eq!(buckets.backlog[60], Some(0), "{now}");
    }
}

#[test]
fn thirty_days_are_kept_by_minutes_and_no_more() {
    let mut history = History::default();
    for minute in 0..45_000 {
        history.look(&look(minute * MINUTE, minute % 7));
    }
    let now = 45_000 * MINUTE;
    assert!(history.minutes.len() <= 43_201, "{}", history.minutes.len());
    assert!(history.fine.len() <= 121, "{}", history.fine.len());
    let buckets = history.buckets(now - KEPT_MS, now, 10_000, now);
    assert_eq!((buckets.at.len(), buckets.bucket_ms), (720, 60 * MINUTE));
    assert!(buckets.backlog.iter().all(|it| *it == Some(6)));
}

#[test]
fn decisions_name_the_instance_and_the_plan_of_a_time_is_found() {
    use spillway_brain::{Decision, LaunchToken, Planned, Reason};
    let mut history = History::default();
    let plan = |at, launch: bool| {
        let reason = Reason::BelowDesired { demand: 7, desired: 1, ready: 0, on_the_way: 0 };
        let decision = Decision::Launch { token: LaunchToken("t".into()) };
        let decisions = if launch { vec![Planned { decision, reason }] } else { vec![] };
        Frame::Decided(Box::new(Decided {
            plan: Plan { at: Timestamp(at), decisions, ..Plan::default() },
            backlog: None,
        }))
    };
    let ids = Ids { at: 1, token: "t".into(), id: "i-1".into(), ..Ids::default() };
    let interrupted = Ids { interrupted_at: Some(3), ..ids.clone() };
    for frame in [plan(1, false), plan(5, true), Frame::Ids(Box::new(ids)), Frame::Ids(Box::new(interrupted))] {
        history.add(&frame, false);
    }
    let (mut told, left_out) = history.decisions(0, 10);
    let interruption = told.remove(0);
    assert_eq!((interruption.at, &*interruption.kind, &*interruption.instance), (3, "interruption", "i-1"));
    assert_eq!((told[0].at, &*told[0].kind, &*told[0].instance, left_out), (5, "launch", "i-1", 0));
    assert!(told[0].reason.contains('7'), "{}", told[0].reason);
    assert_eq!(history.plans(4, 5).len(), 1);
    assert_eq!(history.plans(9, 5)[0].plan.at.0, 5);
}

#[test]
fn lanes_are_bounded_and_those_that_live_stay() {
    let mut history = History::default();
    let phase = |at, instance: &str, phase: &str| {
        Frame::Phase(PhaseBegan { at, instance: instance.into(), phase: phase.into(), reason: "why".into() })
    };
    history.add(&phase(1, "lives", "ready"), false);
    for number in 0..2000 {
        history.add(&phase(number, &number.to_string(), "booting"), false);
        history.add(&phase(number + 5, &number.to_string(), "gone"), false);
    }
    assert!(history.lanes.len() <= LANES);
    assert!((1000..2000).contains(&history.known_from()), "{}", history.known_from());
    let lanes = history.lanes(0, 10_000);
    assert!(lanes.len() == TOLD, "{}", lanes.len());
    assert!(history.lanes.contains_key("lives"));
    let last = lanes.last().expect("a lane");
    assert_eq!((last.phases[0].to, last.ended.as_deref()), (Some(2004), Some("why")));
}
