//! The instances of a pool in the room that the other parts leave: each with all that it says where that fits, or with
//! what matters of it; else those that need a look by name, and the others in numbers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use spillway_proto::v1;

use super::page::{Page, Part, Row};
use super::{INDENT, label};
use crate::attention::{alive, is_notable};
use crate::style::{Line, Style};
use crate::words::instance::{brief, has_just_gone, lines};
use crate::words::pool::PHASES;

/// Where the instances' part stands among the others: before decisions and notes.
const PLACE: usize = 5;
/// A coordinator tells of so many that are gone, and forgets the others.
const GONE_KEPT: usize = 20;

/// The pool's other parts with that of the instances among them.
pub(super) fn beside(
    mut parts: Vec<Part>,
    pool: &v1::Pool,
    page: &Page,
    rows: Option<usize>,
    now: SystemTime,
) -> Vec<Part> {
    let gone = pool.instances.iter().filter(|it| has_just_gone(it, now));
    let shown: Vec<&v1::Instance> = alive(pool).chain(gone).collect();
    let part = |lines: fn(&v1::Instance, &v1::Pool, SystemTime) -> Vec<Line>| {
        Part::new("instance", 4, shown.iter().map(|instance| rows_of(lines(instance, pool, now))).collect())
    };
    let fits = |part: &Part| {
        rows.is_none_or(|rows| {
            let least: usize = parts.iter().map(|part| part.least().min(page.need(part, None))).sum();
            least + page.need(part, None) <= rows
        })
    };
    let instances = match [part(lines), part(brief)].into_iter().find(fits) {
        Some(all) => vec![all],
        None => vec![named(pool, now), numbers(pool, page, now)],
    };
    let place = PLACE.min(parts.len());
    parts.splice(place..place, instances);
    parts
}

fn rows_of(lines: Vec<Line>) -> Vec<Row> {
    lines.into_iter().map(|line| Row::new(line, 6)).collect()
}

/// Those that need a look.
fn named(pool: &v1::Pool, now: SystemTime) -> Part {
    let gone = pool.instances.iter().filter(|it| has_just_gone(it, now));
    let notable = alive(pool).chain(gone).filter(|instance| is_notable(instance));
    Part::new("instance", 2, notable.map(|instance| rows_of(brief(instance, pool, now))).collect())
}

/// The others: how many of each type in each zone are in a phase.
fn numbers(pool: &v1::Pool, page: &Page, now: SystemTime) -> Part {
    let mut items = Vec::new();
    for phase in PHASES {
        let of_phase = || alive(pool).filter(|it| it.phase == phase);
        let mut kinds: BTreeMap<String, BTreeMap<&str, usize>> = BTreeMap::new();
        for instance in of_phase().filter(|it| !is_notable(it)) {
            *kinds.entry(kind_of(instance)).or_default().entry(&instance.availability_zone).or_default() += 1;
        }
        let mut parts: Vec<(usize, String)> = kinds.iter().map(|(kind, zones)| in_zones(kind, zones)).collect();
        parts.sort_by(|(one, _), (other, _)| other.cmp(one));
        let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
        if !parts.is_empty() {
            let others = if of_phase().any(is_notable) { "others: " } else { "" };
            let row = label("  ", phase, Style::of_phase(phase), format!("{others}{}", parts.join("; ")));
            items.push(vec![row.cut((page.width * 2).saturating_sub(INDENT))]);
        }
    }
    let gone = pool.instances.iter().filter(|it| has_just_gone(it, now) && !is_notable(it)).count();
    if gone > 0 {
        let is_cut = pool.instances.iter().filter(|it| it.phase == "gone").count() >= GONE_KEPT;
        let more = if is_cut { " or more" } else { "" };
        items.push(vec![label("  ", "gone", Style::Dim, format!("{gone}{more} in the last 15 min"))]);
    }
    Part::new("line", items.len(), items)
}

/// `spot c7g.large`.
fn kind_of(instance: &v1::Instance) -> String {
    let parts = [instance.capacity_type.as_str(), instance.instance_type.as_str()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// `12 spot c7g.large (us-east-1a 7, us-east-1b 5)`, and how many they are.
fn in_zones(kind: &str, zones: &BTreeMap<&str, usize>) -> (usize, String) {
    let count = zones.values().sum();
    let mut zones: Vec<(&str, usize)> =
        zones.iter().map(|(zone, count)| (*zone, *count)).filter(|(zone, _)| !zone.is_empty()).collect();
    zones.sort_by(|(_, one), (_, other)| other.cmp(one));
    let zones: Vec<String> = zones.iter().map(|(zone, count)| format!("{zone} {count}")).collect();
    let zones = if zones.is_empty() { String::new() } else { format!(" ({})", zones.join(", ")) };
    (count, format!("{count} {kind}{zones}").trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn as_many_that_are_gone_are_told_as_a_coordinator_keeps() {
        assert_eq!(super::GONE_KEPT, spillway_brain::GONE_KEPT);
    }
}
