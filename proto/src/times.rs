//! Times and durations as the protocol carries them, to and from the standard library's. Nothing that comes from the
//! wire panics or overflows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// A time for the wire; 1970 where it lies before.
pub fn timestamp(at: SystemTime) -> Timestamp {
    from_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The time so long after 1970, for the wire.
pub fn from_epoch(since: Duration) -> Timestamp {
    let prost_types::Duration { seconds, nanos } = duration(since);
    Timestamp { seconds, nanos }
}

/// A time from the wire; 1970 where it lies before, or where this machine has no such time.
pub fn system_time(at: &Timestamp) -> SystemTime {
    UNIX_EPOCH.checked_add(since_epoch(at)).unwrap_or(UNIX_EPOCH)
}

/// How long after 1970 it lies; zero where it lies before.
pub fn since_epoch(at: &Timestamp) -> Duration {
    let Ok(seconds) = u64::try_from(at.seconds) else { return Duration::ZERO };
    Duration::new(seconds, u32::try_from(at.nanos).unwrap_or(0).min(999_999_999))
}

/// A duration for the wire; the longest that it can carry where this one is longer.
pub fn duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default() }
}

/// A duration from the wire; `None` where it is negative or malformed.
pub fn from_duration(duration: &prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_is_read() {
        for millis in [0, 1, 999, 1_000, 1_795_000_000_123] {
            let since = Duration::from_millis(millis);
            assert_eq!(since_epoch(&from_epoch(since)), since);
            assert_eq!(system_time(&timestamp(UNIX_EPOCH + since)), UNIX_EPOCH + since);
            assert_eq!(from_duration(&duration(since)), Some(since));
        }
        assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::default());
    }

    #[test]
    fn nonsense_from_the_wire_is_no_panic() {
        for seconds in [i64::MIN, -1, 0, i64::MAX] {
            for nanos in [i32::MIN, -1, 0, 1_000_000_000, i32::MAX] {
                let at = Timestamp { seconds, nanos };
                let _ = (system_time(&at), since_epoch(&at));
                let span = from_duration(&prost_types::Duration { seconds, nanos });
                assert_eq!(span.is_some(), seconds >= 0 && nanos == 0, "{seconds} {nanos}");
            }
        }
        assert_eq!(since_epoch(&Timestamp { seconds: -5, nanos: 7 }), Duration::ZERO);
        let _ = duration(Duration::MAX);
    }
}
