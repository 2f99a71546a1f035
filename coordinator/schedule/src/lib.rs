//! When instances are scheduled: a cron pattern in a time zone says when, and each firing lasts for some time. From
//! calendars and clocks come the spans of time ([`Floor`]) that the brain knows alone. Reads no clock.

mod zoned;

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};
use spillway_brain::Floor;
use zoned::InZone;

/// The longest that one firing lasts: a month. What is to be there always is no schedule.
pub const LONGEST: Duration = Duration::from_secs(31 * 86_400);
/// Firings of one schedule that are looked at: those of each minute for three days.
const FIRINGS: usize = 5000;

/// So many instances, from each firing on for as long as it lasts.
#[derive(Clone)]
pub struct Schedule {
    /// As it was written.
    pattern: String,
    cron: Cron,
    zone: TimeZone,
    lasts: Duration,
    instances: u32,
}

impl Schedule {
    /// `pattern` has the five fields of cron: minute, hour, day of the month, month, day of the week. `zone` is a name
    /// of the IANA database.
    ///
    /// # Errors
    /// What is wrong, and what to write.
    pub fn new(pattern: &str, zone: &str, lasts: Duration, instances: u32) -> Result<Self, Mistake> {
        let write = "write five fields, such as \"0 8 * * MON-FRI\" for eight o'clock on weekdays";
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = match pattern.split_whitespace().count() {
            5 => parser.parse(pattern).map_err(|error| format!("{error}: {write}")),
            fields => Err(format!("it has {fields} fields: {write}")),
        };
        let cron = cron.map_err(|problem| Mistake::Cron(format!("\"{pattern}\" is no cron pattern: {problem}")))?;
        let zone = TimeZone::get(zone).map_err(|_| {
            Mistake::Zone(format!(
                "\"{zone}\" is no time zone: write a name of the IANA database, such as Europe/Berlin"
            ))
        })?;
        if lasts < Duration::from_secs(60) || lasts > LONGEST {
            return Err(Mistake::Lasts("is not between a minute and 31 days: write \"10h\", for example".to_owned()));
        }
        let schedule = Schedule { pattern: pattern.to_owned(), cron, zone, lasts, instances };
        let never = format!("\"{pattern}\" never fires: {write}");
        schedule.next(Timestamp::UNIX_EPOCH, true).map(|_| ()).ok_or(Mistake::Cron(never))?;
        Ok(schedule)
    }

    pub fn instances(&self) -> u32 {
        self.instances
    }

    /// The spans that have a part between the two; those that meet are one. A firing that the clock leaves out, as it
    /// is set forward, comes right after that; one that it shows twice comes at the first.
    pub fn between(&self, from: Timestamp, until: Timestamp) -> Vec<Floor> {
        let lasts = SignedDuration::try_from(self.lasts).unwrap_or(SignedDuration::ZERO);
        let mut spans: Vec<(Timestamp, Timestamp)> = Vec::new();
        let mut at = self.next(from.checked_sub(lasts).unwrap_or(Timestamp::MIN), false);
        for _ in 0..FIRINGS {
            let Some(begins) = at.filter(|begins| *begins < until) else { break };
            let ends = begins.checked_add(lasts).unwrap_or(Timestamp::MAX);
            match spans.last_mut() {
                Some((_, last)) if begins <= *last => *last = ends,
                _ => spans.push((begins, ends)),
            }
            at = self.next(begins, false);
        }
        let millis = |at: Timestamp| spillway_brain::Timestamp(u64::try_from(at.as_millisecond()).unwrap_or(0));
        let floor = |(begins, ends)| Floor { from: millis(begins), until: millis(ends), instances: self.instances };
        spans.into_iter().map(floor).collect()
    }

    fn next(&self, after: Timestamp, or_at: bool) -> Option<Timestamp> {
        let after = InZone(ZonedDateTime::new(after, self.zone.clone()));
        Some(self.cron.find_next_occurrence(&after, or_at).ok()?.0.timestamp())
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule { pattern, zone, lasts, instances, .. } = self;
        write!(f, "{instances} from \"{pattern}\" {:?} for {lasts:?}", zone.iana_name())
    }
}

/// What is wrong with one of a schedule's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    Cron(String),
    Zone(String),
    Lasts(String),
}

#[cfg(test)]
mod tests;
