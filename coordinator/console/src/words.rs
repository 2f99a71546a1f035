//! The fleet and its plans in the reader's words.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::{counted, in_words};

use crate::images;
use crate::times::{self, ago, since, span, until};

/// Instances that ended less long ago are still shown, with what went wrong.
const GONE_SHOWN: Duration = Duration::from_secs(900);

/// Lines of a worker's log that are shown: the error and its stack.
const LOG_LINES: usize = 12;

/// Ids of volumes that are shown; `--json` has all.
const VOLUMES_NAMED: usize = 10;

/// The action of a notice that an operator asked for.
const REHEARSAL: &str = "rehearsal";

/// All pools, as `spillway status` prints them.
pub fn fleet(fleet: &v1::GetFleetResponse, now: SystemTime) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    if !fleet.coordinator_version.is_empty() {
        let _ = writeln!(text, "coordinator {}", fleet.coordinator_version);
    }
    if !fleet.leader {
        text.push_str("STANDBY: this coordinator is not the leader: it observes and decides nothing\n");
    }
    if let Some(left) = fleet.left_volumes.as_ref().filter(|left| !left.ids.is_empty()) {
        let _ = writeln!(text, "PROBLEM    {}", left_line(left, now));
    }
    for pool in &fleet.pools {
        let _ = write_pool(&mut text, pool, now);
    }
    text
}

