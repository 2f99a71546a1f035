//! Jobs are ready to run, an instance is ready, and it takes none: it works something else, or nothing.
//!
//! Where no job runs anywhere the fault may be the queue's, and a person is told. Where others take jobs and one
//! instance takes none it is drained and replaced, whatever its agent says of it.

use std::time::Duration;

use crate::backlog::{Backlog, QueueBacklog};
use crate::config::Config;
use crate::instance::Instance;
use crate::phase::DrainCause;
use crate::phases::draining;
use crate::plan::{AlertKind, Plan};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// Neither a person is told nor an instance drained before this.
const TOLD_AFTER: Duration = Duration::from_secs(300);

/// One observation of the queues. Every one in a row must show jobs that could start, none that runs, and a ready
/// instance.
pub(super) fn observed(state: &mut State, now: Timestamp, backlog: &Backlog, config: &Config) {
    let is_gap = state.backlog.as_ref().is_none_or(|(_, last)| now.since(*last) > config.longest_gap());
    let has_job_to_take = backlog.queues.iter().any(QueueBacklog::has_job_to_take);
    for instance in &mut state.instances {
        let before = instance.takes_none_since.filter(|_| !is_gap);
        let takes_none = has_job_to_take && takes_none(instance, now, config);
        instance.takes_none_since = takes_none.then(|| before.unwrap_or(now));
    }
    let ready = state.instances.iter().find(|instance| instance.is_capacity()).and_then(|instance| instance.id.clone());
    let Some(id) = ready.filter(|_| backlog.demand() > 0 && backlog.active() == 0) else {
        state.nothing_taken_since = None;
        state.alerts.remove(&AlertKind::NothingTaken);
        return;
    };
    if is_gap {
        state.nothing_taken_since = None;
    }
    let span = now.since(*state.nothing_taken_since.get_or_insert(now));
    if span >= TOLD_AFTER {
        state.raise(AlertKind::NothingTaken, Reason::NothingTaken { id, demand: backlog.demand(), span });
    }
}

/// It is capacity, and Redis shows no job there. Of a worker without a name Redis shows nothing, whatever it runs; one
/// that is held back says so.
fn takes_none(instance: &Instance, now: Timestamp, config: &Config) -> bool {
    let is_seen = |at: Timestamp| now.since(at) <= config.longest_gap();
    instance.is_capacity()
        && instance.agent.named
        && !instance.agent.is_rate_limited
        && instance.jobs_in_redis.is_some_and(|(jobs, at)| jobs == 0 && is_seen(at))
}

/// Drains what takes no job, and has a person told: another instance of the same image may do the same. An operator's
/// hold keeps it, and one whose agent is silent cannot be told.
pub(super) fn tick(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    if state.hold.is_some() {
        return;
    }
    let (demand, after) = (state.demand().unwrap_or(0), TOLD_AFTER.max(config.longest_gap()));
    let mut told = None;
    for instance in &mut state.instances {
        let Some(span) = instance.takes_none_since.map(|since| now.since(since)).filter(|span| *span >= after) else {
            continue;
        };
        if !instance.is_capacity() || instance.is_silent(now, config.heartbeat_timeout) {
            continue;
        }
        let Some(id) = instance.id.clone() else { continue };
        let reason = Reason::TakesNoJob { id, demand, span };
        told = Some(reason.clone());
        let deadline = now + config.drain_timeout;
        plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::TakesNoJob, reason));
    }
    if let Some(reason) = told {
        state.raise(AlertKind::NothingTaken, reason);
    }
}
