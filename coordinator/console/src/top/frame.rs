//! The screen of `top`: a pure function of the model, the terminal's size and the time.

use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::in_words;

use super::backlog::backlog;
use super::findings::Findings;
use super::{Model, lanes, past};
use crate::attention;
use crate::layout::{Size, WIDE, beside, label, shares, titled};
use crate::style::{Line, Style};
use crate::times::{clock, system_time};
use crate::words::{decision_line, pool as pool_words};

/// The line of the keys.
const FOOT: usize = 1;
/// Without an answer for so long the numbers are not the present.
pub(super) const STALE: Duration = Duration::from_secs(60);
const KEYS: &str = "q quit  p next pool  ↑ ↓ PgUp PgDn instances  ? help";
const NO_KEYS: &str = "Ctrl-C quits; no keys: standard input is no terminal";

/// The screen's lines: at most as many as it has rows, none wider than it.
pub fn frame(model: &Model, size: Size, now: SystemTime) -> Vec<Line> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let mut lines = match model.shown() {
        _ if model.shows_help => head(model, now).into_iter().chain(help(width)).collect(),
        Some(pool) => body(model, pool, size, now),
        None if model.fleet.is_some() => {
            head(model, now).into_iter().chain([Line::from("this coordinator has no pool")]).collect()
        }
        None => head(model, now),
    };
    let foot = if model.has_keys { KEYS } else { NO_KEYS };
    lines.truncate(height.saturating_sub(1));
    lines.resize(height.saturating_sub(1), Line::default());
    lines.push(Line::new(Style::Dim, foot));
    lines.truncate(height);
    lines.into_iter().map(|line| line.cut(width)).collect()
}

/// Lanes that a screen of this size has room for.
pub(super) fn lanes_shown(model: &Model, size: Size, now: SystemTime) -> usize {
    let now = model.clock(now);
    model.shown().map_or(0, |pool| parts(model, pool, size, now).shares[0].saturating_sub(1))
}

/// What one is looking at, and whether it is the present.
fn head(model: &Model, now: SystemTime) -> Vec<Line> {
    let what = Line::new(Style::Bold, "spillway top");
    let Some(fleet) = &model.fleet else {
        let problem = model.problem.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
        return vec![what.with(Style::Plain, format!("  asking {}{problem}", model.server))];
    };
    let age = model.answered_at.map_or(Duration::ZERO, |at| now.duration_since(at).unwrap_or_default());
    let age = Duration::from_secs(age.as_secs());
    let answered = if age.is_zero() { "just now".to_owned() } else { format!("{} ago", in_words(age)) };
    let version = match fleet.coordinator_version.as_str() {
        "" => "coordinator".to_owned(),
        version => format!("coordinator {version}"),
    };
    let role = if fleet.leader { "leader" } else { "STANDBY: it decides nothing" };
    let role_style = if fleet.leader { Style::Plain } else { Style::Yellow };
    let line = match &model.problem {
        Some(problem) => what
            .with(Style::Red, format!("  STALE for {}: reconnecting", in_words(age)))
            .with(Style::Plain, format!(" to {}: {problem}", model.server)),
        None if age >= STALE => {
            what.with(Style::Red, format!("  STALE for {}: {} does not answer", in_words(age), model.server))
        }
        None => {
            let what = what.with(Style::Plain, format!("  {version} at {}, ", model.server)).with(role_style, role);
            what.with(Style::Dim, format!(", answered {answered}"))
        }
    };
    vec![line]
}

