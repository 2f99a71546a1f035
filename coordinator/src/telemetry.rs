//! Logs and metrics.
//!
//! Every metric, its kind and what it is, is in `names`; the page that operators read is `coordinator/README.md`, which
//! a test holds to it. Labels are bounded: pools, queues, phases, kinds of reasons, steps; never an instance. There is
//! no metric yet of offerings and budgets: they come with what they measure. What has cents is written by `prices`.
//!
//! - `names`: every metric
//! - `queues`, `images`: gauges of a pool's queues and of its image
//! - `traces`: spans of ticks, where a collector is named
//! - `happenings`: what is counted and timed when it happens; `lives`: what happened to instances, seen in their states

mod happenings;
mod images;
mod lives;
mod names;
mod queues;
pub mod traces;

use std::sync::OnceLock;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use spillway_attention::Kind;
use spillway_brain::{AlertKind, Timestamp};
use spillway_proto::v1;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

pub use happenings::{decided, lived, observed, ran, ticked};
pub use lives::Lives;

use crate::clock;
use crate::reconcile::PoolStatus;
use crate::wire_time::from_timestamp;
use lives::Interrupted;

/// Every launch is of a spot instance.
const CAPACITY_TYPE: &str = "spot";
/// Of the repository that this was built from, where whoever built it said so.
const COMMIT: &str = match option_env!("SPILLWAY_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
const PHASES: [&str; 5] = ["launching", "booting", "ready", "draining", "terminating"];

/// Logs go to stderr, which is the journal under systemd (without times, since the journal has its own). `level` is as
/// in `RUST_LOG`; among its parts may be `json`, and where no other is, the `usual` level holds.
///
/// # Errors
/// It is neither a level nor a filter: what is wrong, and what to write.
pub fn install_logs(level: Option<&str>, usual: &str, json: bool) -> Result<(), String> {
    let (level, is_json) = without_json(level.unwrap_or_default());
    let json = json || is_json;
    let filter = spillway_settings::log_filter(if level.is_empty() { usual } else { &level })?;
    let filter = EnvFilter::try_new(&filter).map_err(|error| format!("\"{level}\" is not a log filter ({error})"))?;
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    // Fails in a second call (several tests in one process), which keeps the first one's subscriber.
    let _ = match (json, in_journal) {
        // One object a line, its fields beside each other.
        (true, _) => logs.json().flatten_event(true).try_init(),
        (false, true) => logs.without_time().try_init(),
        (false, false) => logs.try_init(),
    };
    Ok(())
}

/// The other parts of a level, and whether `json` is among them.
fn without_json(level: &str) -> (String, bool) {
    let (json, others): (Vec<&str>, Vec<&str>) = level.split(',').map(str::trim).partition(|part| *part == "json");
    (others.join(","), !json.is_empty())
}

/// Installs the process' metrics recorder; later calls return the same handle.
pub fn install_metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = names::builder().build_recorder();
            let handle = recorder.handle();
            // Fails only if another recorder is installed: then this one stays empty, and `/metrics` too.
            if metrics::set_global_recorder(recorder).is_ok() {
                names::describe();
                let version = env!("CARGO_PKG_VERSION");
                gauge!("spillway_build_info", "version" => version, "commit" => COMMIT).set(1.0);
            }
            handle
        })
        .clone()
}

/// Updates the metrics from the pools' statuses.
pub fn record(pools: &[PoolStatus]) {
    // Nothing is said while EC2 has not told.
    if let Some(left) = pools.iter().find_map(|status| status.left_volumes.as_ref()) {
        gauge!("spillway_left_volumes").set(left.ids.len() as f64);
    }
    for status in pools {
        queues::record(status);
        conditions(status);
        instances(status);
        images::record(&status.view.name, &status.view);
    }
}

/// Updates what needs a person in the installation as a whole.
pub fn needed(found: &[v1::Finding]) {
    attention("", found);
}

