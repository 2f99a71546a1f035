//! The outcomes as a person reads them, in 80 columns.

use std::time::Duration;

use spillway_replay::{Job, Model, Outcome};
use spillway_words::{counted, in_words};

const COLUMNS: [&str; 9] = ["policy", "mean", "p50", "p95", "p99", "late", "hours", "dollars", "launched"];

/// What was replayed.
pub(super) fn head(jobs: &[Job], model: &Model, least: Option<u32>) -> String {
    let ms = |span| in_words(Duration::from_millis(span));
    let boot = match model.boot == model.boot_max {
        true => ms(model.boot),
        false => format!("{} to {}", ms(model.boot), ms(model.boot_max)),
    };
    let least = match least {
        Some(least) => format!("With {} that never stop 95 % of the jobs", counted(least, "instance")),
        None => "With no number of instances 95 % of the jobs".to_owned(),
    };
    format!(
        "{} in {}; the primary runs {} at a time, an instance {}, at most {}; boots take {boot}\n{least} start within {}",
        counted(jobs.len() as u64, "job"),
        ms(super::span(jobs)),
        model.primary_slots,
        model.slots,
        counted(model.max_instances, "instance"),
        ms(model.target),
    )
}

/// A line of titles, and one for each policy.
pub(super) fn rows(outcomes: &[Outcome]) -> Vec<String> {
    let seconds = |seconds: f64| format!("{seconds:.0} s");
    let cells = outcomes.iter().map(|it| {
        [
            it.policy.clone(),
            seconds(it.wait_mean_seconds),
            seconds(it.wait_p50_seconds),
            seconds(it.wait_p95_seconds),
            seconds(it.wait_p99_seconds),
            it.over_target.to_string(),
            format!("{:.1}", it.box_hours),
            format!("{:.2}", it.dollars),
            it.launches.to_string(),
        ]
    });
    let all: Vec<[String; 9]> = std::iter::once(COLUMNS.map(str::to_owned)).chain(cells).collect();
    let width = |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut lines: Vec<String> = all
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).skip(1).map(|(cell, width)| format!("  {cell:>width$}"));
            format!("{:<width$}{}", row[0], cells.collect::<String>(), width = widths[0])
        })
        .collect();
    for it in outcomes {
        let of_all = [(it.interruptions, "interruption"), (it.jobs_killed, "killed job")];
        let said: Vec<String> = of_all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| counted(*n, what)).collect();
        if !said.is_empty() {
            lines.push(format!("{}: {}", it.policy, said.join(", ")));
        }
    }
    lines
}

/// What the columns mean.
pub(super) fn foot(model: &Model, price: f64) -> String {
    format!(
        "mean to p99: how long jobs waited until they first started. late: jobs that waited longer than the policy's own \
         target, or than {}.\nhours: what EC2 bills, {price} dollars each.",
        in_words(Duration::from_millis(model.target))
    )
}
