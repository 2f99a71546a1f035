//! A time as an operator writes it: how long ago, or when.

use std::time::{Duration, SystemTime};

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime, Time};

/// What `--at` and `--since` take, for their help.
pub(crate) const FORMS: &str =
    "how long ago (15m, 2h, 3d), or when in UTC (14:05, \"2026-11-29 14:05\", 2026-11-29T14:05:00Z)";

/// The time that is meant at `now`. A time of day is the last such one.
///
/// # Errors
/// It is neither: what may be written.
pub(crate) fn parse(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let text = text.trim();
    if let Some(span) = days(text).or_else(|| spillway_settings::duration(text).ok()) {
        return now.checked_sub(span).ok_or_else(|| format!("{text} ago is before all clocks"));
    }
    let now = OffsetDateTime::from(now);
    let of_day = |text| {
        let short = Time::parse(text, format_description!("[hour]:[minute]"));
        short.or_else(|_| Time::parse(text, format_description!("[hour]:[minute]:[second]")))
    };
    if let Ok(at) = of_day(text) {
        let today = now.replace_time(at);
        let last = if today > now { today - Duration::from_secs(86_400) } else { today };
        return Ok(last.into());
    }
    let short = format_description!("[year]-[month]-[day] [hour]:[minute]");
    let long = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let date = PrimitiveDateTime::parse(text, short).or_else(|_| PrimitiveDateTime::parse(text, long));
    if let Ok(at) = date {
        return Ok(at.assume_utc().into());
    }
    OffsetDateTime::parse(text, &Rfc3339).map(Into::into).map_err(|_| format!("\"{text}\" is no time: write {FORMS}"))
}

/// `3d`, which durations of settings do not have.
fn days(text: &str) -> Option<Duration> {
    let days: u64 = text.strip_suffix('d')?.parse().ok()?;
    Some(Duration::from_secs(days.checked_mul(86_400)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_ago_or_a_time_of_day_or_a_date() {
        // 2026-11-29T06:26:10Z.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_933_570);
        let ago = |text: &str| now.duration_since(parse(text, now).expect(text)).expect("it is past").as_secs();
        assert_eq!((ago("15m"), ago("2h"), ago("3d"), ago("0s")), (900, 7200, 259_200, 0));
        assert_eq!((ago("06:26"), ago("06:26:10"), ago("06:27")), (10, 0, 86_400 - 50));
        assert_eq!(ago("2026-11-29 06:20"), 370);
        assert_eq!(ago("2026-11-28T08:26:10+02:00"), 86_400);
        for nonsense in
            ["", "yesterday", "25:00", "2026-13-01 00:00", "-5m", "99999999999999999999d", "18446744073709551615d"]
        {
            let error = parse(nonsense, now).expect_err(nonsense);
            assert!(error.contains("no time") || error.contains("before all clocks"), "{error}");
        }
    }
}
