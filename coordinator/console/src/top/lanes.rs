//! The instances as lanes: one line each with its phase, jobs, since when, and what it does; on a wide terminal also
//! what it is, and its life against the time of the backlog's chart.

use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::in_words;

use crate::attention::is_silent;
use crate::style::{Line, Style};
use crate::times::{since, span, system_time};
use crate::words::instance::{has_just_gone, kind, name, notice_line};
use crate::words::pool::jobs_on;

/// From so many columns on a lane says what the instance is.
const WITH_KIND: usize = 120;
/// From so many on it shows the instance's life.
const WITH_LIFE: usize = 160;
const KIND: usize = 28;
const LONGEST_NAME: usize = 26;

/// Those that are shown, in the order of their launch; what is gone comes last, the newest first.
pub(super) fn of(pool: &v1::Pool, now: SystemTime) -> Vec<&v1::Instance> {
    let mut gone: Vec<&v1::Instance> = pool.instances.iter().filter(|it| has_just_gone(it, now)).collect();
    gone.sort_by_key(|it| since(it.phase_since.as_ref(), now));
    pool.instances.iter().filter(|it| it.phase != "gone").chain(gone).collect()
}

/// Columns of the names: of EC2's ids, or somewhat more where there are launch tokens.
pub(super) fn names_width(instances: &[&v1::Instance]) -> usize {
    instances.iter().map(|instance| name(instance).chars().count()).max().unwrap_or(0).clamp(20, LONGEST_NAME)
}

/// One lane. Its life is drawn from `begins` on.
pub(super) fn lane(instance: &v1::Instance, names: usize, width: usize, begins: SystemTime, now: SystemTime) -> Line {
    let style = Style::of_phase(&instance.phase);
    let jobs = match jobs_on(instance) {
        Some(1) => "1 job".to_owned(),
        Some(jobs) => format!("{jobs} jobs"),
        None => String::new(),
    };
    let jobs = if instance.phase == "gone" { String::new() } else { jobs };
    let since = in_words(Duration::from_secs(since(instance.phase_since.as_ref(), now).as_secs()));
    let mut line = Line::from(format!("  {}", name(instance)))
        .fit(names + 2)
        .with(Style::Plain, " ")
        .with(style, format!("{:<12}", instance.phase.to_uppercase()))
        .with(Style::Plain, format!("{jobs:<8} {since:<12} "));
    if width >= WITH_LIFE {
        line = line.and(life(instance, life_width(width), begins, now)).with(Style::Plain, "  ");
    }
    if width >= WITH_KIND {
        line = line.with(Style::Dim, format!("{:<KIND$} ", kind(instance)));
    }
    let (style, what) = doing(instance, now);
    line.with(style, what)
}

/// Columns of a life: a quarter of the screen.
fn life_width(width: usize) -> usize {
    width / 4
}

/// Starting, ready, draining, one after the other, each with its character. When it became ready is not known any more
/// once it drains; its boot's steps tell.
fn life(instance: &v1::Instance, width: usize, begins: SystemTime, now: SystemTime) -> Line {
    let launched = system_time(instance.launched_at.as_ref().or(instance.phase_since.as_ref()));
    let since = system_time(instance.phase_since.as_ref());
    let booted = instance
        .boot_steps
        .iter()
        .filter_map(|step| system_time(Some(step.started_at.as_ref()?)).checked_add(span(step.took.as_ref()?)));
    let ready = if instance.phase == "ready" { Some(since) } else { booted.max() };
    let whole = now.duration_since(begins).unwrap_or_default().as_millis().max(1);
    let look = |at: SystemTime| {
        let is_ending = matches!(instance.phase.as_str(), "draining" | "terminating" | "gone") && at >= since;
        match instance.phase.as_str() {
            _ if at < launched => (Style::Dim, ' '),
            "gone" if is_ending => (Style::Dim, ' '),
            _ if is_ending => (Style::Magenta, '▒'),
            "launching" | "booting" => (Style::Yellow, '░'),
            _ if ready.is_none_or(|ready| at < ready) => (Style::Yellow, '░'),
            _ => (Style::Green, '█'),
        }
    };
    let cells = (0..width).map(|cell| {
        let millis = whole * (cell as u128 + 1) / width as u128;
        look(begins + Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX / 2)))
    });
    let cells: Vec<(Style, char)> = cells.collect();
    let spans = cells.chunk_by(|(one, _), (other, _)| one == other);
    spans.fold(Line::default(), |line, span| line.with(span[0].0, span.iter().map(|(_, c)| c).collect::<String>()))
}