/// Of one pool, or of the installation: which kinds there are, and which not.
fn attention(pool: &str, found: &[v1::Finding]) {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_of_installation() == pool.is_empty()) {
        let is_so = found.iter().any(|finding| finding.kind == kind.as_str());
        gauge!("spillway_attention", "pool" => pool.to_owned(), "kind" => kind.as_str()).set(flag(is_so));
    }
}

/// A pool that this process runs no more, and whose series stay: nothing is so of it any more.
pub fn gone(pool: &str) {
    let set = setter(pool);
    ["spillway_leader", "spillway_hold", "spillway_breaker_open"].into_iter().for_each(|name| set(name, 0.0));
    for kind in AlertKind::ALL {
        gauge!("spillway_alert", "pool" => pool.to_owned(), "kind" => kind.as_str()).set(0.0);
    }
    attention(pool, &[]);
}

/// Sets gauges of one pool.
fn setter(pool: &str) -> impl Fn(&'static str, f64) + use<'_> {
    move |name, value| gauge!(name, "pool" => pool.to_owned()).set(value)
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// What is so or is not.
fn conditions(status: &PoolStatus) {
    let view = &status.view;
    let set = setter(&view.name);
    set("spillway_observation_up", flag(status.queue_serving));
    set("spillway_cloud_up", flag(status.cloud_serving));
    set("spillway_leader", flag(status.leading));
    // A standby's is of when it led.
    set("spillway_hold", flag(status.leading && view.held));
    set("spillway_breaker_open", flag(status.is_breaker_open));
    for (class, is_blocked) in &status.launches.blocked {
        gauge!("spillway_launches_blocked", "pool" => view.name.clone(), "class" => *class).set(flag(*is_blocked));
    }
    for kind in AlertKind::ALL {
        gauge!("spillway_alert", "pool" => view.name.clone(), "kind" => kind.as_str())
            .set(flag(status.alerts.contains(&kind)));
    }
    attention(&view.name, &view.attention);
}

fn instances(status: &PoolStatus) {
    let view = &status.view;
    let set = setter(&view.name);
    for phase in PHASES {
        for capacity_type in [CAPACITY_TYPE, "on-demand"] {
            // Every launch is of a spot instance, also where EC2's list has not shown it yet.
            let is_of = |it: &&v1::Instance| {
                it.phase == phase && (it.capacity_type == "on-demand") == (capacity_type == "on-demand")
            };
            let count = view.instances.iter().filter(is_of).count();
            gauge!("spillway_instances", "pool" => view.name.clone(), "phase" => phase, "capacity_type" => capacity_type)
                .set(count as f64);
        }
    }
    if let Some(desired) = view.desired {
        set("spillway_instances_desired", f64::from(desired));
    }
    set("spillway_instances_max", f64::from(view.max_instances));
    set("spillway_heartbeat_age_seconds", heartbeat_age(view, clock::now()));
    for (outcome, launches) in &status.launches.outcomes {
        let (pool, capacity_type) = (view.name.clone(), CAPACITY_TYPE);
        counter!("spillway_launches_total", "pool" => pool, "capacity_type" => capacity_type, "outcome" => *outcome)
            .absolute(*launches);
    }
    for how in Interrupted::ALL {
        happenings::interruptions(&view.name, how).increment(0);
    }
    counter!("spillway_instances_launched_total", "pool" => view.name.clone()).absolute(view.launched_total);
    counter!("spillway_instances_terminated_total", "pool" => view.name.clone()).absolute(view.terminated_total);
    counter!("spillway_jobs_handed_back_total", "pool" => view.name.clone()).absolute(view.jobs_handed_back_total);
}

/// Of the agent that has been silent for longest, among those whose instances work or drain; 0 where there is none.
fn heartbeat_age(view: &v1::Pool, now: Timestamp) -> f64 {
    let is_worker = |it: &&v1::Instance| matches!(it.phase.as_str(), "booting" | "ready" | "draining");
    let last = view.instances.iter().filter(is_worker).filter_map(|it| it.last_heartbeat_at.as_ref());
    let oldest = last.map(from_timestamp).min();
    oldest.map_or(0.0, |at| now.since(at).as_secs_f64())
}

#[cfg(test)]
mod tests;
