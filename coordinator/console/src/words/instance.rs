//! An instance in the reader's words: what it is and does in a line, and all that is known of it.

use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::in_words;

use super::boot::step_line;
use crate::images;
use crate::style::{Line, Style};
use crate::times::{ago, since, until};

/// Instances that ended less long ago are still shown, with what went wrong.
pub(crate) const GONE_SHOWN: Duration = Duration::from_secs(900);

/// Lines of a worker's log that are shown: the error and its stack.
const LOG_LINES: usize = 12;

/// The action of a notice that an operator asked for.
const REHEARSAL: &str = "rehearsal";

/// EC2's id, or the launch token while there is none.
pub(crate) fn name(instance: &v1::Instance) -> &str {
    if instance.id.is_empty() { &instance.token } else { &instance.id }
}

/// `spot c7g.large us-east-1a`.
pub(crate) fn kind(instance: &v1::Instance) -> String {
    let parts = [&instance.capacity_type, &instance.instance_type, &instance.availability_zone];
    let parts: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// All that is known of an instance.
pub(crate) fn lines(instance: &v1::Instance, pool: &v1::Pool, now: SystemTime) -> Vec<Line> {
    if instance.phase == "gone" {
        return gone(instance, now);
    }
    let is_on_its_way = instance.phase == "booting" || instance.phase == "draining";
    let mut lines = summary(instance, pool, now);
    let steps = instance.boot_steps.iter().filter(|_| is_on_its_way);
    lines.extend(steps.map(|step| Line::from(format!("    {}", step_line(step, now)))));
    lines.extend(notices(instance, now));
    // While it boots, its line says what the log ends with.
    if instance.phase != "booting" {
        lines.extend(worker_log(&instance.worker_log));
    }
    lines
}

/// What matters of an instance that needs a look.
pub(crate) fn brief(instance: &v1::Instance, pool: &v1::Pool, now: SystemTime) -> Vec<Line> {
    let failed = instance.boot_steps.iter().filter(|step| step.state() == v1::StepState::Failed);
    let failed = failed.map(|step| Line::from(format!("    {}", step_line(step, now))));
    let mut lines = match instance.phase.as_str() {
        "gone" => gone(instance, now).into_iter().take(1).collect(),
        _ => summary(instance, pool, now),
    };
    lines.extend(failed);
    lines.extend(notices(instance, now));
    lines
}

/// What it is, and what it does.
fn summary(instance: &v1::Instance, pool: &v1::Pool, now: SystemTime) -> Vec<Line> {
    let kind = Some(kind(instance)).filter(|kind| !kind.is_empty());
    let agent = Some(format!("agent {}", instance.agent_version)).filter(|_| !instance.agent_version.is_empty());
    let drill = instance.for_drill.then(|| "for the drill".to_owned());
    let kind: Vec<String> =
        kind.into_iter().chain(agent).chain(drill).chain(images::of_instance(instance, pool)).collect();
    let when = ago(instance.phase_since.as_ref(), now);
    vec![
        header(instance, &instance.phase.to_uppercase(), &when, &kind.join(", ")),
        Line::from(format!("    {}", instance_line(instance, now))),
    ]
}

fn notices(instance: &v1::Instance, now: SystemTime) -> impl Iterator<Item = Line> {
    let line = move |notice| {
        Line::from("    ").with(Style::Red, "NOTICE").with(Style::Plain, format!(" {}", notice_line(notice, now)))
    };
    instance.notices.iter().map(line)
}

fn header(instance: &v1::Instance, phase: &str, when: &str, rest: &str) -> Line {
    let style = Style::of_phase(&instance.phase);
    Line::from(format!("  {:<20} ", name(instance)))
        .with(style, format!("{phase:<11}"))
        .with(Style::Plain, format!(" {when:<12} {rest}"))
}

fn worker_log(log: &str) -> Vec<Line> {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let title = (!lines.is_empty()).then(|| Line::from("    the end of its worker's log:"));
    let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
    title.into_iter().chain(end.iter().map(|line| Line::new(Style::Dim, format!("      {line}")))).collect()
}

fn gone(instance: &v1::Instance, now: SystemTime) -> Vec<Line> {
    let when = ago(instance.phase_since.as_ref(), now);
    let mut lines = vec![header(instance, "gone", &when, &instance.phase_reason)];
    lines.extend(handed_back(instance).map(|jobs| Line::from(format!("    {jobs}"))));
    let failed = instance.boot_steps.iter().filter(|step| step.state() == v1::StepState::Failed);
    lines.extend(failed.map(|step| Line::from(format!("    {}", step_line(step, now)))));
    lines.extend(worker_log(&instance.worker_log));
    lines
}

/// Gone, and not long enough ago to be forgotten.
pub(crate) fn has_just_gone(instance: &v1::Instance, now: SystemTime) -> bool {
    instance.phase == "gone" && since(instance.phase_since.as_ref(), now) <= GONE_SHOWN
}

/// What an instance does, in a line.
pub fn instance_line(instance: &v1::Instance, now: SystemTime) -> String {
    let Some(beat) = &instance.heartbeat else {
        return match (instance.phase.as_str(), instance.phase_reason.as_str()) {
            ("booting", _) => "its agent has not registered yet".to_owned(),
            (_, "") => "launch requested".to_owned(),
            (_, reason) => reason.to_owned(),
        };
    };
    let mut parts = Vec::new();
    parts.extend(beat.worker.as_ref().and_then(|worker| worker_line(worker, &instance.phase)));
    match beat.active_jobs {
        Some(1) => parts.push("1 job".to_owned()),
        Some(jobs) => parts.push(format!("{jobs} jobs")),
        None => {}
    }
    if !beat.problem.is_empty() && beat.worker.as_ref().is_none_or(|worker| worker.missing != beat.problem) {
        parts.push(beat.problem.clone());
    }
    if instance.phase == "draining" || instance.phase == "terminating" {
        parts.push(instance.phase_reason.clone());
    }
    let heard = ago(instance.last_heartbeat_at.as_ref(), now);
    match (instance.stale, instance.connected) {
        (true, _) => parts.push(format!("NO HEARTBEAT: the last was {heard}")),
        (false, false) => parts.push(format!("not connected, last heartbeat {heard}")),
        (false, true) => {}
    }
    parts.extend(handed_back(instance));
    parts.extend(beat.unprotected.iter().map(|what| format!("not protected: {what}")));
    parts.join("; ")
}

/// Whether its worker processes jobs, as its agent proves it. Until it does, that is a wait while the instance boots, a
/// problem once it was ready, and the plan while it drains.
fn worker_line(worker: &v1::WorkerProof, phase: &str) -> Option<String> {
    let missing = if worker.missing.is_empty() { "no proof yet that it processes jobs" } else { &worker.missing };
    match (phase, worker.proven) {
        (_, true) if !worker.waits_for.is_empty() => {
            Some(format!("worker ready (by {}), {}", worker.by, worker.waits_for))
        }
        (_, true) if worker.live_locks == 0 => Some(format!("worker ready (by {}), waiting for jobs", worker.by)),
        (_, true) => Some(format!("worker ready (by {})", worker.by)),
        ("launching" | "booting", false) => Some(format!("waiting for the worker: {missing}")),
        ("ready", false) => Some(format!("worker not ready: {missing}")),
        (_, false) => (!worker.missing.is_empty()).then(|| worker.missing.clone()),
    }
}

/// What became of the jobs that it could not finish; None where there were none.
fn handed_back(instance: &v1::Instance) -> Option<String> {
    let jobs = match instance.jobs_handed_back {
        0 => None,
        1 => Some("1 job handed back".to_owned()),
        jobs => Some(format!("{jobs} jobs handed back")),
    };
    let still = match instance.hand_back.as_str() {
        "under-way" => Some("its jobs are being handed back"),
        "given-up" => Some("SOME OF ITS JOBS COULD NOT BE HANDED BACK: see `spillway explain`"),
        _ => None,
    };
    let parts: Vec<String> = jobs.into_iter().chain(still.map(str::to_owned)).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

pub(crate) fn notice_line(notice: &v1::Notice, now: SystemTime) -> String {
    let left = until(notice.at.as_ref(), now);
    let when = if left.is_zero() { ago(notice.at.as_ref(), now) } else { format!("in {}", in_words(left)) };
    match notice.kind() {
        v1::NoticeKind::Interruption if notice.action == REHEARSAL => format!("a rehearsed interruption {when}"),
        v1::NoticeKind::Interruption => format!("EC2 will {} the instance {when}", notice.action),
        v1::NoticeKind::Rebalance => format!("EC2 recommended a rebalance {when}"),
        _ => format!("{} {when}", notice.action),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(phase: &str, proven: bool, missing: &str) -> String {
        let worker =
            v1::WorkerProof { proven, missing: missing.to_owned(), by: "name".to_owned(), ..Default::default() };
        let beat = v1::Heartbeat { worker: Some(worker), ..v1::Heartbeat::default() };
        let instance = v1::Instance {
            phase: phase.to_owned(),
            phase_reason: "an operator asked".to_owned(),
            connected: true,
            heartbeat: Some(beat),
            ..v1::Instance::default()
        };
        instance_line(&instance, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_worker_without_proof_is_a_problem_only_where_it_should_have_one() {
        assert_eq!(line("ready", true, ""), "worker ready (by name), waiting for jobs");
        assert_eq!(line("booting", false, "PM2 shows no process"), "waiting for the worker: PM2 shows no process");
        assert_eq!(line("booting", false, ""), "waiting for the worker: no proof yet that it processes jobs");
        assert_eq!(line("ready", false, "PM2 shows no process"), "worker not ready: PM2 shows no process");
        assert_eq!(line("draining", false, "the worker is drained"), "the worker is drained; an operator asked");
        assert_eq!(line("draining", false, ""), "an operator asked");
    }
}
