//! The chart of the backlog in `top`: its size, the policy's thresholds beside it, and since when it is.

use std::time::{Duration, SystemTime};

use spillway_proto::{times, v1};
use spillway_words::in_words;

use super::Model;
use crate::graph::chart;
use crate::layout::{GRAPH_WIDTH, INDENT, Size, indented};
use crate::style::{Line, Style};
use crate::times::clock;

/// Columns beside the chart.
const BESIDE: usize = 29;

/// The chart, with its thresholds and since when it is.
pub(super) fn backlog(model: &Model, pool: &v1::Pool, size: Size, now: SystemTime) -> Vec<Line> {
    let rows = match size.height {
        ..12 => return Vec::new(),
        12..20 => 1,
        20..36 => 3,
        36..50 => 5,
        _ => 8,
    };
    let Some(past) = model.pasts.get(&pool.name) else { return Vec::new() };
    let width = usize::from(size.width).saturating_sub(INDENT + BESIDE).min(GRAPH_WIDTH);
    let cells = past.cells(width, now);
    let marks: Vec<u64> = pool.steps.iter().map(|step| step.jobs).collect();
    let chart = chart(&cells, rows, &marks);
    let mut beside: Vec<String> = vec![String::new(); rows];
    for (mark, row) in &chart.marks {
        let instances = pool.steps.iter().find(|step| step.jobs == *mark).map_or(0, |step| step.instances);
        if let Some(text) = beside.get_mut(*row).filter(|text| text.is_empty()) {
            *text = format!("┄ {mark}: {instances} desired");
        }
    }
    let most = cells.iter().flatten().max();
    let span = now.duration_since(past.chart_begins(now)).unwrap_or_default().as_secs();
    let span = Duration::from_secs(span - span % 60);
    let since = match (most, past.is_recorded()) {
        (None, _) => "not known yet".to_owned(),
        (Some(most), true) => format!("{most} at most, {}", in_words(span)),
        // It has no past but what was seen since.
        (Some(most), false) => format!("{most} at most since {}", clock(&times::timestamp(past.known_since(now)))),
    };
    let place = beside.iter().rposition(String::is_empty).unwrap_or(rows - 1);
    let before = if beside[place].is_empty() { String::new() } else { format!("{}, ", beside[place]) };
    beside[place] = before + &since;
    let lines = chart.lines.into_iter().zip(beside);
    lines.map(|(line, text)| indented(line.fit(width).with(Style::Dim, format!("  {text}")))).collect()
}
