//! The daily digest: when it is due, by a time zone, and its words.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp as Moment};
use spillway_brain::{Timestamp, in_words};
use spillway_proto::v1;
use spillway_words::shown;

use crate::engine::Engine;
use crate::message::{LONGEST, escaped, none_or, on_one_line};

/// One that is later than this is not sent: it would be of another day.
const LATEST: SignedDuration = SignedDuration::from_hours(1);
/// Findings that are named.
const NAMED: usize = 10;

/// At what time of the day it is sent; None: never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub at: Option<Time>,
    pub zone: TimeZone,
}

/// What it tells of a pool's last 24 hours. What is not known is None.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Day {
    pub pool: String,
    pub done: u64,
    pub failed: u64,
    /// So long 95 % of the jobs waited at most.
    pub wait_p95: Option<Duration>,
    pub launched: u32,
    pub instance_time: Duration,
    pub interrupted: u32,
    /// Since the last digest.
    pub handed_back: Option<u64>,
    /// What the instances cost.
    pub dollars: Option<Dollars>,
}

/// What a day's instances cost, and would have cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dollars {
    pub spot: f64,
    pub on_demand: Option<f64>,
}

impl Schedule {
    /// The day whose digest is due, as `2026-11-29`. At the change to summer time a time that there is not is the next
    /// one that there is.
    pub fn due(&self, now: Timestamp) -> Option<String> {
        let at = self.at?;
        let now = Moment::from_millisecond(i64::try_from(now.0).ok()?).ok()?;
        let today = now.to_zoned_datetime(self.zone.clone()).date();
        // Shortly after midnight, that of yesterday may still be due.
        [Some(today), today.yesterday().ok()].into_iter().flatten().find_map(|day| {
            let time = self.zone.to_timestamp(day.to_datetime(at)).ok()?;
            let late = now.duration_since(time);
            (!late.is_negative() && late < LATEST).then(|| day.to_string())
        })
    }
}

impl Engine {
    /// The day of a digest that is due and not sent; `first` is the pool that keeps which was sent.
    pub fn digest_due(&self, first: &str, schedule: &Schedule, now: Timestamp) -> Option<String> {
        let kept = self.kept(first).filter(|_| self.may_send(now))?;
        schedule.due(now).filter(|day| kept.digest.as_ref() != Some(day))
    }

    /// It was taken, or is given up: it is not sent again.
    pub fn digest_sent(&mut self, first: &str, day: String) {
        if let Some(kept) = self.kept_mut(first) {
            kept.digest = Some(day);
        }
    }

    /// What was handed back since the last digest, of `total` by now; remembers it for the next.
    pub fn handed_back(&mut self, pool: &str, total: u64, is_sent: bool) -> Option<u64> {
        let kept = self.kept_mut(pool)?;
        let before = kept.handed_back;
        if is_sent {
            kept.handed_back = Some(total);
        }
        before.map(|before| total.saturating_sub(before))
    }
}

/// The digest's words; `attention` is what needs a person now.
pub fn text(days: &[Day], attention: &[v1::Finding]) -> String {
    let mut lines = vec!["Spillway, the last 24 hours".to_owned()];
    lines.extend(days.iter().map(of_pool));
    if attention.is_empty() {
        lines.push("Nothing needs attention.".to_owned());
    } else {
        lines.push(format!("{} attention now:", if attention.len() == 1 { "One finding needs" } else { "These need" }));
        lines.extend(attention.iter().take(NAMED).map(|it| {
            let pool = if it.pool.is_empty() { String::new() } else { format!("pool {}: ", it.pool) };
            on_one_line(&format!("• {pool}{}. To do: {}", it.title, it.remedy))
        }));
        let more = attention.len().saturating_sub(NAMED);
        if more > 0 {
            lines.push(format!("… and {more} more"));
        }
    }
    shown::cut(&escaped(&lines.join("\n")), LONGEST)
}

