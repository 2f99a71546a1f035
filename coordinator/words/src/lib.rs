//! Durations, counts and mistyped names in the reader's words: the one spelling of them in reasons, status, command
//! line and errors.

pub mod excerpt;
pub mod shown;

use std::time::Duration;

/// `350 ms`, `12 s`, `4 min`, `4 min 59 s`, `2 h 5 min`, `3 d 2 h`: two units at the most.
pub fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        _ => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        0 if span.as_millis() > 0 => format!("{} ms", span.as_millis()),
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// `1 instance`, `2 instances`.
pub fn counted(n: impl Into<u64>, noun: &str) -> String {
    let n = n.into();
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// The known dotted key most like `key`, where one is close enough to be meant.
pub fn nearest<'a>(key: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    fn name(path: &str) -> &str {
        path.rsplit('.').next().unwrap_or_default()
    }
    // The last part is what people mistype; the same name in another section is a good guess too.
    let likeness =
        |known: &str| strsim::jaro_winkler(key, known).max(strsim::jaro_winkler(name(key), name(known)) - 0.02);
    let all = known.into_iter().map(|known| (likeness(known), known));
    all.max_by(|(a, _), (b, _)| a.total_cmp(b)).filter(|(likeness, _)| *likeness > 0.8).map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_two_units_at_the_most() {
        for (milliseconds, expected) in [
            (0, "0 s"),
            (350, "350 ms"),
            (12_000, "12 s"),
            (240_000, "4 min"),
            (299_000, "4 min 59 s"),
            (7_500_000, "2 h 5 min"),
            (266_400_000, "3 d 2 h"),
        ] {
            assert_eq!(in_words(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn a_mistyped_key_finds_the_one_that_was_meant() {
        let known = ["redis.url", "pool.queues", "pool.interval", "pool"];
        for (key, expected) in [
            ("pool.queus", Some("pool.queues")),
            ("queues", Some("pool.queues")),
            ("pol", Some("pool")),
            ("colour", None),
        ] {
            assert_eq!(nearest(key, known), expected, "{key}");
        }
    }

    #[test]
    fn nouns_agree_with_their_number() {
        assert_eq!(counted(1u32, "job"), "1 job");
        assert_eq!(counted(0u32, "job"), "0 jobs");
    }
}
