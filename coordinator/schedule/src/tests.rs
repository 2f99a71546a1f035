//! Spans by the calendar, above all on the days on which clocks are set.

use super::*;

/// One that sets its clocks by an hour in either half of the world, by half an hour, at midnight, and never.
const ZONES: [&str; 5] = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Tokyo"];

fn schedule(pattern: &str, zone: &str, hours: u64) -> Schedule {
    Schedule::new(pattern, zone, Duration::from_secs(hours * 3600), 1).expect("a schedule")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn between(schedule: &Schedule, from: &str, until: &str) -> Vec<(String, String)> {
    let told = |at: spillway_brain::Timestamp| {
        let at = Timestamp::from_millisecond(i64::try_from(at.0).expect("a time")).expect("a time");
        at.to_zoned_datetime(schedule.zone.clone()).strftime("%a %F %H:%M").to_string()
    };
    schedule.between(at(from), at(until)).into_iter().map(|it| (told(it.from), told(it.until))).collect()
}

fn pairs(spans: &[(String, String)]) -> Vec<(&str, &str)> {
    spans.iter().map(|(from, until)| (&**from, &**until)).collect()
}

#[test]
fn each_weekday_from_eight_for_ten_hours() {
    let office = schedule("0 8 * * MON-FRI", "Europe/Berlin", 10);
    let spans = between(&office, "2026-11-27T12:00:00Z", "2026-12-01T06:30:00Z");
    let expected = [("Fri 2026-11-27 08:00", "Fri 2026-11-27 18:00"), ("Mon 2026-11-30 08:00", "Mon 2026-11-30 18:00")];
    assert_eq!(pairs(&spans), expected, "one that lasts, and one to come; not that of the day after");
    let spans = between(&office, "2026-11-27T17:00:00Z", "2026-11-28T00:00:00Z");
    assert_eq!(spans, [], "it has just ended");
}

#[test]
fn firings_that_meet_are_one_span() {
    let each_hour = schedule("0 * * * *", "UTC", 1);
    let spans = between(&each_hour, "2026-11-27T12:30:00Z", "2026-11-27T15:30:00Z");
    assert_eq!(pairs(&spans), [("Fri 2026-11-27 12:00", "Fri 2026-11-27 16:00")]);
}

#[test]
fn a_time_that_the_clock_leaves_out_comes_right_after_and_one_that_it_shows_twice_comes_once() {
    let night = schedule("30 2 * * *", "Europe/Berlin", 1);
    let forward = between(&night, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    assert_eq!(pairs(&forward), [("Sun 2026-03-29 03:00", "Sun 2026-03-29 04:00")]);
    let back = between(&night, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    assert_eq!(pairs(&back), [("Sun 2026-10-25 02:30", "Sun 2026-10-25 02:30")], "an hour, and the clock is set back");
    assert_eq!(night.between(at("2026-10-24T12:00:00Z"), at("2026-10-25T12:00:00Z"))[0].from.0, 1_792_888_200_000);
}

#[test]
fn on_every_day_that_clocks_are_set_until_2030_it_fires_once_a_day_and_lasts_as_long_as_ever() {
    let mut days = 0;
    for zone in ZONES {
        let tz = TimeZone::get(zone).expect("a zone");
        let (from, until) = (at("2026-01-01T12:00:00Z"), at("2031-01-01T12:00:00Z"));
        let set: Vec<Timestamp> = tz.following(from).map(|it| it.timestamp()).take_while(|it| *it < until).collect();
        assert_eq!(set.len(), if zone == "Asia/Tokyo" { 0 } else { 10 }, "{zone}");
        for time in set {
            days += 1;
            let day = time.to_zoned_datetime(tz.clone()).date();
            // Around the change, in it and far from it; by the half hour that Lord Howe is set by too.
            for (hour, minute) in [(0, 0), (0, 30), (1, 0), (1, 45), (2, 0), (2, 15), (2, 30), (3, 0), (8, 0), (23, 0)]
            {
                let daily = schedule(&format!("{minute} {hour} * * *"), zone, 2);
                let noon = |days: i64| {
                    let day = day.checked_add(jiff::Span::new().days(days)).expect("a day");
                    day.at(12, 0, 0, 0).to_zoned_datetime(tz.clone()).expect("a time").timestamp()
                };
                let spans = daily.between(noon(-2), noon(2));
                let firings = spans.iter().filter(|it| it.from.0 > noon(-2).as_millisecond() as u64).count();
                assert_eq!(firings, 4, "{zone} {day} {hour}:{minute:02}: {spans:?}");
                assert!(spans.iter().all(|it| it.until.0 - it.from.0 == 7_200_000), "{zone} {day}: {spans:?}");
                for span in spans {
                    let from =
                        Timestamp::from_millisecond(span.from.0 as i64).expect("a time").to_zoned_datetime(tz.clone());
                    let wanted = from.date().at(hour, minute, 0, 0);
                    let is_left_out = matches!(
                        tz.to_ambiguous_zoned_datetime(wanted).offset(),
                        jiff::tz::AmbiguousOffset::Gap { .. }
                    );
                    assert!(is_left_out || from.datetime() == wanted, "{zone} {hour}:{minute:02}: {from}");
                }
            }
        }
    }
    assert_eq!(days, 40);
}

#[test]
fn what_is_no_schedule_says_why() {
    let of = |pattern: &str, zone: &str, seconds: u64| {
        Schedule::new(pattern, zone, Duration::from_secs(seconds), 1).map(|_| ()).expect_err(pattern)
    };
    for pattern in ["", "0 8 * *", "0 0 8 * * MON-FRI", "61 8 * * *", "0 8 * * FUNDAY", "@daily", "0 8 30 2 *"] {
        let Mistake::Cron(text) = of(pattern, "UTC", 3600) else { panic!("{pattern}") };
        assert!(text.contains("write five fields") && text.contains(pattern), "{text}");
    }
    assert!(matches!(of("0 8 * * *", "Berlin", 3600), Mistake::Zone(text) if text.contains("Europe/Berlin")));
    assert!(matches!(of("0 8 * * *", "UTC", 59), Mistake::Lasts(_)));
    assert!(matches!(of("0 8 * * *", "UTC", 32 * 86_400), Mistake::Lasts(_)));
}
