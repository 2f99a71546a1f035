//! The emulator's clock: one reading of the wall clock at the start, and monotonic time from there on.
//!
//! All times in the emulator are milliseconds since the Unix epoch, so that a record can be compared with a log.

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use tokio::time::Instant;

const MILLISECONDS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
const SECONDS: &[FormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const EVENT: &[FormatItem<'_>] =
    format_description!("[day padding:none] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const TRANSITION: &[FormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] GMT");

const HTTP: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
const BASIC: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// Wall-clock time that never goes backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch_ms: u64,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { epoch_ms: wall_clock_ms(), started: Instant::now() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.epoch_ms.saturating_add(elapsed)
    }

    /// The moment `at_ms` as a deadline to sleep until; a moment that has passed is now.
    pub(crate) fn deadline(&self, at_ms: u64) -> Instant {
        self.started + std::time::Duration::from_millis(at_ms.saturating_sub(self.epoch_ms))
    }
}

/// Now, by the wall clock: what a client's date is compared with.
#[expect(clippy::disallowed_methods, reason = "the emulator's own clock starts from it, and a client's date is of it")]
pub(crate) fn wall_clock_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// `2024-01-31T08:22:00.000Z`, as the EC2 API writes times.
pub(crate) fn iso_milliseconds(at_ms: u64) -> String {
    format(at_ms, MILLISECONDS)
}

/// `2024-01-31T08:22:00Z`, as the metadata service writes most times.
pub(crate) fn iso_seconds(at_ms: u64) -> String {
    format(at_ms, SECONDS)
}

/// `21 Jan 2019 09:00:43 GMT`, as the metadata service writes the times of scheduled events.
pub(crate) fn event_time(at_ms: u64) -> String {
    format(at_ms, EVENT)
}

/// `2019-01-21 09:00:43 GMT`, as in an instance's state transition reason.
pub(crate) fn transition_time(at_ms: u64) -> String {
    format(at_ms, TRANSITION)
}

/// The moment that `20190121T090043Z` names, as AWS's signatures write it.
pub(crate) fn basic(text: &str) -> Option<u64> {
    let at = time::PrimitiveDateTime::parse(text, BASIC).ok()?.assume_utc();
    u64::try_from(at.unix_timestamp()).ok()?.checked_mul(1000)
}

/// The moment that `2019-01-21T09:00:43Z` names, as AWS's clients write times.
pub(crate) fn from_iso(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

/// `Mon, 21 Jan 2019 09:00:43 GMT`, as in the header `Date`.
pub(crate) fn http_date(at_ms: u64) -> String {
    format(at_ms, HTTP)
}

fn format(at_ms: u64, description: &[FormatItem<'_>]) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(description).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_aws_writes_them() {
        let at_ms = 1_548_061_243_007;
        assert_eq!(iso_milliseconds(at_ms), "2019-01-21T09:00:43.007Z");
        assert_eq!(iso_seconds(at_ms), "2019-01-21T09:00:43Z");
        assert_eq!(event_time(at_ms), "21 Jan 2019 09:00:43 GMT");
        assert_eq!(transition_time(at_ms), "2019-01-21 09:00:43 GMT");
        assert_eq!(http_date(at_ms), "Mon, 21 Jan 2019 09:00:43 GMT");
        assert_eq!(iso_seconds(u64::MAX), "");
        assert_eq!(basic("20190121T090043Z"), Some(at_ms - 7));
        assert_eq!((basic("20190121T090043"), basic("19190121T090043Z")), (None, None));
    }
}