fn help(width: usize) -> Vec<Line> {
    let keys = [
        ("q, Ctrl-C", "quit"),
        ("Ctrl-Z", "back to the shell, where `fg` goes on"),
        ("p", "the next pool"),
        ("up, down", "scroll the instances by one; k and j do too"),
        ("PgUp, PgDn", "by a page"),
        ("?", "back from this"),
    ];
    let keys =
        keys.into_iter().map(|(key, what)| Line::new(Style::Bold, format!("  {key:<12}")).with(Style::Plain, what));
    let more = [
        "No key changes the fleet: `spillway drain`, `hold` and `resume` do.",
        "The chart is of the jobs ready to run. What reaches the lowest threshold of the policy is coloured, and a line shows \
         where each is.",
        "Instances: yellow is starting, green ready, magenta draining; a wide terminal shows the life of each in the time of \
         the chart.",
        "Each decision's reason in full: `spillway explain`; everything that needs attention: `spillway status`.",
    ];
    let more =
        more.into_iter().flat_map(|text| std::iter::once(Line::default()).chain(Line::from(text).wrap(width, 0)));
    std::iter::once(Line::default()).chain(keys).chain(more).collect()
}

/// What is below each other, and how many rows each gets.
struct Parts {
    top: Vec<Line>,
    findings: Findings,
    decisions: Vec<Line>,
    notes: Vec<Line>,
    /// Of lanes, findings, decisions and notes; titles count.
    shares: Vec<usize>,
}

fn parts(model: &Model, pool: &v1::Pool, size: Size, now: SystemTime) -> Parts {
    let width = usize::from(size.width);
    let top = top(model, pool, size, now);
    let findings = Findings::of(model, pool, now);
    let notes = notes(pool, size);
    let decisions = decisions(model, pool, width);
    let free = usize::from(size.height).saturating_sub(top.len() + FOOT);
    let lanes = (lanes::of(pool, now).len().max(1) + 1, 4);
    let of_findings = (findings.need(width), 3);
    let is_wide = size.width >= WIDE;
    let needs = match is_wide {
        // Decisions and notes share their rows.
        true => vec![lanes, of_findings, (decisions.len().max(notes.len()), 6)],
        false => vec![lanes, of_findings, (decisions.len(), 4), (notes.len(), 2)],
    };
    // What needs a person comes before a long list of instances.
    let order: Vec<usize> = std::iter::once(1).chain((0..needs.len()).filter(|it| *it != 1)).collect();
    let shared = shares(free, &order.iter().map(|it| needs[*it]).collect::<Vec<_>>());
    let mut shares = vec![0; 4];
    order.iter().zip(shared).for_each(|(it, share)| shares[*it] = share);
    Parts { top, findings, decisions, notes, shares }
}

fn body(model: &Model, pool: &v1::Pool, size: Size, now: SystemTime) -> Vec<Line> {
    let mut lines = head(model, now);
    let now = model.clock(now);
    let Parts { top, findings, mut decisions, mut notes, shares } = parts(model, pool, size, now);
    let width = usize::from(size.width);
    lines.extend(top.into_iter().skip(lines.len()));
    decisions.truncate(shares[2]);
    let mut sections = vec![fleet(model, pool, width, shares[0], now), findings.lines(width, shares[1])];
    if size.width >= WIDE {
        notes.truncate(shares[2]);
        sections.push(beside(&decisions, &notes, width * 3 / 5));
    } else {
        notes.truncate(shares[3]);
        sections.extend([decisions, notes]);
    }
    let used = lines.len() + sections.iter().map(Vec::len).sum::<usize>() + FOOT;
    let mut free = usize::from(size.height).saturating_sub(used);
    for section in sections {
        // Where there is room, a blank line between them.
        if free > 0 {
            lines.push(Line::default());
            free -= 1;
        }
        lines.extend(section);
    }
    lines
}