fn of_pool(day: &Day) -> String {
    let waited = day.wait_p95.map(|wait| format!("; 95 % started within {}", in_words(wait))).unwrap_or_default();
    let cost = match day.handed_back {
        Some(jobs) if day.interrupted > 0 || jobs > 0 => format!(", {} handed back", none_or(jobs, "job")),
        _ => String::new(),
    };
    let dollars = day.dollars.map(|it| {
        let instead = it.on_demand.map(|it| format!(" (on demand: ${it:.2})")).unwrap_or_default();
        format!("; ${:.2}{instead}", it.spot)
    });
    format!(
        "Pool {}: {} done, {} failed{waited}; {}, {} of instances; {}{cost}{}",
        day.pool,
        none_or(day.done, "job"),
        day.failed,
        if day.launched == 1 { "1 launch".to_owned() } else { format!("{} launches", day.launched) },
        in_words(day.instance_time),
        none_or(day.interrupted.into(), "interruption"),
        dollars.unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::Kept;

    fn at(text: &str) -> Timestamp {
        let moment: Moment = text.parse().expect("a time");
        Timestamp(u64::try_from(moment.as_millisecond()).expect("after 1970"))
    }

    fn schedule(at: &str, zone: &str) -> Schedule {
        Schedule { at: Some(at.parse().expect("a time")), zone: TimeZone::get(zone).expect("a zone") }
    }

    #[test]
    fn it_is_due_for_an_hour_from_its_time_of_the_day_in_its_zone() {
        let berlin = schedule("08:00", "Europe/Berlin");
        for (now, day) in [
            ("2026-11-29T06:59:59Z", None),
            ("2026-11-29T07:00:00Z", Some("2026-11-29")),
            ("2026-11-29T07:59:59Z", Some("2026-11-29")),
            ("2026-11-29T08:00:00Z", None),
            ("2026-07-01T06:00:00Z", Some("2026-07-01")),
        ] {
            assert_eq!(berlin.due(at(now)).as_deref(), day, "{now}");
        }
        let late = schedule("23:30", "UTC");
        assert_eq!(late.due(at("2026-11-30T00:10:00Z")).as_deref(), Some("2026-11-29"), "over midnight");
        let never = Schedule { at: None, ..late };
        assert_eq!(never.due(at("2026-11-29T23:30:00Z")), None);
    }

    #[test]
    fn the_days_on_which_the_clocks_change_have_one_digest_each() {
        let skipped = schedule("02:30", "Europe/Berlin");
        let days = |from: &str| {
            let begin = at(from).0;
            let all: Vec<String> = (0..1440).filter_map(|m| skipped.due(Timestamp(begin + m * 60_000))).collect();
            let mut days = all.clone();
            days.dedup();
            (days, all.len())
        };
        assert_eq!(days("2026-03-28T23:00:00Z"), (vec!["2026-03-29".to_owned()], 60), "02:30 is skipped");
        assert_eq!(days("2026-10-24T22:00:00Z"), (vec!["2026-10-25".to_owned()], 60), "02:30 comes twice");
    }

    #[test]
    fn one_a_day_over_all_leaders_by_what_the_ledger_keeps() {
        let (schedule, now) = (schedule("08:00", "UTC"), at("2026-11-29T08:01:00Z"));
        let mut engine = Engine::new(Duration::from_secs(10));
        assert_eq!(engine.digest_due("video", &schedule, now), None, "another leads");
        engine.take_over("video", Kept::default(), Timestamp(0));
        let day = engine.digest_due("video", &schedule, now).expect("it is due");
        engine.digest_sent("video", day);
        assert_eq!(engine.digest_due("video", &schedule, now), None);
        let kept = engine.kept("video").cloned().expect("it leads");
        let mut next = Engine::new(Duration::from_secs(10));
        next.take_over("video", kept, Timestamp(0));
        assert_eq!(next.digest_due("video", &schedule, now + Duration::from_secs(60)), None);
        let tomorrow = now + Duration::from_secs(86_400);
        assert_eq!(next.digest_due("video", &schedule, tomorrow).as_deref(), Some("2026-11-30"));
    }

    #[test]
    fn jobs_that_were_handed_back_are_those_since_the_last_digest() {
        let mut engine = Engine::new(Duration::from_secs(10));
        engine.take_over("video", Kept::default(), Timestamp(0));
        assert_eq!(engine.handed_back("video", 7, true), None, "not known since when");
        assert_eq!(engine.handed_back("video", 9, false), Some(2));
        assert_eq!(engine.handed_back("video", 9, true), Some(2));
        assert_eq!(engine.handed_back("video", 9, true), Some(0));
    }

    #[test]
    fn its_words_have_the_day_and_what_needs_attention_and_no_markup() {
        let day = Day {
            pool: "video".to_owned(),
            done: 1204,
            failed: 3,
            wait_p95: Some(Duration::from_secs(130)),
            launched: 2,
            instance_time: Duration::from_secs(5400),
            interrupted: 1,
            handed_back: Some(2),
            dollars: Some(Dollars { spot: 1.5, on_demand: Some(4.0) }),
        };
        let quiet = Day { pool: "mail".to_owned(), launched: 1, ..Day::default() };
        let finding =
            v1::Finding { title: "<b>\n& co".to_owned(), remedy: "Look.".to_owned(), ..v1::Finding::default() };
        let expected = "Spillway, the last 24 hours\n\
            Pool video: 1204 jobs done, 3 failed; 95 % started within 2 min 10 s; 2 launches, 1 h 30 min of instances; \
            1 interruption, 2 jobs handed back; $1.50 (on demand: $4.00)\n\
            Pool mail: no jobs done, 0 failed; 1 launch, 0 s of instances; no interruptions\n\
            One finding needs attention now:\n\
            • &lt;b&gt; &amp; co. To do: Look.";
        assert_eq!(text(&[day, quiet], &[finding]), expected);
        assert!(text(&[], &[]).ends_with("Nothing needs attention."));
    }
}
