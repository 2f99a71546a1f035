//! The fleet and its plans as JSON: times in RFC 3339, spans in seconds, null where unknown.

use prost_types::{Duration, Timestamp};
use serde_json::{Value, json};
use spillway_proto::v1;

pub fn fleet(fleet: &v1::GetFleetResponse) -> Value {
    json!({
        "at": time(fleet.at.as_ref()),
        "leader": fleet.leader,
        "coordinator_version": or_null(&fleet.coordinator_version),
        "left_volumes": fleet.left_volumes.as_ref().map(|left| json!({ "at": time(left.at.as_ref()), "ids": left.ids })),
        "attention": fleet.attention.iter().map(finding).collect::<Vec<_>>(),
        "pools": fleet.pools.iter().map(pool).collect::<Vec<_>>(),
    })
}

fn finding(finding: &v1::Finding) -> Value {
    json!({
        "kind": finding.kind,
        "pool": or_null(&finding.pool),
        "severity": finding.severity,
        "title": finding.title,
        "detail": or_null(&finding.detail),
        "remedy": finding.remedy,
        "runbook": finding.runbook,
        "since": time(finding.since.as_ref()),
    })
}

fn pool(pool: &v1::Pool) -> Value {
    json!({
        "name": pool.name,
        "desired": pool.desired,
        "max_instances": pool.max_instances,
        "held": pool.held,
        "hold_reason": or_null(&pool.hold_reason),
        "backlog": pool.backlog.as_ref().map(backlog),
        "observation_problem": or_null(&pool.observation_problem),
        "listing_problem": or_null(&pool.listing_problem),
        "attention": pool.attention.iter().map(finding).collect::<Vec<_>>(),
        "launches_blocked": pool.launches_blocked.iter().map(blocked).collect::<Vec<_>>(),
        "instances": pool.instances.iter().map(instance).collect::<Vec<_>>(),
        "plan": pool.plan.as_ref().map(plan),
        "drill": pool.drill.as_ref().map(drill),
        "launch_image": pool.launch_image.as_ref().map(|image| json!({
            "id": image.id,
            "made_at": time(image.made_at.as_ref()),
            "at": time(image.at.as_ref()),
        })),
        "newest_commit": or_null(&pool.newest_commit),
        "primary_commit": or_null(&pool.primary_commit),
        "boot_step_medians": pool.step_medians.iter().map(|step| json!({
            "name": step.name,
            "took_seconds": seconds(step.took.as_ref()),
            "boots": step.boots,
            "installs": step.installs,
        })).collect::<Vec<_>>(),
        "launched_total": pool.launched_total,
        "terminated_total": pool.terminated_total,
        "jobs_handed_back_total": pool.jobs_handed_back_total,
        "money": pool.money.as_ref().map(money),
        "steps": pool.steps.iter().map(|step| json!({
            "jobs": step.jobs,
            "for_seconds": seconds(step.r#for.as_ref()),
            "instances": step.instances,
        })).collect::<Vec<_>>(),
    })
}

/// Dollars; null where a price is unknown.
fn money(money: &v1::Money) -> Value {
    let period = |period: &Option<v1::MoneyPeriod>| {
        period.as_ref().map(|it| {
            json!({
                "from": time(it.from.as_ref()),
                "dollars": it.dollars,
                "on_demand": it.on_demand,
                "left_on": it.left_on,
                "instance_seconds": seconds(it.instance_time.as_ref()),
            })
        })
    };
    json!({
        "hour": period(&money.hour),
        "day": period(&money.day),
        "month": period(&money.month),
        "per_1000_jobs": money.per_1000_jobs,
        "prices_at": time(money.prices_at.as_ref()),
        "on_demand_as_of": or_null(&money.on_demand_as_of),
        "why_unknown": or_null(&money.why_unknown),
    })
}

fn drill(drill: &v1::Drill) -> Value {
    json!({
        "number": drill.number,
        "by": or_null(&drill.by),
        "reason": or_null(&drill.reason),
        "at": time(drill.at.as_ref()),
        "ended_at": time(drill.ended_at.as_ref()),
        "instances": drill.instances.iter().map(drilled).collect::<Vec<_>>(),
    })
}

fn drilled(it: &v1::DrillInstance) -> Value {
    json!({
        "id": or_null(&it.id),
        "token": or_null(&it.token),
        "outcome": or_null(&it.outcome),
        "cause": or_null(&it.cause),
        "stays": or_null(&it.stays),
        "is_free": it.is_free,
        "planned_at": time(it.planned_at.as_ref()),
        "accepted_at": time(it.accepted_at.as_ref()),
        "running_at": time(it.running_at.as_ref()),
        "registered_at": time(it.registered_at.as_ref()),
        "ready_at": time(it.ready_at.as_ref()),
        "draining_at": time(it.draining_at.as_ref()),
        "drained_at": time(it.drained_at.as_ref()),
        "terminating_at": time(it.terminating_at.as_ref()),
        "gone_at": time(it.gone_at.as_ref()),
    })
}

fn blocked(blocked: &v1::LaunchesBlocked) -> Value {
    json!({
        "class": blocked.class,
        "code": blocked.code,
        "message": blocked.message,
        "at": time(blocked.at.as_ref()),
        "retried_at": time(blocked.retried_at.as_ref()),
        "needs_a_person": blocked.needs_a_person,
        "after_accept": blocked.after_accept,
    })
}

fn backlog(backlog: &v1::Backlog) -> Value {
    json!({
        "at": time(backlog.at.as_ref()),
        "waiting": backlog.waiting,
        "prioritized": backlog.prioritized,
        "delayed": backlog.delayed,
        "delayed_due": backlog.delayed_due,
        "active": backlog.active,
        "demand": backlog.demand,
        "paused": backlog.paused,
        "concurrency": backlog.concurrency,
        "oldest_age_seconds": seconds(backlog.oldest_age.as_ref()),
        "completed": backlog.completed,
        "failed": backlog.failed,
    })
}

fn instance(instance: &v1::Instance) -> Value {
    json!({
        "id": or_null(&instance.id),
        "token": instance.token,
        "phase": instance.phase,
        "phase_reason": instance.phase_reason,
        "phase_since": time(instance.phase_since.as_ref()),
        "phase_deadline": time(instance.phase_deadline.as_ref()),
        "launched_at": time(instance.launched_at.as_ref()),
        "instance_type": or_null(&instance.instance_type),
        "availability_zone": or_null(&instance.availability_zone),
        "image_id": or_null(&instance.image_id),
        "capacity_type": or_null(&instance.capacity_type),
        "ec2_state": or_null(&instance.ec2_state),
        "connected": instance.connected,
        "stale": instance.stale,
        "last_heartbeat_at": time(instance.last_heartbeat_at.as_ref()),
        "heartbeat": instance.heartbeat.as_ref().map(heartbeat),
        "boot_steps": instance.boot_steps.iter().map(step).collect::<Vec<_>>(),
        "notices": instance.notices.iter().map(notice).collect::<Vec<_>>(),
        "agent_version": or_null(&instance.agent_version),
        "jobs_in_redis": instance.jobs_in_redis,
        "jobs_handed_back": instance.jobs_handed_back,
        "hand_back": or_null(&instance.hand_back),
        "terminate_problem": or_null(&instance.terminate_problem),
        "worker_log": or_null(&instance.worker_log),
        "for_drill": instance.for_drill,
        "other_image": instance.other_image,
        "other_commit": instance.other_commit,
        "dollars_per_hour": instance.dollars_per_hour,
    })
}

fn heartbeat(beat: &v1::Heartbeat) -> Value {
    json!({
        "phase": short(beat.phase().as_str_name(), "AGENT_PHASE_"),
        "worker": beat.worker.as_ref().map(|worker| json!({
            "proven": worker.proven,
            "processes": worker.processes,
            "restarts": worker.restarts,
            "connections": worker.connections,
            "fetching": worker.fetching,
            "live_locks": worker.live_locks,
            "by": or_null(&worker.by),
            "missing": or_null(&worker.missing),
            "waits_for": or_null(&worker.waits_for),
            "log_tail": or_null(&worker.log_tail),
        })),
        "active_jobs": beat.active_jobs,
        "oldest_lock_age_seconds": seconds(beat.oldest_lock_age.as_ref()),
        "redis_round_trip_seconds": seconds(beat.redis_round_trip.as_ref()),
        "git_commit": or_null(&beat.git_commit),
        "image_id": or_null(&beat.image_id),
        "lockfile": or_null(&beat.lockfile),
        "cpu_percent": beat.cpu_percent,
        "memory_used_bytes": beat.memory_used_bytes,
        "memory_total_bytes": beat.memory_total_bytes,
        "problem": or_null(&beat.problem),
        "unprotected": beat.unprotected,
        "queues": beat.queues.iter().map(|it| json!({ "queue": it.queue, "prefix": it.prefix })).collect::<Vec<_>>(),
    })
}

/// One step of a boot.
pub fn step(step: &v1::BootStep) -> Value {
    json!({
        "name": step.name,
        "command": step.command,
        "state": short(step.state().as_str_name(), "STEP_STATE_"),
        "attempt": step.attempt,
        "started_at": time(step.started_at.as_ref()),
        "took_seconds": seconds(step.took.as_ref()),
        "exit_code": step.exit_code,
        "output_tail": step.output_tail,
        "problem": or_null(&step.problem),
    })
}

fn notice(notice: &v1::Notice) -> Value {
    json!({
        "kind": short(notice.kind().as_str_name(), "NOTICE_KIND_"),
        "action": or_null(&notice.action),
        "at": time(notice.at.as_ref()),
        "seen_at": time(notice.seen_at.as_ref()),
    })
}

pub fn plan(plan: &v1::PlanRecord) -> Value {
    json!({
        "pool": plan.pool,
        "at": time(plan.at.as_ref()),
        "until": time(plan.until.as_ref()),
        "times": plan.times,
        "demand": plan.demand,
        "desired": plan.desired,
        "decisions": plan.decisions.iter().map(|decision| json!({
            "kind": decision.kind,
            "instance": or_null(&decision.instance),
            "reason": decision.reason,
        })).collect::<Vec<_>>(),
        "notes": plan.notes,
    })
}

/// The floods of the past.
pub fn history(history: &v1::GetHistoryResponse) -> Value {
    json!({
        "begins": time(history.begins.as_ref()),
        "being_read": history.is_being_read,
        "floods": history.floods.iter().map(flood).collect::<Vec<_>>(),
    })
}

fn flood(flood: &v1::Flood) -> Value {
    let decision = |past: &v1::PastDecision| {
        let decision = past.decision.clone().unwrap_or_default();
        json!({
            "at": time(past.at.as_ref()),
            "kind": decision.kind,
            "instance": or_null(&decision.instance),
            "reason": decision.reason,
        })
    };
    json!({
        "pool": flood.pool,
        "began_at": time(flood.began_at.as_ref()),
        "wanted_at": time(flood.wanted_at.as_ref()),
        "ended_at": time(flood.ended_at.as_ref()),
        "most_waiting": flood.most_waiting,
        "most_waiting_at": time(flood.most_waiting_at.as_ref()),
        "most_desired": flood.most_desired,
        "longest_wait_seconds": seconds(flood.longest_wait.as_ref()),
        "jobs_started": flood.jobs_started,
        "wait_median_seconds": seconds(flood.wait_median.as_ref()),
        "wait_p95_seconds": seconds(flood.wait_p95.as_ref()),
        "jobs_finished": flood.jobs_finished,
        "jobs_failed": flood.jobs_failed,
        "launched": flood.launched,
        "first_ready_after_seconds": seconds(flood.first_ready_after.as_ref()),
        "never_ready": flood.never_ready,
        "interrupted": flood.interrupted,
        "instance_seconds": seconds(flood.instance_time.as_ref()),
        "decisions": flood.decisions.iter().map(decision).collect::<Vec<_>>(),
        "decisions_left_out": flood.decisions_left_out,
        "partial": flood.is_partial,
        "dollars": flood.dollars,
    })
}

fn or_null(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

fn time(at: Option<&Timestamp>) -> Option<String> {
    let at = at?;
    let nanos = i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
    at.format(&time::format_description::well_known::Rfc3339).ok()
}

fn seconds(span: Option<&Duration>) -> Option<f64> {
    span.map(|span| span.seconds as f64 + f64::from(span.nanos) / 1e9)
}
