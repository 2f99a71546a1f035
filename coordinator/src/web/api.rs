//! What the page shows, as JSON: times in milliseconds since the epoch, spans in seconds, null where nothing is known.
//! `status` alone is the document of `spillway status --json`.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use spillway_proto::v1;
use spillway_record::Decided;

use super::Context;
use super::guard::{refused, viewers_only};
use crate::reconcile::PoolHandle;
use crate::wire_time::from_timestamp;
use crate::{VERSION, clock, fleet, requests};

const HOUR_MS: u64 = 3_600_000;
const BUCKETS: u64 = 240;
const PLANS: usize = 20;
const MOST_PLANS: usize = 200;

pub(super) async fn session(State(context): State<Context>) -> Response {
    let why_not = viewers_only(context.served.listen, context.served.operators);
    let pools: Vec<String> = context.served.pools.shown().iter().map(|pool| pool.name.clone()).collect();
    axum::Json(json!({
        "version": VERSION,
        "pools": pools,
        "may_act": why_not.is_none(),
        "why_not": why_not.unwrap_or_default(),
        "now": clock::now().0,
    }))
    .into_response()
}

pub(super) async fn status(State(context): State<Context>) -> Response {
    axum::Json((context.served.pages.status)(&fleet::shown(&context.served.pools))).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct Range {
    #[serde(default)]
    pool: String,
    from: Option<u64>,
    to: Option<u64>,
    buckets: Option<u64>,
}

/// The pool of this name, or the first.
fn pool(context: &Context, name: &str) -> Result<PoolHandle, Box<Response>> {
    let found = requests::pools(&context.served.pools, name).map(|mut pools| pools.swap_remove(0));
    found.map_err(|why| Box::new(refused(StatusCode::NOT_FOUND, &why.to_string(), "")))
}

pub(super) async fn history(State(context): State<Context>, Query(range): Query<Range>) -> Response {
    let pool = match pool(&context, &range.pool) {
        Ok(pool) => pool,
        Err(response) => return *response,
    };
    let now = clock::now().0;
    let to = range.to.unwrap_or(now).min(now.saturating_add(HOUR_MS));
    let from = range.from.unwrap_or(to.saturating_sub(HOUR_MS)).min(to);
    let (buckets, decisions, left_out, lanes) = {
        let past = pool.past.look();
        let buckets = past.buckets(from, to, range.buckets.unwrap_or(BUCKETS), now);
        let (decisions, left_out) = past.decisions(from, to);
        (buckets, decisions, left_out, past.lanes(from, to))
    };
    let policy = &pool.config.brain.policy;
    let steps: Vec<Value> = policy
        .steps
        .iter()
        .map(|step| json!({ "jobs": step.jobs, "for": step.over.as_secs_f64(), "instances": step.instances }))
        .collect();
    let mut answer = json!(buckets);
    answer["pool"] = json!(pool.name);
    answer["steps"] = json!(steps);
    answer["idle"] = json!(policy.idle.as_secs_f64());
    answer["decisions"] = json!(decisions);
    answer["decisions_left_out"] = json!(left_out);
    let prices = pool.prices.of_lanes(&lanes);
    answer["lanes"] = json!(lanes);
    for (lane, price) in answer["lanes"].as_array_mut().into_iter().flatten().zip(prices) {
        lane["price_per_hour"] = json!(price);
    }
    answer["primary"] = json!(primary(&pool.status.borrow().view).into_iter().flatten().collect::<Vec<_>>());
    axum::Json(answer).into_response()
}

/// The primary's worker, of which its jobs alone are seen: those that run and that no instance holds. None while the
/// queues cannot be read; null where an instance's jobs are not known.
fn primary(view: &v1::Pool) -> Option<[Value; 1]> {
    let backlog = view.backlog.as_ref().filter(|_| view.observation_problem.is_empty())?;
    let there = view.instances.iter().filter(|it| ["ready", "draining"].contains(&it.phase.as_str()));
    let held: Option<u64> = there.map(|it| it.jobs_in_redis.map(u64::from)).sum();
    let jobs = held.map(|held| backlog.active.saturating_sub(held));
    let connected = jobs.is_some_and(|jobs| jobs > 0).then_some(true);
    Some([json!({ "name": "primary", "jobs": jobs, "connected": connected })])
}

#[derive(Debug, Deserialize)]
pub(super) struct At {
    #[serde(default)]
    pool: String,
    at: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn plans(State(context): State<Context>, Query(asked): Query<At>) -> Response {
    let pool = match pool(&context, &asked.pool) {
        Ok(pool) => pool,
        Err(response) => return *response,
    };
    let limit = asked.limit.unwrap_or(PLANS).min(MOST_PLANS);
    let at = asked.at.unwrap_or_else(|| clock::now().0);
    let found = pool.past.look().plans(at, limit);
    let mut until = at;
    let plans: Vec<Value> = found
        .iter()
        .map(|decided| {
            let shown = plan(decided, until);
            until = decided.plan.at.0;
            shown
        })
        .collect();
    axum::Json(json!({ "plans": plans })).into_response()
}

/// `until`: when the next one was made.
fn plan(decided: &Decided, until: u64) -> Value {
    let plan = &decided.plan;
    let decisions: Vec<Value> = plan
        .decisions
        .iter()
        .map(|it| json!({ "kind": it.decision.kind(), "instance": it.decision.subject(), "reason": it.reason.to_string() }))
        .collect();
    json!({
        "at": plan.at.0,
        "until": until,
        "demand": plan.demand,
        "desired": plan.desired,
        "decisions": decisions,
        "notes": plan.notes.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct Whose {
    #[serde(default)]
    pool: String,
}

/// What a price is missing of is null: unknown is not zero.
pub(super) async fn money(State(context): State<Context>, Query(asked): Query<Whose>) -> Response {
    let pool = match pool(&context, &asked.pool) {
        Ok(pool) => pool,
        Err(response) => return *response,
    };
    let money = pool.prices.money(&pool);
    let period = |period: &Option<v1::MoneyPeriod>| {
        period.as_ref().map(|it| json!({ "spot": it.dollars, "on_demand": it.on_demand, "left_on": it.left_on }))
    };
    axum::Json(json!({
        "known": money.why_unknown.is_empty(),
        "why_unknown": money.why_unknown,
        "currency": "USD",
        "hour": period(&money.hour),
        "day": period(&money.day),
        "month": period(&money.month),
        "per_1000_jobs": money.per_1000_jobs,
        "prices_at": money.prices_at.as_ref().map(|at| from_timestamp(at).0),
        "on_demand_as_of": money.on_demand_as_of,
    }))
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_has_the_jobs_that_no_instance_holds() {
        let instance = |jobs_in_redis| v1::Instance { phase: "ready".into(), jobs_in_redis, ..v1::Instance::default() };
        let backlog = Some(v1::Backlog { active: 5, ..v1::Backlog::default() });
        let mut view =
            v1::Pool { backlog, instances: vec![instance(Some(2)), instance(Some(1))], ..Default::default() };
        let jobs = |view: &v1::Pool| primary(view).map(|[it]| it["jobs"].clone());
        assert_eq!(jobs(&view), Some(json!(2)));
        view.instances.push(instance(None));
        assert_eq!(jobs(&view), Some(Value::Null), "one of them may be another's");
        view.observation_problem = "Redis does not answer".to_owned();
        assert_eq!(jobs(&view), None);
    }
}
