//! Durations as they are written: `90s`, `5m`, `2h`.

use std::time::Duration;

/// Longer than any setting can mean; a longer one is an error that its reader should hear of at once.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// Reads a duration such as `90s`, `5m`, `1h30m` or `7d`.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Some(unit) = units(text).find(|unit| is_calendar(unit)) {
        let meant = if unit == "M" { "months; minutes are a small m" } else { "a calendar's unit" };
        let number: String = text.chars().take_while(char::is_ascii_digit).collect();
        let instead = if unit == "M" { format!("write {number}m") } else { "write it in days: 30d".to_owned() };
        return Err(format!("\"{text}\" is not a duration (\"{unit}\" is {meant}): {instead}"));
    }
    if text != "0" && text.parse::<f64>().is_ok() {
        return Err(format!("\"{text}\" has no unit: write {text}s for seconds, {text}m for minutes"));
    }
    let bad = |_| {
        let small = text.to_lowercase();
        match humantime::parse_duration(&small) {
            Ok(_) => format!("\"{text}\" is not a duration: write its unit in small letters, {small}"),
            Err(_) => format!("\"{text}\" is not a duration: write 90s, 5m or 2h"),
        }
    };
    let parsed = humantime::parse_duration(text).map_err(bad)?;
    if parsed > LONGEST {
        return Err(format!("\"{text}\" is longer than a year: write 90s, 5m or 2h"));
    }
    Ok(parsed)
}

/// The units in a text such as `1h30m`.
fn units(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|unit| !unit.is_empty())
}

/// Months and years differ in length, and `M` is mistaken for minutes.
fn is_calendar(unit: &str) -> bool {
    matches!(unit, "M" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, milliseconds) in [("100ms", 100), ("90s", 90_000), ("5m", 300_000), ("1h30m", 5_400_000), ("0", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(duration(" 2 h "), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_write() {
        for (text, said) in [
            ("30M", "\"30M\" is not a duration (\"M\" is months; minutes are a small m): write 30m"),
            ("1h 30M", "minutes are a small m"),
            ("1y", "write it in days"),
            ("2months", "write it in days"),
            ("10", "\"10\" has no unit: write 10s for seconds, 10m for minutes"),
            ("1.5", "has no unit"),
            ("10S", "\"10S\" is not a duration: write its unit in small letters, 10s"),
            ("5 parsecs", "\"5 parsecs\" is not a duration: write 90s, 5m or 2h"),
            ("", "\"\" is not a duration"),
            ("-5m", "is not a duration"),
            ("400d", "\"400d\" is longer than a year"),
            ("99999999999999999999s", "is not a duration"),
        ] {
            let error = duration(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9. ]{0,25}(ms|s|m|M|h|d|w|y|µ|é)?[0-9]{0,3}(s|m)?") {
            let _ = duration(&text);
        }
    }
}
