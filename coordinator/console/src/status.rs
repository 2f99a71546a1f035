//! The fleet as `spillway status` prints it: the sums, what needs a person, the instances, the last plan. Owns the
//! order and what is left out where the room is small; the sentences are those of `words` and `attention`.
//!
//! - `page`: the room that there is, and how parts share it
//! - `instances`: all of them where they fit, else those to look at, and the others in numbers

mod instances;
mod page;

use std::time::SystemTime;

use spillway_proto::v1;

pub use page::Page;

use crate::attention::{self, Finding, Level};
use crate::images;
use crate::money;
use crate::style::{Colors, Line, Style};
use crate::words::{decision_line, instance, pool as pool_words};
use page::{Part, Row};

/// Where what stands behind a label begins.
const INDENT: usize = 13;

/// In a screenful, as what is no terminal gets it.
pub fn text(fleet: &v1::GetFleetResponse, now: SystemTime) -> String {
    plain(&lines(fleet, &Page::piped(), now))
}

/// Lines without colours.
pub fn plain(lines: &[Line]) -> String {
    lines.iter().map(|line| line.render(Colors::Off).trim_end().to_owned() + "\n").collect()
}

/// All pools, in the room that there is.
pub fn lines(fleet: &v1::GetFleetResponse, page: &Page, now: SystemTime) -> Vec<Line> {
    let mut head = Vec::new();
    if !fleet.coordinator_version.is_empty() {
        head.push(Row::new(format!("coordinator {}", fleet.coordinator_version), 2));
    }
    if !fleet.leader {
        let is_blind = fleet.pools.iter().any(|pool| !pool.observation_problem.is_empty());
        let standby = match is_blind {
            true => "STANDBY: this coordinator is not the leader: the lease is in Redis, which it cannot read",
            false => "STANDBY: this coordinator is not the leader: it observes and decides nothing",
        };
        head.push(Row::new(Line::new(Style::Yellow, standby), 2));
    }
    let mut items = vec![head];
    items.extend(attention::of_installation(fleet, now).iter().map(|finding| finding_rows("", finding)));
    let leasts: Vec<Vec<usize>> = fleet.pools.iter().map(|pool| leasts(pool, now)).collect();
    // However much is to be said of the installation, pools have a share.
    let of_pools: usize = leasts.iter().flatten().sum();
    let rows = page.rows.map(|rows| rows.saturating_sub(of_pools).max(rows.div_ceil(2)));
    let (mut lines, used) = page.lay_out(vec![Part::new("finding", 4, items)], rows);
    let mut left = page.rows.map(|rows| rows.saturating_sub(used));
    let mut shown = fleet.pools.len();
    if let Some(left) = left.as_mut().filter(|left| **left < shown) {
        // The last row says how many more there are.
        *left = left.saturating_sub(1);
        shown = *left;
    }
    let pools = &fleet.pools[..shown];
    let needs = || pools.iter().map(|pool| page.needed(&pool_parts(pool, page, None, now), None)).collect::<Vec<_>>();
    let rows: Vec<Option<usize>> = match left {
        Some(left) => fair(left, &leasts[..shown], &needs()).into_iter().map(Some).collect(),
        None => vec![None; shown],
    };
    for (pool, rows) in pools.iter().zip(rows) {
        lines.extend(page.lay_out(pool_parts(pool, page, rows, now), rows).0);
    }
    if shown < fleet.pools.len() {
        lines.push(more_pools(&fleet.pools[shown..], now).cut(page.width));
    }
    lines.truncate(page.rows.unwrap_or(usize::MAX));
    lines
}

/// How many there are, and which of them need a person, the worst first.
fn more_pools(pools: &[v1::Pool], now: SystemTime) -> Line {
    let worst = |pool| attention::attention(pool, now).iter().map(|finding| finding.level).min();
    let mut ill: Vec<(Level, &str)> =
        pools.iter().filter_map(|pool| worst(pool).map(|level| (level, pool.name.as_str()))).collect();
    ill.sort_by_key(|(level, _)| *level);
    let ill: Vec<&str> = ill.into_iter().map(|(_, name)| name).collect();
    let ill = if ill.is_empty() { String::new() } else { format!("; findings in {}", attention::list(&ill)) };
    Line::from(format!("… {} more pools: spillway status --pool NAME{ill}", pools.len()))
}

/// What each pool shows before any shows more: its first row, then the worst finding, then what to do there.
fn leasts(pool: &v1::Pool, now: SystemTime) -> Vec<usize> {
    let worst = attention::attention(pool, now).into_iter().next();
    let worst = worst.map_or(0, |finding| finding_rows("  ", &finding).len());
    vec![1, worst.min(1), worst.saturating_sub(1)]
}

/// The rows of each pool: one after another of what comes first in all of them, then evenly.
fn fair(rows: usize, leasts: &[Vec<usize>], needs: &[usize]) -> Vec<usize> {
    let mut free = rows;
    let mut shares = vec![0; needs.len()];
    for at in 0..leasts.iter().map(Vec::len).max().unwrap_or(0) {
        for (share, least) in shares.iter_mut().zip(leasts) {
            let more = least[at].min(free);
            *share += more;
            free -= more;
        }
    }
    while free > 0 && shares.iter().zip(needs).any(|(share, need)| share < need) {
        for (share, _) in shares.iter_mut().zip(needs).filter(|(share, need)| **share < **need) {
            let more = free.min(1);
            *share += more;
            free -= more;
        }
    }
    shares
}

