//! The demo's screen: a pure function of the model and the terminal's size.

use std::collections::BTreeMap;
use std::time::Duration;

use spillway_console::graph::{bar, sparkline};
use spillway_console::layout::{GRAPH_WIDTH, INDENT, Size, WIDE, beside, indented, label, titled};
use spillway_console::style::{Line, Style};
use spillway_words::in_words;

use super::MINUTE;
use super::model::{Instance, Model};
use super::story::Event;

const TITLE: &str = "Spillway demo: a BullMQ queue floods; spot instances (EC2 emulated) help out";
const FOOTER: &str = "Ctrl-C ends it and leaves nothing behind";
/// Notes that are shown below the events, however high the terminal is.
const NOTES: usize = 4;
/// The lines around the two lists.
const BLANKS: usize = 2;

/// The screen's lines: at most as many as it has rows, none wider than it.
pub(super) fn frame(model: &Model, size: Size) -> Vec<Line> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let mut lines = head(model, width);
    lines.push(Line::default());
    lines.extend(fleet(model, size));
    let end = foot(model);
    let room = height.saturating_sub(lines.len() + end.len());
    lines.extend(lists(model, size, room));
    lines.truncate(height.saturating_sub(end.len()));
    lines.extend(end);
    lines.truncate(height);
    lines.into_iter().map(|line| line.cut(width)).collect()
}

fn head(model: &Model, width: usize) -> Vec<Line> {
    let jobs = model.jobs;
    let seconds = model.options.job_seconds;
    let scale = format!(
        "{} since the flood; a job takes {seconds} s, a minute of the plan {}",
        elapsed(model.elapsed),
        in_words(MINUTE)
    );
    let mut sum = label("JOBS")
        .with(Style::Yellow, format!("{} waiting", jobs.waiting))
        .with(Style::Plain, " + ")
        .with(Style::Cyan, format!("{} running", jobs.running))
        .with(Style::Plain, " + ")
        .with(Style::Green, format!("{} done", jobs.done));
    if jobs.failed > 0 {
        sum = sum.with(Style::Plain, " + ").with(Style::Red, format!("{} failed", jobs.failed));
    }
    let graph = (width.saturating_sub(INDENT)).min(GRAPH_WIDTH);
    let parts = [(jobs.done, '█', Style::Green), (jobs.failed, '█', Style::Red), (jobs.running, '▒', Style::Cyan)];
    let peak = model.backlog.iter().max().copied().unwrap_or(0);
    let beside = format!("  {} now, {peak} at most", jobs.waiting);
    let spark = sparkline(&model.backlog, graph.saturating_sub(beside.len()));
    vec![
        Line::new(Style::Bold, TITLE),
        Line::new(Style::Dim, scale),
        Line::default(),
        sum.with(Style::Plain, format!(" = {}", jobs.all())),
        indented(bar(&parts, jobs.all(), graph)),
        label("BACKLOG").with(Style::Yellow, spark).with(Style::Plain, beside),
    ]
}

/// The primary and the instances; where there is little room, the newest.
fn fleet(model: &Model, size: Size) -> Vec<Line> {
    let desired = model.desired.map_or("?".to_owned(), |desired| desired.to_string());
    let count = |phases: &[&str]| model.instances.iter().filter(|it| phases.contains(&it.phase.as_str())).count();
    let mut counts = vec![format!("{} ready", count(&["ready"]))];
    for (phases, word) in
        [(&["launching", "booting"][..], "starting"), (&["draining"], "draining"), (&["terminating"], "terminating")]
    {
        if count(phases) > 0 {
            counts.push(format!("{} {word}", count(phases)));
        }
    }
    let of = format!("{desired} instances desired, {} at most: {}", model.max_instances, counts.join(", "));
    let mut lines = vec![label("FLEET").with(Style::Plain, of)];
    let works = if model.running_on.contains_key("primary") { ("WORKING", Style::Green) } else { ("IDLE", Style::Dim) };
    lines.push(row("primary", works.0, works.1, worked(model, "primary").join(", ")));
    let shown = usize::from(size.height / 4).max(2);
    let hidden = model.instances.len().saturating_sub(shown);
    if hidden > 0 {
        lines.push(Line::new(Style::Dim, format!("  … {hidden} earlier")));
    }
    lines.extend(model.instances.iter().skip(hidden).map(|instance| instance_row(model, instance, size.width >= WIDE)));
    lines
}

fn instance_row(model: &Model, instance: &Instance, is_wide: bool) -> Line {
    let style = Style::of_phase(&instance.phase);
    let id = if instance.id.is_empty() { "(no id yet)" } else { &instance.id };
    let line = row(id, &instance.phase.to_uppercase(), style, instance_words(model, instance, is_wide).join(", "));
    match (instance.phase.as_str(), instance.reclaimed_in, instance.silent_for) {
        ("gone" | "terminating", ..) => line,
        (_, Some(left), _) => line.with(Style::Red, format!("; EC2 reclaims it in {} s", left.as_secs())),
        (_, _, Some(span)) => line.with(Style::Red, format!("; silent for {}", in_words(span))),
        _ => line,
    }
}

