//! Times and spans as the protocol carries them, read against a clock that is handed in.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use spillway_proto::times;
use spillway_words::in_words;
use time::OffsetDateTime;
use time::macros::format_description;

/// How long ago it was; zero where it lies ahead, and since 1970 where it is unknown.
pub fn since(at: Option<&Timestamp>, now: SystemTime) -> Duration {
    now.duration_since(system_time(at)).unwrap_or_default()
}

/// How far ahead it lies; zero where it is past or unknown.
pub fn until(at: Option<&Timestamp>, now: SystemTime) -> Duration {
    system_time(at).duration_since(now).unwrap_or_default()
}

/// From one to the other; zero where they are the other way round.
pub fn between(first: &Timestamp, last: &Timestamp) -> Duration {
    system_time(Some(last)).duration_since(system_time(Some(first))).unwrap_or_default()
}

/// `just now`, `12 s ago`, `2 min ago`, `never`.
pub fn ago(at: Option<&Timestamp>, now: SystemTime) -> String {
    if at.is_none() {
        return "never".to_owned();
    }
    let span = since(at, now);
    if span < Duration::from_secs(1) {
        return "just now".to_owned();
    }
    // One unit is enough for how long ago something was.
    let words = in_words(span);
    let first: Vec<&str> = words.split(' ').take(2).collect();
    format!("{} ago", first.join(" "))
}

/// `14:05:10`, in UTC.
pub fn clock(at: &Timestamp) -> String {
    let at = OffsetDateTime::from(system_time(Some(at)));
    at.format(format_description!("[hour]:[minute]:[second]")).unwrap_or_default()
}

/// A span as the standard library has it; zero where it is negative.
pub fn span(span: &prost_types::Duration) -> Duration {
    times::from_duration(span).unwrap_or_default()
}

/// The epoch where it is unknown or out of range.
pub fn system_time(at: Option<&Timestamp>) -> SystemTime {
    at.map_or(SystemTime::UNIX_EPOCH, times::system_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    #[test]
    fn a_time_is_read_from_either_side() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(since(at(900).as_ref(), now), Duration::from_secs(100));
        assert_eq!(
            (until(at(900).as_ref(), now), until(at(1060).as_ref(), now)),
            (Duration::ZERO, Duration::from_secs(60))
        );
        assert_eq!(ago(None, now), "never");
        assert_eq!(ago(at(1000).as_ref(), now), "just now");
        assert_eq!(ago(at(700).as_ref(), now), "5 min ago");
        assert_eq!(ago(at(699).as_ref(), now), "5 min ago");
    }

    #[test]
    fn nonsense_from_the_wire_is_no_panic() {
        for nonsense in [i64::MIN, -1, i64::MAX] {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
            let at = Timestamp { seconds: nonsense, nanos: i32::MAX };
            let _ = (since(Some(&at), now), until(Some(&at), now), between(&at, &at), ago(Some(&at), now));
            let _ = span(&prost_types::Duration { seconds: nonsense, nanos: i32::MIN });
        }
    }
}