/// The pool and its backlog; the first line is left to the head.
fn top(model: &Model, pool: &v1::Pool, size: Size, now: SystemTime) -> Vec<Line> {
    let pools = model.fleet.as_ref().map_or(&[][..], |fleet| &fleet.pools);
    let at = pools.iter().position(|it| it.name == pool.name).map_or(1, |at| at + 1);
    let which = if pools.len() > 1 { format!(" (pool {at} of {})", pools.len()) } else { String::new() };
    let desired = pool.desired.map_or("?".to_owned(), |desired| desired.to_string());
    let mut title = Line::new(Style::Bold, &pool.name)
        .with(Style::Plain, format!("{which}: {desired} desired, max {}", pool.max_instances));
    if pool.held {
        title = title.with(Style::Yellow, ", HELD");
    }
    let style = if pool.observation_problem.is_empty() { Style::Plain } else { Style::Red };
    let queue = pool_words::queue_line(pool, now);
    let mut lines = vec![Line::default(), title, label("BACKLOG").with(style, queue)];
    lines.extend(backlog(model, pool, size, now));
    lines
}

fn fleet(model: &Model, pool: &v1::Pool, width: usize, rows: usize, now: SystemTime) -> Vec<Line> {
    let all = lanes::of(pool, now);
    let room = rows.saturating_sub(1);
    let from = model.scroll.min(all.len().saturating_sub(room));
    let shown: Vec<&v1::Instance> = all.iter().skip(from).take(room).copied().collect();
    let mut title = label("FLEET").with(Style::Plain, pool_words::instances_line(pool));
    if shown.len() < all.len() {
        title = title.with(Style::Dim, format!("  ({} to {} of {})", from + 1, from + shown.len(), all.len()));
    }
    let begins = model.pasts.get(&pool.name).map_or(now, |past| past.chart_begins(now));
    let names = lanes::names_width(&all);
    let lanes = shown.into_iter().map(|instance| lanes::lane(instance, names, width, begins, now));
    let mut lines: Vec<Line> = std::iter::once(title).chain(lanes).collect();
    lines.truncate(rows);
    lines
}

/// The newest first.
fn decisions(model: &Model, pool: &v1::Pool, width: usize) -> Vec<Line> {
    let all = model.pasts.get(&pool.name).into_iter().flat_map(past::Past::decisions);
    let line = |(at, decision): &(SystemTime, v1::Decision)| {
        let style = match decision.kind.as_str() {
            "launch" => Style::Yellow,
            "drain" | "terminate" => Style::Magenta,
            "alert" => Style::Red,
            _ => Style::Plain,
        };
        let at = clock(&spillway_proto::times::timestamp(*at));
        Line::new(Style::Dim, format!("{at}  ")).with(style, decision_line(decision)).cut(width)
    };
    let mut lines: Vec<Line> = all.map(line).collect();
    if lines.is_empty() {
        let leads = model.fleet.as_ref().is_none_or(|fleet| fleet.leader);
        lines.push(Line::new(Style::Dim, if leads { "none that is known" } else { "none: only the leader decides" }));
    }
    titled("LAST DECISIONS (UTC)", lines)
}

fn notes(pool: &v1::Pool, size: Size) -> Vec<Line> {
    let notes = pool.plan.iter().flat_map(|plan| &plan.notes).filter(|note| !attention::is_told(note, pool));
    if size.width >= WIDE {
        let width = usize::from(size.width) - usize::from(size.width) * 3 / 5;
        return titled("WHY NOT MORE, WHY NOT LESS", notes.flat_map(|note| Line::from(note.as_str()).wrap(width, 2)));
    }
    let word = |index| if index == 0 { "WHY" } else { "" };
    notes.enumerate().map(|(index, note)| label(word(index)).with(Style::Plain, note)).collect()
}

impl Model {
    /// The coordinator's clock, whatever this machine's shows.
    fn clock(&self, now: SystemTime) -> SystemTime {
        let told = self.fleet.as_ref().and_then(|fleet| fleet.at.as_ref());
        match (told, self.answered_at) {
            (Some(at), Some(answered)) => {
                let since = now.duration_since(answered).unwrap_or_default();
                system_time(Some(at)).checked_add(since).unwrap_or(now)
            }
            _ => now,
        }
    }
}