fn instance_words(model: &Model, instance: &Instance, is_wide: bool) -> Vec<String> {
    let mut words = worked(model, &instance.id);
    if instance.phase == "gone" && !model.running_on.contains_key(&instance.id) {
        words.remove(0);
    }
    match instance.phase.as_str() {
        "launching" => vec!["launch requested".to_owned()],
        // Its worker takes jobs as soon as it is up, before it is proven to.
        "booting" if model.running_on.contains_key(&instance.id) || model.done_on.contains_key(&instance.id) => {
            words.push(boot(instance, "booted; its worker takes jobs already"));
            words
        }
        "booting" => vec![boot(instance, "booted; waiting for its worker's first fetch")],
        "ready" => {
            words.extend(instance.ready_after.map(|after| format!("ready in {:.1} s", after.as_secs_f64())));
            if is_wide && !instance.steps.is_empty() {
                words.push(format!("booted: {}", steps(instance)));
            }
            words
        }
        "gone" => words,
        _ => {
            // How long it has left stands behind this, where EC2 takes it.
            words.extend(instance.reclaimed_in.is_none().then(|| instance.phase_reason.clone()));
            words
        }
    }
}

/// How far its boot has come; `booted` where all of its steps are done.
fn boot(instance: &Instance, booted: &str) -> String {
    if let Some(failed) = instance.steps.iter().find(|step| !step.problem.is_empty()) {
        return format!("boot step {}: {}", failed.name, failed.problem);
    }
    let done = instance.steps.iter().filter(|step| step.took.is_some()).count();
    match instance.steps.iter().find(|step| step.took.is_none()) {
        Some(step) => {
            format!("boot step {}/{} {}, {:.1} s", done + 1, step.count, step.name, step.running_for.as_secs_f64())
        }
        None if instance.steps.is_empty() => {
            format!("the instance starts, {:.1} s", instance.in_phase_for.as_secs_f64())
        }
        None => booted.to_owned(),
    }
}

/// `pull 25 ms, install 122 ms, …`.
pub(super) fn steps(instance: &Instance) -> String {
    let took = |span: Option<Duration>| span.map_or("?".to_owned(), in_words);
    let all: Vec<String> = instance.steps.iter().map(|step| format!("{} {}", step.name, took(step.took))).collect();
    all.join(", ")
}

/// What a worker runs and has done. The rows add up to the line above.
fn worked(model: &Model, worker: &str) -> Vec<String> {
    let of = |map: &BTreeMap<String, u64>| map.get(worker).copied().unwrap_or(0);
    vec![format!("{} running", of(&model.running_on)), format!("{} done", of(&model.done_on))]
}

/// `14.2 s`, `1 min 29 s`.
fn elapsed(span: Duration) -> String {
    if span < Duration::from_secs(60) { format!("{:.1} s", span.as_secs_f64()) } else { in_words(span) }
}

fn row(name: &str, state: &str, style: Style, words: String) -> Line {
    Line::new(Style::Plain, format!("  {name:<20} ")).with(style, format!("{state:<12}")).with(Style::Plain, words)
}

/// What happened and why nothing more does, in at most `room` lines: below each other, or side by side.
fn lists(model: &Model, size: Size, room: usize) -> Vec<Line> {
    let free = room.saturating_sub(BLANKS);
    let mut lines = vec![Line::default()];
    if size.width >= WIDE {
        let left = usize::from(size.width) * 3 / 5;
        let events = happened(model, free.saturating_sub(1));
        let right = usize::from(size.width) - left;
        let notes = model.notes.iter().flat_map(|note| Line::from(note.as_str()).wrap(right, 2));
        let why = titled("WHY NOT MORE, WHY NOT LESS", notes.take(free.saturating_sub(1)));
        lines.extend(beside(&events, &why, left));
    } else {
        // The events matter more: notes get a third of what is left.
        let notes = model.notes.len().min(free.div_ceil(3)).min(NOTES);
        lines.extend(happened(model, free.saturating_sub(notes + 1)));
        let why = |(index, note): (usize, &String)| label(if index == 0 { "WHY" } else { "" }).with(Style::Plain, note);
        lines.extend(model.notes.iter().take(notes).enumerate().map(why));
    }
    lines.push(Line::default());
    lines.truncate(room);
    lines
}

fn happened(model: &Model, newest: usize) -> Vec<Line> {
    titled("WHAT HAPPENED", model.story.newest(newest).iter().map(Event::line))
}

/// How it ends; with `--keep` also what may be pasted into another terminal.
fn foot(model: &Model) -> Vec<Line> {
    let Some(commands) = &model.commands else { return vec![Line::new(Style::Dim, FOOTER)] };
    let (title, more) = if model.is_over { ("IT IS OVER", "  add jobs") } else { ("TRY IT", "  commands") };
    let more = format!("{more} in another terminal; Ctrl-C here ends it");
    let title = Line::new(Style::Bold, title).with(Style::Dim, more);
    let lines = commands.lines(model.ready_instance());
    let paste = lines
        .iter()
        .map(|(what, command)| Line::new(Style::Dim, format!("{what:<INDENT$}")).with(Style::Plain, command));
    std::iter::once(title).chain(paste).collect()
}

#[cfg(test)]
mod tests;
