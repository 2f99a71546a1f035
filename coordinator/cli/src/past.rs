//! `explain` and `history`: what was decided and why, and what floods came to.

use std::time::SystemTime;

use clap::Args;
use prost_types::Timestamp;
use serde_json::json;
use spillway_console::client::{Address, connect, refused};
use spillway_console::{floods, json, words};
use spillway_coordinator::clock;
use spillway_output::{out, outln};
use spillway_proto::{times, v1};
use spillway_words::shown::visible;

use crate::arguments::PoolArgument;
use crate::when::{self, FORMS};

const NO_PLANS_YET: &str = "no plans yet: the first follows the first reading of the queues";
const NO_PLANS_THEN: &str =
    "no plans of that time are known: the newest 3,000 of the record are (`spillway history` says where it begins)";
const NO_PLANS_HERE: &str = "no plans: this coordinator is a standby, and only the leader decides. Run `spillway explain` on the \
                             leader's host, where `spillway status` does not say STANDBY";

/// Which plans of the past.
#[derive(Clone, Debug, Default, Args)]
pub struct Which {
    #[arg(long, value_name = "TIME", help = format!("The plan that was in force then, and those before it: {FORMS}"))]
    at: Option<String>,
    /// Only plans since then
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only plans that decided about this instance
    #[arg(long, value_name = "ID", default_value = "")]
    instance: String,
}

/// From when to when.
#[derive(Clone, Debug, Default, Args)]
pub struct Range {
    #[arg(long, value_name = "TIME", help = format!("Floods since then: {FORMS} [default: 7d]"))]
    since: Option<String>,
    /// Floods until then [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// A flag's time.
fn given(flag: &str, text: Option<&String>, now: SystemTime) -> anyhow::Result<Option<Timestamp>> {
    let parsed = text.map(|text| when::parse(text, now)).transpose();
    let at = parsed.map_err(|problem| anyhow::anyhow!("{flag}: {problem}"))?;
    Ok(at.map(times::timestamp))
}

pub(super) async fn explain(
    server: &Address,
    pool: PoolArgument,
    limit: u32,
    of: Which,
    as_json: bool,
) -> anyhow::Result<()> {
    let now = clock::system_now();
    let (since, until) = (given("--since", of.since.as_ref(), now)?, given("--at", of.at.as_ref(), now)?);
    let is_past = since.is_some() || until.is_some() || !of.instance.is_empty();
    let mut client = connect(server).await?;
    let request = v1::ExplainRequest { pool: pool.pool.clone(), limit, until, since, instance: of.instance };
    let plans = client.explain(request).await.map_err(refused)?.into_inner().plans;
    if as_json {
        outln!("{}", json!(plans.iter().map(json::plan).collect::<Vec<_>>()));
    } else if plans.is_empty() && is_past {
        outln!("{NO_PLANS_THEN}");
    } else if plans.is_empty() {
        let fleet = client.get_fleet(v1::GetFleetRequest { pool: pool.pool }).await.map_err(refused)?.into_inner();
        outln!("{}", if fleet.leader { NO_PLANS_YET } else { NO_PLANS_HERE });
    } else {
        out!("{}", visible(&words::plans(&plans, now)));
    }
    Ok(())
}

pub(super) async fn history(server: &Address, pool: PoolArgument, range: Range, as_json: bool) -> anyhow::Result<()> {
    let now = clock::system_now();
    let (since, until) = (given("--since", range.since.as_ref(), now)?, given("--until", range.until.as_ref(), now)?);
    let mut client = connect(server).await?;
    let request = v1::GetHistoryRequest { pool: pool.pool, since, until };
    let history = client.get_history(request).await.map_err(refused)?.into_inner();
    if as_json {
        outln!("{}", json::history(&history));
    } else {
        out!("{}", visible(&floods::floods(&history, now)));
    }
    Ok(())
}
