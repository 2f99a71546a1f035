//! What operators ask of the record: plans of a time, and floods.

use std::time::Duration;

use spillway_brain::Timestamp;
use spillway_proto::times::duration;
use spillway_proto::v1;
use spillway_record::{Decided, Flood, Told};

use crate::clock;
use crate::reconcile::PoolHandle;
use crate::view;
use crate::wire_time::{from_timestamp, timestamp};

/// Of a history that names no time.
const WEEK_MS: u64 = 7 * 86_400_000;
/// Plans of one answer.
const MOST_PLANS: usize = 500;

/// Which plans of the past.
#[derive(Debug)]
pub(super) struct Asked {
    from: u64,
    to: u64,
    instance: String,
}

impl Asked {
    /// None where nothing of the past is asked for.
    pub(super) fn of(request: &v1::ExplainRequest) -> Option<Self> {
        let v1::ExplainRequest { since, until, instance, .. } = request;
        if since.is_none() && until.is_none() && instance.is_empty() {
            return None;
        }
        let now = clock::now().0;
        let to = until.as_ref().map_or(now, |until| from_timestamp(until).0.min(now));
        let from = since.as_ref().map_or(0, |since| from_timestamp(since).0);
        Some(Asked { from, to, instance: instance.clone() })
    }

    /// Newest first.
    pub(super) fn plans(&self, pool: &PoolHandle, limit: usize) -> Vec<v1::PlanRecord> {
        let limit = limit.min(MOST_PLANS);
        let past = pool.past.look();
        let mut found = match self.instance.is_empty() {
            true => past.plans(self.to, limit),
            false => past.plans_about(&self.instance, (self.from, self.to), limit),
        };
        drop(past);
        // What was in force when the time began belongs to it.
        let older = found.iter().position(|it| it.plan.at.0 < self.from);
        found.truncate(older.map_or(found.len(), |first| first + 1));
        let mut until = self.to;
        let record = |it: &std::sync::Arc<Decided>| {
            let lasted = std::mem::replace(&mut until, it.plan.at.0);
            v1::PlanRecord { until: Some(timestamp(Timestamp(lasted))), ..view::plan(&pool.name, &it.plan) }
        };
        found.iter().map(record).collect()
    }
}

/// The floods of all these pools, oldest first.
pub(super) fn history(pools: &[PoolHandle], request: &v1::GetHistoryRequest) -> v1::GetHistoryResponse {
    let now = clock::now().0;
    let to = request.until.as_ref().map_or(now, |until| from_timestamp(until).0);
    let from = request.since.as_ref().map_or(to.saturating_sub(WEEK_MS), |since| from_timestamp(since).0);
    let mut floods = Vec::new();
    let (mut begins, mut is_being_read): (Option<u64>, bool) = (None, false);
    for pool in pools {
        let past = pool.past.look();
        is_being_read |= past.is_being_read();
        begins = match (begins, past.begins()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let found = past.floods(from, to, now);
        drop(past);
        floods.extend(found.into_iter().map(|it| {
            let dollars = pool.prices.dollars(pool, it.began, it.ended.unwrap_or(now));
            v1::Flood { dollars, ..flood(&pool.name, it) }
        }));
    }
    floods.sort_by_key(|it| it.began_at.map(|at| (at.seconds, at.nanos)));
    v1::GetHistoryResponse { floods, begins: begins.map(|at| timestamp(Timestamp(at))), is_being_read }
}

fn flood(pool: &str, flood: Flood) -> v1::Flood {
    let time = |at: u64| Some(timestamp(Timestamp(at)));
    let span = |ms: u64| duration(Duration::from_millis(ms));
    let seconds = |seconds: f64| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    v1::Flood {
        pool: pool.to_owned(),
        began_at: time(flood.began),
        wanted_at: time(flood.wanted),
        ended_at: flood.ended.and_then(time),
        most_waiting: flood.most_waiting,
        most_waiting_at: time(flood.most_waiting_at),
        most_desired: flood.most_desired,
        longest_wait: flood.longest_wait.map(span),
        jobs_started: flood.started,
        wait_median: flood.wait_p50.map(seconds),
        wait_p95: flood.wait_p95.map(seconds),
        jobs_finished: flood.finished,
        jobs_failed: flood.failed,
        launched: flood.launched,
        first_ready_after: flood.first_ready_after.map(span),
        never_ready: flood.never_ready,
        interrupted: flood.interrupted,
        instance_time: Some(span(flood.instance_ms)),
        decisions: flood.decisions.into_iter().map(told).collect(),
        decisions_left_out: u32::try_from(flood.decisions_left_out).unwrap_or(u32::MAX),
        is_partial: flood.is_partial,
        dollars: None,
    }
}

fn told(Told { at, kind, instance, reason }: Told) -> v1::PastDecision {
    let decision = Some(v1::Decision { kind, instance, reason });
    v1::PastDecision { at: Some(timestamp(Timestamp(at))), decision }
}
