//! The words of messages, as Slack takes them; other receivers read the same text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use spillway_brain::{Timestamp, in_words};
use spillway_words::{counted, shown};

use crate::incident::{Change, Incident};
use crate::kind::Kind;

/// Lines of a message that tells several incidents.
const LINES: usize = 15;
/// Bytes of a message.
pub(crate) const LONGEST: usize = 3000;

type Changes = BTreeMap<String, Vec<(Change, Incident)>>;

/// One incident in full, or several by a line each. `more`: of which nothing but their number is known.
pub(crate) fn of(changes: &Changes, more: u64, now: Timestamp) -> String {
    let mut all: Vec<(&str, Change, &Incident)> = changes
        .iter()
        .flat_map(|(pool, changes)| changes.iter().map(|(change, incident)| (pool.as_str(), *change, incident)))
        .collect();
    // "stop" comes before "warn".
    all.sort_by(|one, other| (one.1, &one.2.severity, one.0).cmp(&(other.1, &other.2.severity, other.0)));
    let text = match all[..] {
        [(pool, change, incident)] if more == 0 => in_full(pool, change, incident, now),
        _ => folded(&all, more, now),
    };
    shown::cut(&escaped(&text), LONGEST)
}

fn in_full(pool: &str, change: Change, incident: &Incident, now: Timestamp) -> String {
    let mut text = line(pool, change, incident, now);
    if change != Change::Closed {
        if !incident.detail.is_empty() {
            let _ = write!(text, "\n{}", on_one_line(&incident.detail));
        }
        let _ = write!(text, "\nTo do: {}", on_one_line(&incident.remedy));
    }
    text
}

fn folded(all: &[(&str, Change, &Incident)], more: u64, now: Timestamp) -> String {
    let many = |wanted: Change| all.iter().filter(|(_, change, _)| *change == wanted).count() as u64;
    let closed = many(Change::Closed) + more;
    let sums: Vec<String> = [(many(Change::Opened), "new"), (many(Change::Still), "still there"), (closed, "over")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut text = format!("Spillway: {}", sums.join(", "));
    for (pool, change, incident) in all.iter().take(LINES) {
        let _ = write!(text, "\n• {}", line(pool, *change, incident, now));
    }
    let left = (all.len() as u64).saturating_sub(LINES as u64) + more;
    if left > 0 {
        let _ = write!(text, "\n… and {left} more: `spillway status` shows what there is now");
    }
    text
}

fn line(pool: &str, change: Change, incident: &Incident, now: Timestamp) -> String {
    let Incident { severity, title, kind, .. } = incident;
    let (pool, severity, title) = (on_one_line(pool), on_one_line(severity), on_one_line(title));
    let lasted = in_words(incident.lasted(now));
    let is_of_all = Kind::named(kind).is_some_and(Kind::is_of_installation);
    let who = if is_of_all { "Spillway".to_owned() } else { format!("Spillway, pool {pool}") };
    match change {
        Change::Opened if incident.over_since.is_none() => format!("{who}, {severity}: {title}"),
        Change::Opened => format!("{who}, {severity}, for {lasted}, not seen now: {title}"),
        Change::Still => format!("{who}, {severity}, still after {lasted}: {title}"),
        Change::Closed if incident.told == 0 => format!("{who}: was so for {lasted}, and is over: {title}"),
        Change::Closed => format!("{who}: over after {lasted}: {title}"),
    }
}

/// Words from outside as `status` shows them, which neither turn the direction of writing nor begin a line: only what
/// is ours says what is to be done.
pub(crate) fn on_one_line(text: &str) -> String {
    let is_break = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}');
    shown::visible_line(&text.replace(is_break, " "))
}

/// Slack's own marks, which a text must not make.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A message to see that messages arrive.
pub fn test(version: &str) -> String {
    format!("Spillway {version}: a test, by `spillway notify --test`. Messages about incidents arrive here.")
}

/// The same for the same news.
pub(crate) fn key(changes: &Changes) -> String {
    let mut hash = Sha256::new();
    for (pool, changes) in changes {
        for (change, Incident { kind, opened_at, told, .. }) in changes {
            hash.update(format!("{pool}\0{kind}\0{}\0{change:?}\0{told}\0", opened_at.0));
        }
    }
    let hash = hash.finalize();
    format!("spillway-{}", hash[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A number of something that there may be none of.
pub(crate) fn none_or(count: u64, noun: &str) -> String {
    if count == 0 { format!("no {noun}s") } else { counted(count, noun) }
}