/// What it does or lacks, in a few words.
fn doing(instance: &v1::Instance, now: SystemTime) -> (Style, String) {
    let beat = instance.heartbeat.as_ref();
    let worker = beat.and_then(|beat| beat.worker.as_ref());
    match instance.phase.as_str() {
        "gone" => return (Style::Dim, instance.phase_reason.clone()),
        _ if !instance.terminate_problem.is_empty() => {
            return (Style::Red, format!("EC2 refuses to terminate it: {}", instance.terminate_problem));
        }
        _ => {}
    }
    if is_silent(instance) {
        let silent = in_words(Duration::from_secs(since(instance.last_heartbeat_at.as_ref(), now).as_secs()));
        let silent = instance.last_heartbeat_at.as_ref().map_or(String::new(), |_| format!(" for {silent}"));
        return (Style::Red, format!("no heartbeat{silent}"));
    }
    if let Some(notice) = instance.notices.last() {
        return (Style::Red, notice_line(notice, now));
    }
    match (instance.phase.as_str(), worker) {
        ("launching", _) => (Style::Plain, "launch requested".to_owned()),
        ("booting", worker) => boot(instance, worker, now),
        ("ready", Some(worker)) if !worker.proven => (Style::Red, format!("worker not ready: {}", worker.missing)),
        ("ready", _) if beat.is_some_and(|beat| !beat.unprotected.is_empty()) => {
            (Style::Yellow, "its worker is not protected".to_owned())
        }
        ("ready", _) if beat.is_some() && !instance.connected => (Style::Yellow, "not connected".to_owned()),
        ("ready", Some(worker)) if !worker.waits_for.is_empty() => (Style::Plain, worker.waits_for.clone()),
        ("ready", _) => (Style::Plain, String::new()),
        _ => (Style::Plain, instance.phase_reason.clone()),
    }
}

const LONGEST_BAR: usize = 16;

/// How far its boot has come: `▰▰▱▱ 3/4 start, 12 s`.
fn boot(instance: &v1::Instance, worker: Option<&v1::WorkerProof>, now: SystemTime) -> (Style, String) {
    let steps = &instance.boot_steps;
    let went_wrong = |step: &&v1::BootStep| matches!(step.state(), v1::StepState::Failed | v1::StepState::Retrying);
    let Some(last) = steps.last() else { return (Style::Plain, "its agent has not registered yet".to_owned()) };
    let done = steps.iter().filter(|step| step.state() == v1::StepState::Succeeded).count();
    // Of more steps the bar has only the first.
    let done = done.min(LONGEST_BAR);
    let count = usize::try_from(last.count).unwrap_or(0).clamp(done, LONGEST_BAR);
    let bar = "▰".repeat(done) + &"▱".repeat(count - done);
    if let Some(failed) = steps.iter().rfind(went_wrong) {
        return (
            Style::Red,
            format!("{bar} {}/{} {}: {}", failed.index + 1, failed.count, failed.name, failed.problem),
        );
    }
    match steps.iter().find(|step| step.state() == v1::StepState::Running) {
        Some(step) => {
            let running = Duration::from_secs(step.started_at.as_ref().map_or(0, |at| since(Some(at), now).as_secs()));
            let place = format!("{}/{} {}", step.index + 1, step.count, step.name);
            (Style::Plain, format!("{bar} {place}, {}", in_words(running)))
        }
        None => {
            let missing = worker.map_or("", |worker| worker.missing.as_str());
            let missing = if missing.is_empty() { String::new() } else { format!(": {missing}") };
            (Style::Plain, format!("{bar} waiting for the worker{missing}"))
        }
    }
}