fn left_line(left: &v1::LeftVolumes, now: SystemTime) -> String {
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

fn write_pool(out: &mut String, pool: &v1::Pool, now: SystemTime) -> std::fmt::Result {
    let desired = pool.desired.map_or("?".to_owned(), |desired| desired.to_string());
    writeln!(
        out,
        "{}: {desired} desired, max {}{}",
        pool.name,
        pool.max_instances,
        if pool.held { ", HELD" } else { "" }
    )?;
    match &pool.backlog {
        Some(backlog) => writeln!(out, "  queue      {}", backlog_line(backlog, now))?,
        None => writeln!(out, "  queue      not read yet")?,
    }
    if !pool.observation_problem.is_empty() {
        writeln!(out, "  PROBLEM    {}", pool.observation_problem)?;
    }
    if !pool.listing_problem.is_empty() {
        writeln!(out, "  PROBLEM    EC2: {}", pool.listing_problem)?;
    }
    for line in pool.drill.iter().flat_map(|drill| drill_lines(drill, now)) {
        writeln!(out, "  {line}")?;
    }
    for blocked in &pool.launches_blocked {
        writeln!(out, "  {}", blocked_line(blocked, now))?;
    }
    for line in images::of_pool(pool, now) {
        writeln!(out, "  image      {line}")?;
    }
    let alive: Vec<_> = pool.instances.iter().filter(|instance| instance.phase != "gone").collect();
    if alive.is_empty() {
        writeln!(out, "  instances  none")?;
    }
    for instance in alive {
        write_instance(out, instance, pool, now)?;
    }
    for instance in pool.instances.iter().filter(|instance| instance.phase == "gone") {
        write_gone(out, instance, now)?;
    }
    if let Some(plan) = &pool.plan {
        for decision in &plan.decisions {
            writeln!(out, "  decided    {}", decision_line(decision))?;
        }
        for note in &plan.notes {
            writeln!(out, "  why        {note}")?;
        }
    }
    Ok(())
}

/// Who asked for a drill, and what has come of it; of one that was over some time ago nothing.
fn drill_lines(drill: &v1::Drill, now: SystemTime) -> Vec<String> {
    if drill.ended_at.is_some() && since(drill.ended_at.as_ref(), now) > GONE_SHOWN {
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
    let mut lines = vec![format!("drill      {when} ({why}by {}): {ready} of {of} ready{failed}", drill.by)];
    for it in &drill.instances {
        let name = if it.id.is_empty() { "one" } else { &it.id };
        lines.extend((!it.cause.is_empty()).then(|| format!("           {name} was not ready: {}", it.cause)));
        lines.extend((!it.stays.is_empty()).then(|| format!("           {name} stays: {}", it.stays)));
    }
    lines
}

/// Why EC2 launches nothing. What lasts until a person acts is a problem; a lack of capacity comes and goes.
fn blocked_line(blocked: &v1::LaunchesBlocked, now: SystemTime) -> String {
    let left = until(blocked.retried_at.as_ref(), now);
    let again = match left.is_zero() {
        true => "tried again once an instance is wanted".to_owned(),
        false => format!("tried again in {}", in_words(left)),
    };
    let v1::LaunchesBlocked { class, code, message, .. } = blocked;
    let what = if blocked.needs_a_person { "PROBLEM    launching is stopped" } else { "waits      launches" };
    let did = match blocked.after_accept {
        true => format!("EC2 accepted the last one, and ended it before anything ran there ({code}, {class})"),
        false => format!("EC2 answered {code} ({class})"),
    };
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("{what}: {did} {}{message}; {again}", ago(blocked.at.as_ref(), now))
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

fn write_instance(out: &mut String, instance: &v1::Instance, pool: &v1::Pool, now: SystemTime) -> std::fmt::Result {
    let name = if instance.id.is_empty() { &instance.token } else { &instance.id };
    let kind = [&instance.capacity_type, &instance.instance_type, &instance.availability_zone];
    let kind: Vec<&str> = kind.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let agent = Some(format!("agent {}", instance.agent_version)).filter(|_| !instance.agent_version.is_empty());
    let drill = instance.for_drill.then(|| "for the drill".to_owned());
    let kind = Some(kind.join(" ")).filter(|kind| !kind.is_empty());
    let kind: Vec<String> =
        kind.into_iter().chain(agent).chain(drill).chain(images::of_instance(instance, pool)).collect();
    writeln!(
        out,
        "  {name:<20} {:<11} {:<12} {}",
        instance.phase.to_uppercase(),
        ago(instance.phase_since.as_ref(), now),
        kind.join(", ")
    )?;
    writeln!(out, "    {}", instance_line(instance, now))?;
    if !instance.terminate_problem.is_empty() {
        writeln!(out, "    PROBLEM EC2 refuses to terminate it, and it is billed on: {}", instance.terminate_problem)?;
    }
    for step in instance.boot_steps.iter().filter(|_| instance.phase == "booting" || instance.phase == "draining") {
        writeln!(out, "    {}", step_line(step, now))?;
    }
    for notice in &instance.notices {
        writeln!(out, "    NOTICE {}", notice_line(notice, now))?;
    }
    // While it boots, its line says what the log ends with.
    if instance.phase != "booting" {
        write_worker_log(out, &instance.worker_log)?;
    }
    Ok(())
}

fn write_worker_log(out: &mut String, log: &str) -> std::fmt::Result {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "    the end of its worker's log:")?;
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        writeln!(out, "      {line}")?;
    }
    Ok(())
}

fn write_gone(out: &mut String, instance: &v1::Instance, now: SystemTime) -> std::fmt::Result {
    if since(instance.phase_since.as_ref(), now) > GONE_SHOWN {
        return Ok(());
    }
    let name = if instance.id.is_empty() { &instance.token } else { &instance.id };
    let when = ago(instance.phase_since.as_ref(), now);
    writeln!(out, "  {name:<20} gone        {when:<12} {}", instance.phase_reason)?;
    if let Some(jobs) = handed_back(instance) {
        writeln!(out, "    {jobs}")?;
    }
    let failed = instance.boot_steps.iter().filter(|step| step.state() == v1::StepState::Failed);
    for step in failed {
        writeln!(out, "    {}", step_line(step, now))?;
    }
    write_worker_log(out, &instance.worker_log)
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

/// One line of the boot flight-recorder; a failed step with the end of its output.
pub fn step_line(step: &v1::BootStep, now: SystemTime) -> String {
    let took = step.took.as_ref().map(|took| in_words(span(took)));
    let again = if step.attempt > 1 { format!(" (attempt {})", step.attempt) } else { String::new() };
    let place = format!("{}/{} {:<10}", step.index + 1, step.count, step.name);
    match step.state() {
        v1::StepState::Succeeded => format!("{place} done in {}{again}", took.unwrap_or_default()),
        v1::StepState::Failed | v1::StepState::Retrying => {
            let last = step.output_tail.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let next = if step.state() == v1::StepState::Failed { "FAILED" } else { "failed, retried" };
            format!("{place} {next}{again}: {}: {last}", step.problem)
        }
        v1::StepState::Running => {
            let running = step.started_at.as_ref().map_or(Duration::ZERO, |at| since(Some(at), now));
            format!("{place} running for {}{again}: {}", in_words(running), step.command)
        }
        v1::StepState::Unspecified => place,
    }
}

/// `pull 25 ms, install 122 ms, …`.
pub fn steps_in_a_line(steps: &[v1::BootStep]) -> String {
    let took = |step: &v1::BootStep| step.took.as_ref().map_or("?".to_owned(), |took| in_words(span(took)));
    steps.iter().map(|step| format!("{} {}", step.name, took(step))).collect::<Vec<_>>().join(", ")
}

fn notice_line(notice: &v1::Notice, now: SystemTime) -> String {
    let left = until(notice.at.as_ref(), now);
    let when = if left.is_zero() { ago(notice.at.as_ref(), now) } else { format!("in {}", in_words(left)) };
    match notice.kind() {
        v1::NoticeKind::Interruption if notice.action == REHEARSAL => format!("a rehearsed interruption {when}"),
        v1::NoticeKind::Interruption => format!("EC2 will {} the instance {when}", notice.action),
        v1::NoticeKind::Rebalance => format!("EC2 recommended a rebalance {when}"),
        _ => format!("{} {when}", notice.action),
    }
}

/// Plans, as `spillway explain` prints them.
pub fn plans(plans: &[v1::PlanRecord], now: SystemTime) -> String {
    let mut text = String::new();
    let several = plans.iter().any(|plan| plan.pool != plans[0].pool);
    for plan in plans {
        let _ = write_plan(&mut text, plan, several, now);
    }
    text
}

fn write_plan(out: &mut String, plan: &v1::PlanRecord, with_pool: bool, now: SystemTime) -> std::fmt::Result {
    let mut when = ago(plan.until.as_ref(), now);
    if let (Some(first), Some(last)) = (&plan.at, &plan.until) {
        let over = times::between(first, last);
        match plan.times {
            // Its numbers are those of the last tick.
            2.. => drop(write!(when, ", unchanged for {}", in_words(over))),
            // One of the record has the numbers of when it was made.
            _ if over >= Duration::from_secs(1) => {
                when =
                    format!("{} ({} UTC), in force for {}", ago(Some(first), now), times::clock(first), in_words(over));
            }
            _ => {}
        }
    }
    let desired = plan.desired.map_or("unknown".to_owned(), |desired| desired.to_string());
    let demand = plan.demand.map_or("unknown".to_owned(), |demand| demand.to_string());
    let pool = if with_pool { format!("{}: ", plan.pool) } else { String::new() };
    writeln!(out, "{pool}{when}: demand {demand}, instances desired {desired}")?;
    for decision in &plan.decisions {
        writeln!(out, "  -> {}", decision_line(decision))?;
    }
    for note in &plan.notes {
        writeln!(out, "     {note}")?;
    }
    Ok(())
}

/// A decision with its reason.
pub fn decision_line(decision: &v1::Decision) -> String {
    let kind = decision.kind.replace('_', " ");
    match decision.instance.as_str() {
        "" => format!("{kind}: {}", decision.reason),
        instance => format!("{kind} {instance}: {}", decision.reason),
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

    fn of(pool: v1::Pool) -> v1::GetFleetResponse {
        v1::GetFleetResponse { leader: true, pools: vec![pool], ..v1::GetFleetResponse::default() }
    }

    #[test]
    fn a_plan_of_the_record_says_when_it_was_made_and_for_how_long_it_was_in_force() {
        let at = |seconds: i64| Some(prost_types::Timestamp { seconds: 1_795_933_570 + seconds, nanos: 0 });
        let plan = v1::PlanRecord { demand: Some(7), at: at(0), until: at(300), times: 1, ..v1::PlanRecord::default() };
        let now = times::system_time(at(3600).as_ref());
        let line = "1 h ago (06:26:10 UTC), in force for 5 min: demand 7, instances desired unknown\n";
        assert_eq!(plans(std::slice::from_ref(&plan), now), line);
        let unchanged = "55 min ago, unchanged for 5 min: demand 7, instances desired unknown\n";
        assert_eq!(plans(&[v1::PlanRecord { times: 9, ..plan }], now), unchanged);
    }

    #[test]
    fn the_versions_of_the_coordinator_and_of_each_agent_are_shown_where_they_are_known() {
        let instance = |id: &str, version: &str| v1::Instance {
            id: id.to_owned(),
            phase: "ready".to_owned(),
            instance_type: "c7g.large".to_owned(),
            agent_version: version.to_owned(),
            ..v1::Instance::default()
        };
        let pool = v1::Pool { instances: vec![instance("i-1", "0.1.0"), instance("i-2", "")], ..v1::Pool::default() };
        let shown = v1::GetFleetResponse { coordinator_version: "0.2.0".to_owned(), ..of(pool.clone()) };
        let text = fleet(&shown, SystemTime::UNIX_EPOCH);
        let line = |text: &str, of: &str| text.lines().find(|line| line.contains(of)).map(str::to_owned);
        assert!(text.starts_with("coordinator 0.2.0\n"), "{text}");
        assert!(line(&text, "i-1").is_some_and(|line| line.ends_with(" c7g.large, agent 0.1.0")), "{text}");
        assert!(line(&text, "i-2").is_some_and(|line| line.ends_with(" c7g.large")), "{text}");
        // By a coordinator that does not tell its own.
        assert!(!fleet(&of(pool), SystemTime::UNIX_EPOCH).contains("coordinator"));
    }

    #[test]
    fn volumes_that_were_left_behind_are_named_and_none_where_there_is_none_or_it_is_not_known() {
        let shown = |ids: Option<usize>| {
            let at = Some(spillway_proto::times::timestamp(SystemTime::UNIX_EPOCH));
            let ids = ids.map(|count| (1..=count).map(|n| format!("vol-{n}")).collect());
            let left_volumes = ids.map(|ids| v1::LeftVolumes { at, ids });
            let shown = v1::GetFleetResponse { left_volumes, ..of(v1::Pool::default()) };
            fleet(&shown, SystemTime::UNIX_EPOCH + Duration::from_secs(40))
        };
        let said = |volumes: &str| format!("PROBLEM    {volumes}. Delete what nobody needs (seen 40 s ago)\n");
        let text = shown(Some(1));
        assert!(
            text.starts_with(&said("1 volume left behind by instances that are gone, and billed on: vol-1")),
            "{text}"
        );
        let text = shown(Some(12));
        assert!(
            text.starts_with("PROBLEM    12 volumes left behind") && text.contains("vol-10 and 2 more. Delete"),
            "{text}"
        );
        assert!(!shown(Some(0)).contains("volume") && !shown(None).contains("volume"));
    }

    #[test]
    fn a_drill_says_who_asked_for_it_and_what_failed_until_it_is_long_over() {
        let at = |seconds: u64| {
            Some(spillway_proto::times::timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
        };
        let shown = |ended_at: Option<u64>, now: u64| {
            let failed = v1::DrillInstance {
                id: "i-2".to_owned(),
                outcome: "failed".to_owned(),
                cause: "boot failed: install".to_owned(),
                ..v1::DrillInstance::default()
            };
            let ready = v1::DrillInstance { outcome: "ready".to_owned(), ..v1::DrillInstance::default() };
            let drill = v1::Drill {
                by: "root (uid 0)".to_owned(),
                reason: "a new image".to_owned(),
                at: at(100),
                ended_at: ended_at.and_then(at),
                instances: vec![ready, failed],
                ..v1::Drill::default()
            };
            let pool = v1::Pool { drill: Some(drill), ..v1::Pool::default() };
            fleet(&of(pool), SystemTime::UNIX_EPOCH + Duration::from_secs(now))
        };
        let text = shown(None, 160);
        let said = "  drill      under way for 1 min (a new image, by root (uid 0)): 1 of 2 ready, 1 failed\n             i-2 was not \
                    ready: boot failed: install\n";
        assert!(text.contains(said), "{text}");
        assert!(shown(Some(200), 230).contains("  drill      over 30 s ago (a new image"));
        assert!(!shown(Some(200), 2000).contains("drill"));
    }

    #[test]
    fn a_boot_that_failed_shows_the_end_of_its_workers_log() {
        let log: String = (1..=20).map(|n| format!("line {n}\n\n")).collect();
        let shown = |phase: &str| {
            let at = Some(spillway_proto::times::timestamp(SystemTime::UNIX_EPOCH));
            let (phase, worker_log) = (phase.to_owned(), log.clone());
            let instance = v1::Instance { phase, phase_since: at, worker_log, ..v1::Instance::default() };
            let pool = v1::Pool { instances: vec![instance], ..v1::Pool::default() };
            fleet(&of(pool), SystemTime::UNIX_EPOCH)
        };
        for phase in ["draining", "terminating", "gone"] {
            let text = shown(phase);
            assert!(text.contains("    the end of its worker's log:\n      line 9\n      line 10\n"), "{text}");
            assert!(text.contains("      line 20\n") && !text.contains("line 8\n"), "{text}");
        }
        assert!(!shown("booting").contains("line 20"));
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
