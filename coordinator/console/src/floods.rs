//! Floods of the past, as `spillway history` tells them.

use std::fmt::Write as _;
use std::time::SystemTime;

use prost_types::{Duration, Timestamp};
use spillway_proto::v1;
use spillway_words::{counted, in_words};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::money;
use crate::times::{ago, between, clock, span, system_time};
use crate::words::decision_line;

/// Decisions that are told of one flood.
const DECISIONS: usize = 40;

/// All floods, oldest first.
pub fn floods(history: &v1::GetHistoryResponse, now: SystemTime) -> String {
    let mut text = String::new();
    let several = history.floods.iter().any(|flood| flood.pool != history.floods[0].pool);
    for flood in &history.floods {
        // Writing to a string does not fail.
        let _ = write_flood(&mut text, flood, several, now);
    }
    if history.floods.is_empty() {
        let _ = writeln!(text, "no flood of this time is known: no instance was seen to be wanted");
    }
    let _ = match &history.begins {
        _ if history.is_being_read => writeln!(text, "the record is being read: ask again in some seconds"),
        Some(begins) => writeln!(text, "the record begins {} UTC, {}", date(begins), ago(Some(begins), now)),
        None => writeln!(text, "the record is empty: it begins with the first leadership of this version"),
    };
    text
}

fn write_flood(out: &mut String, flood: &v1::Flood, with_pool: bool, now: SystemTime) -> std::fmt::Result {
    let pool = if with_pool { format!("{}: ", flood.pool) } else { String::new() };
    let began = flood.began_at.unwrap_or_default();
    match &flood.ended_at {
        Some(ended) => {
            writeln!(out, "{pool}{} to {} UTC, {}", date(&began), clock(ended), in_words(between(&began, ended)))?;
        }
        None => writeln!(out, "{pool}since {} UTC, {}: not over", date(&began), ago(Some(&began), now))?,
    }
    let waited =
        flood.longest_wait.as_ref().map(|wait| format!("; the oldest waited {}", words(wait))).unwrap_or_default();
    let most = flood.most_waiting_at.as_ref().map(clock).unwrap_or_default();
    line(out, "rose", &format!("{} ready to run at {most}, the most{waited}", counted(flood.most_waiting, "job")))?;
    let wanted = flood.wanted_at.as_ref().map(clock).unwrap_or_default();
    line(out, "wanted", &format!("{} from {wanted}", counted(flood.most_desired, "instance")))?;
    if flood.is_partial {
        line(out, "", "its instances and decisions are not all known any more: newer ones took their room")?;
    }
    line(out, "launched", &launched(flood))?;
    line(out, "worked", &worked(flood))?;
    let time = flood.instance_time.as_ref().map(words).unwrap_or_default();
    let cost = match flood.dollars {
        Some(dollars) => format!("{} for {time} of instances", money::dollars(dollars)),
        None => format!("{time} of instances; what they cost is unknown: spillway status says why"),
    };
    line(out, "cost", &cost)?;
    if flood.decisions_left_out > 0 {
        let earlier = counted(flood.decisions_left_out, "earlier decision");
        line(out, "", &format!("{earlier} are more than are told: explain --at has the plans"))?;
    }
    for past in flood.decisions.iter().take(DECISIONS) {
        let (Some(at), Some(decision)) = (&past.at, &past.decision) else { continue };
        line(out, &clock(at), &decision_line(decision))?;
    }
    let later = flood.decisions.len().saturating_sub(DECISIONS);
    if later > 0 {
        line(out, "", &format!("and {}: --json has them", counted(later as u64, "later decision")))?;
    }
    writeln!(out)
}

fn launched(flood: &v1::Flood) -> String {
    let mut text = counted(flood.launched, "instance");
    if let Some(after) = &flood.first_ready_after {
        let _ = write!(text, "; one was ready after {}", words(after));
    }
    for (count, what) in [(flood.never_ready, "not ready before it ended"), (flood.interrupted, "interrupted by EC2")] {
        if count > 0 {
            let _ = write!(text, "; {count} {what}");
        }
    }
    text
}

fn worked(flood: &v1::Flood) -> String {
    let mut text = format!("{} finished", counted(flood.jobs_finished, "job"));
    // Where none is kept, none may have failed, or `removeOnFail` has removed them.
    if flood.jobs_failed > 0 {
        let _ = write!(text, ", {} of them failed", flood.jobs_failed);
    }
    if let (Some(median), Some(most)) = (&flood.wait_median, &flood.wait_p95) {
        let _ =
            write!(text, "; half of those that started had waited up to {}, 95 % up to {}", words(median), words(most));
    }
    text
}

fn line(out: &mut String, label: &str, text: &str) -> std::fmt::Result {
    writeln!(out, "  {label:<9} {text}")
}

fn words(time: &Duration) -> String {
    let whole = span(time);
    // A wait is known to the second at best.
    in_words(std::time::Duration::from_secs(whole.as_millis().div_ceil(1000) as u64))
}

fn date(at: &Timestamp) -> String {
    let at = OffsetDateTime::from(system_time(Some(at)));
    at.format(format_description!("[year]-[month]-[day] [hour]:[minute]:[second]")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_from_its_rise_to_its_end() {
        let at = |seconds: i64| Some(Timestamp { seconds: 1_795_933_570 + seconds, nanos: 0 });
        let took = |seconds| Some(Duration { seconds, nanos: 0 });
        let decision =
            v1::Decision { kind: "launch".into(), instance: "i-1".into(), reason: "39 jobs ready to run".into() };
        let flood = v1::Flood {
            began_at: at(0),
            wanted_at: at(6),
            ended_at: at(62),
            most_waiting: 39,
            most_waiting_at: at(1),
            most_desired: 2,
            longest_wait: took(44),
            jobs_started: 40,
            wait_median: took(16),
            wait_p95: took(40),
            jobs_finished: 40,
            jobs_failed: 3,
            launched: 2,
            first_ready_after: took(6),
            interrupted: 1,
            instance_time: took(110),
            dollars: Some(0.002_14),
            decisions: vec![v1::PastDecision { at: at(6), decision: Some(decision) }],
            ..v1::Flood::default()
        };
        let now = system_time(at(3600).as_ref());
        let history = v1::GetHistoryResponse { floods: vec![flood], begins: at(-60), is_being_read: false };
        let expected = "\
2026-11-29 06:26:10 to 06:27:12 UTC, 1 min 2 s
  rose      39 jobs ready to run at 06:26:11, the most; the oldest waited 44 s
  wanted    2 instances from 06:26:16
  launched  2 instances; one was ready after 6 s; 1 interrupted by EC2
  worked    40 jobs finished, 3 of them failed; half of those that started had waited up to 16 s, 95 % up to 40 s
  cost      $0.0021 for 1 min 50 s of instances
  06:26:16  launch i-1: 39 jobs ready to run

the record begins 2026-11-29 06:25:10 UTC, 1 h ago
";
        assert_eq!(floods(&history, now), expected);
        let empty = floods(&v1::GetHistoryResponse::default(), now);
        assert!(
            empty.starts_with("no flood of this time is known") && empty.contains("the record is empty"),
            "{empty}"
        );
    }
}
