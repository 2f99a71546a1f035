//! A pool's queue, its drill and what EC2 refuses it, in the reader's words.

use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::{counted, in_words};

use crate::times::{ago, since, span, until};

/// A drill that was over longer ago is not shown any more.
const DRILL_SHOWN: Duration = Duration::from_secs(900);

/// Ids of volumes that are shown; `--json` has all.
const VOLUMES_NAMED: usize = 10;

/// In the order in which they are counted: what works first.
pub(crate) const PHASES: [&str; 5] = ["ready", "booting", "launching", "draining", "terminating"];

/// How many instances are in each phase, and the jobs on them.
pub(crate) fn instances_line(pool: &v1::Pool) -> String {
    let alive = || pool.instances.iter().filter(|instance| instance.phase != "gone");
    let count = |phase: &str| alive().filter(|it| it.phase == phase).count();
    let phases: Vec<String> =
        PHASES.iter().filter(|phase| count(phase) > 0).map(|phase| format!("{} {phase}", count(phase))).collect();
    if phases.is_empty() {
        return "none".to_owned();
    }
    let jobs: u64 = alive().filter_map(jobs_on).map(u64::from).sum();
    // Launching instances and those that boot have no worker that could hold one.
    let unknown = alive().filter(|it| it.phase == "ready" && jobs_on(it).is_none()).count();
    let unknown = if unknown > 0 { format!(", not known of {unknown}") } else { String::new() };
    format!("{}; {} on them{unknown}", phases.join(", "), counted(jobs, "job"))
}

/// Active jobs, by its agent or else by Redis; None where neither tells.
pub(crate) fn jobs_on(instance: &v1::Instance) -> Option<u32> {
    instance.heartbeat.as_ref().and_then(|beat| beat.active_jobs).or(instance.jobs_in_redis)
}

/// What is known of the queues, and whether it is the present.
pub(crate) fn queue_line(pool: &v1::Pool, now: SystemTime) -> String {
    match (&pool.backlog, pool.observation_problem.is_empty()) {
        (Some(backlog), true) => backlog_line(backlog, now),
        (Some(backlog), false) => format!("cannot be read; last: {}", backlog_line(backlog, now)),
        (None, true) => "not read yet".to_owned(),
        (None, false) => "cannot be read".to_owned(),
    }
}

/// One queue observation in a line.
pub fn backlog_line(backlog: &v1::Backlog, now: SystemTime) -> String {
    let mut parts = vec![format!("{} ready to run", backlog.demand)];
    if backlog.paused {
        parts.push(format!("PAUSED with {} waiting", backlog.waiting));
    }
    parts.push(format!("{} running", backlog.active));
    if backlog.delayed > backlog.delayed_due {
        parts.push(format!("{} delayed", backlog.delayed - backlog.delayed_due));
    }
    if let Some(age) = backlog.oldest_age.as_ref().filter(|_| backlog.demand > 0) {
        parts.push(format!("oldest waiting {}", in_words(span(age))));
    }
    parts.push(format!("read {}", ago(backlog.at.as_ref(), now)));
    parts.join(", ")
}

/// Who asked for a drill, and what has come of it; of one that was over some time ago nothing.
pub(crate) fn drill_lines(drill: &v1::Drill, now: SystemTime) -> Vec<String> {
    if drill.ended_at.is_some() && since(drill.ended_at.as_ref(), now) > DRILL_SHOWN {
        return Vec::new();
    }
    let count = |outcome: &str| drill.instances.iter().filter(|it| it.outcome == outcome).count();
    let when = match &drill.ended_at {
        None => format!("under way for {}", in_words(since(drill.at.as_ref(), now))),
        Some(at) => format!("over {}", ago(Some(at), now)),
    };
    let why = if drill.reason.is_empty() { String::new() } else { format!("{}, ", drill.reason) };
    let (ready, failed, of) = (count("ready"), count("failed"), drill.instances.len());
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let mut lines = vec![format!("{when} ({why}by {}): {ready} of {of} ready{failed}", drill.by)];
    for it in &drill.instances {
        let name = if it.id.is_empty() { "one" } else { &it.id };
        lines.extend((!it.cause.is_empty()).then(|| format!("{name} was not ready: {}", it.cause)));
        lines.extend((!it.stays.is_empty()).then(|| format!("{name} stays: {}", it.stays)));
    }
    lines
}

/// Launches that come back by themselves: a lack of capacity comes and goes.
pub(crate) fn waits_line(blocked: &v1::LaunchesBlocked, now: SystemTime) -> String {
    format!("launches: {}", blocked_words(blocked, now))
}

/// Why EC2 launches nothing, and when it is asked again.
pub(crate) fn blocked_words(blocked: &v1::LaunchesBlocked, now: SystemTime) -> String {
    let left = until(blocked.retried_at.as_ref(), now);
    let again = match left.is_zero() {
        true => "tried again once an instance is wanted".to_owned(),
        false => format!("tried again in {}", in_words(left)),
    };
    let v1::LaunchesBlocked { class, code, message, .. } = blocked;
    let did = match blocked.after_accept {
        true => format!("EC2 accepted the last one, and ended it before anything ran there ({code}, {class})"),
        false => format!("EC2 answered {code} ({class})"),
    };
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("{did} {}{message}; {again}", ago(blocked.at.as_ref(), now))
}

/// Volumes that are billed on.
pub(crate) fn left_words(left: &v1::LeftVolumes, now: SystemTime) -> String {
    let named = &left.ids[..left.ids.len().min(VOLUMES_NAMED)];
    let more = match left.ids.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{} left behind by instances that are gone, and billed on: {}{more}. Delete what nobody needs (seen {})",
        counted(left.ids.len() as u64, "volume"),
        named.join(", "),
        ago(left.at.as_ref(), now)
    )
}
