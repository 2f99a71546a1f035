//! `spillway drill`: has instances launched for a queue that is not flooded, follows them until each was ready and is
//! ended again, and reports how long each step took and what failed.
//!
//! - `follow`: the fleet, also through a restart of the coordinator, and what is said meanwhile
//! - `report`: what it came to

mod follow;
mod report;

use anyhow::bail;
use serde_json::json;
use spillway_console::client::{Address, connect, refused};
use spillway_output::{out, outln};
use spillway_proto::v1;
use spillway_words::shown::visible;

use crate::arguments::PoolArgument;
use follow::Follow;
use report::Report;

/// What a person may choose.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Number of instances to launch, within `max_instances`
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub instances: u32,
    /// Reason, for `spillway explain`
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Which drill is followed.
#[derive(Clone, Debug)]
struct Begun {
    pool: String,
    number: u64,
    /// Says what happens, where a person looks on.
    says: bool,
}

impl Begun {
    fn say(&self, what: &str) {
        if self.says {
            outln!("{}", visible(what));
            spillway_output::flush();
        }
    }
}

/// Runs it; an error where an instance was not ready. With `as_json` one object is printed whatever happens.
pub(super) async fn run(server: &Address, options: Options, pool: PoolArgument, as_json: bool) -> anyhow::Result<()> {
    let result = drill(server, options, pool, !as_json).await;
    match result {
        Ok(report) => {
            if as_json {
                outln!("{}", report.to_json());
            } else {
                out!("{}", visible(&report.in_lines()));
            }
            match report.cause() {
                Some(cause) => bail!(cause),
                None => Ok(()),
            }
        }
        Err(error) => {
            if as_json {
                outln!("{}", json!({ "ok": false, "cause": format!("{error:#}") }));
            }
            Err(error)
        }
    }
}

async fn drill(server: &Address, options: Options, pool: PoolArgument, says: bool) -> anyhow::Result<Report> {
    let mut coordinator = connect(server).await?;
    let Options { instances, reason } = options;
    let request = v1::DrillRequest { pool: pool.pool, instances: Some(instances), reason };
    let answer = coordinator.drill(request).await.map_err(refused)?.into_inner();
    let begun = Begun { pool: answer.pool, number: answer.number, says };
    begun.say(&answer.message);
    Follow::new(begun, server.clone()).until_over(coordinator).await
}