/// One instance with all that is known of it, and what needs a person there; None where no pool has it.
pub fn instance(fleet: &v1::GetFleetResponse, id: &str, page: &Page, now: SystemTime) -> Option<Vec<Line>> {
    let is_it = |it: &&v1::Instance| it.id == id || it.token == id;
    let (pool, found) = fleet.pools.iter().find_map(|pool| Some((pool, pool.instances.iter().find(is_it)?)))?;
    let mut lines: Vec<Row> = instance::lines(found, pool, now).into_iter().map(|line| Row::new(line, 6)).collect();
    let findings = attention::attention(pool, now);
    let of_it = findings.iter().filter(|finding| finding.title.contains(instance::name(found)));
    lines.extend(of_it.flat_map(|finding| finding_rows("  ", finding)));
    let decisions = pool.plan.iter().flat_map(|plan| &plan.decisions).filter(|it| it.instance == instance::name(found));
    lines.extend(decisions.map(|decision| label("  ", "decided", Style::Bold, decision_line(decision))));
    Some(page.lay_out(vec![Part::new("line", 0, vec![lines])], None).0)
}

fn pool_parts(pool: &v1::Pool, page: &Page, rows: Option<usize>, now: SystemTime) -> Vec<Part> {
    let findings = attention::attention(pool, now);
    let mut worth: Vec<Vec<Row>> = findings.iter().map(|finding| finding_rows("  ", finding)).collect();
    let waits = pool.launches_blocked.iter().filter(|blocked| !blocked.needs_a_person);
    worth.extend(waits.map(|blocked| vec![label("  ", "waits", Style::Yellow, pool_words::waits_line(blocked, now))]));
    let drill = pool.drill.iter().flat_map(|drill| pool_words::drill_lines(drill, now));
    let images = images::of_pool(pool, now);
    let cost = pool.money.iter().filter_map(money::line);
    let plan = pool.plan.as_ref();
    let decisions = plan.iter().flat_map(|plan| &plan.decisions).map(decision_line);
    let notes = plan.iter().flat_map(|plan| &plan.notes).filter(|note| !attention::is_told(note, pool));
    let parts = vec![
        Part::new("line", 1, vec![vec![title(pool)]]).first(1).urgent(),
        Part::new("line", 2, sums(pool, now).into_iter().map(|row| vec![row]).collect()).first(2),
        // Below the sums, and before them where there is no room for both.
        Part::new("finding", 6, worth).first(1).urgent(),
        Part::new("line", 1, labelled("drill", drill)),
        Part::new("line", 1, images.into_iter().map(|it| vec![label("  ", "image", Style::Dim, it)]).collect()),
        Part::new("line", 1, cost.map(|it| vec![label("  ", "cost", Style::Dim, it)]).collect()),
        Part::new("decision", 3, decisions.map(|it| vec![label("  ", "decided", Style::Bold, it)]).collect()),
        Part::new("note", 3, notes.map(|it| vec![label("  ", "why", Style::Dim, it)]).collect()),
    ];
    instances::beside(parts, pool, page, rows, now)
}

/// What comes first: desired and most.
fn title(pool: &v1::Pool) -> Row {
    let desired = pool.desired.map_or("?".to_owned(), |desired| desired.to_string());
    let title = format!(": {desired} desired, max {}{}", pool.max_instances, if pool.held { ", HELD" } else { "" });
    Row::new(Line::new(Style::Bold, &pool.name).with(Style::Plain, title), 2)
}

/// The queue, and the instances in numbers.
fn sums(pool: &v1::Pool, now: SystemTime) -> [Row; 2] {
    [
        label("  ", "queue", Style::Plain, pool_words::queue_line(pool, now)),
        label("  ", "instances", Style::Plain, pool_words::instances_line(pool)),
    ]
}

fn finding_rows(indent: &str, finding: &Finding) -> Vec<Row> {
    let (word, style) = match finding.level {
        Level::Problem => ("PROBLEM", Style::Red),
        Level::Warning => ("WARNING", Style::Yellow),
    };
    let todo = (!finding.todo.is_empty()).then(|| label(indent, "to do", Style::Bold, &finding.todo));
    std::iter::once(label(indent, word, style, finding.sentence())).chain(todo).collect()
}

/// One label before the first, blanks before the others.
fn labelled(word: &str, lines: impl Iterator<Item = String>) -> Vec<Vec<Row>> {
    let word = |index| if index == 0 { word } else { "" };
    lines.enumerate().map(|(index, line)| vec![label("  ", word(index), Style::Plain, line)]).collect()
}

fn label(indent: &str, word: &str, style: Style, text: impl Into<String>) -> Row {
    let line = Line::from(indent).with(style, format!("{word:<10}")).with(Style::Plain, " ");
    Row::new(line.with(Style::Plain, text), indent.len() + INDENT - 2)
}

#[cfg(test)]
mod tests;
