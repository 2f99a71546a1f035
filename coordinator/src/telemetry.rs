//! Logs and metrics.
//!
//! | metric | type | labels |
//! |---|---|---|
//! | `spillway_queue_jobs` | gauge | `pool`, `state` (waiting, prioritized, delayed, delayed_due, active) |
//! | `spillway_queue_demand` | gauge | `pool` |
//! | `spillway_queue_oldest_age_seconds` | gauge | `pool` |
//! | `spillway_observation_seconds` | gauge | `pool`: how long the last observation took |
//! | `spillway_observation_up`, `spillway_cloud_up`, `spillway_leader` | gauge, 0 or 1 | `pool` |
//! | `spillway_instances` | gauge | `pool`, `phase` |
//! | `spillway_instances_desired`, `spillway_instances_max` | gauge | `pool` |
//! | `spillway_launches_total` | counter | `pool`, `capacity_type`, `outcome` (accepted, refused_capacity, taken_back_capacity, …) |
//! | `spillway_launches_blocked` | gauge, 0 or 1 | `pool`, `class` (capacity, quota, …, breaker) |
//! | `spillway_registrations_total` | counter | `outcome`: accepted, refused, unavailable (STS or the ledger did not answer) |
//! | `spillway_certificate_expiry_timestamp_seconds` | gauge | of: ca, server (set by `tls`) |
//! | `spillway_left_volumes` | gauge | none: volumes that ended instances of the installation left behind |
//! | `spillway_image_age_seconds` | gauge | `pool`: of the image that launches take; NaN while that is not known, and of a standby |
//! | `spillway_instances_stale` | gauge | `pool`: instances of another image than launches take; NaN likewise |
//! | `spillway_instances_other_commit` | gauge | `pool`: instances of another commit than the primary; NaN while that is unknown |
//! | `spillway_boot_step_seconds` | gauge | `pool`, `step` (16 of a pool): the median of the last boots |
//! | `spillway_instances_launched_total`, `spillway_instances_terminated_total` | counter | `pool` |

mod images;

use std::sync::OnceLock;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::reconcile::PoolStatus;

/// Every launch is of a spot instance.
const CAPACITY_TYPE: &str = "spot";
const PHASES: [&str; 5] = ["launching", "booting", "ready", "draining", "terminating"];

/// Logs go to stderr, which is the journal under systemd (without times, since the journal has its own). `level` is as
/// in `RUST_LOG`.
///
/// # Errors
/// It is neither a level nor a filter: what is wrong, and what to write.
pub fn install_logs(level: &str, json: bool) -> Result<(), String> {
    let filter = spillway_settings::log_filter(level)?;
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
        (true, _) => logs.json().try_init(),
        (false, true) => logs.without_time().try_init(),
        (false, false) => logs.try_init(),
    };
    Ok(())
}

/// Installs the process' metrics recorder; later calls return the same handle.
pub fn install_metrics() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            // Fails only if another recorder is installed: then this one stays empty, and `/metrics` too.
            let _ = metrics::set_global_recorder(recorder);
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
        let view = &status.view;
        let pool = view.name.clone();
        let set = |name: &'static str, value: f64| gauge!(name, "pool" => pool.clone()).set(value);
        if let Some(backlog) = &view.backlog {
            for (state, jobs) in [
                ("waiting", backlog.waiting),
                ("prioritized", backlog.prioritized),
                ("delayed", backlog.delayed),
                ("delayed_due", backlog.delayed_due),
                ("active", backlog.active),
            ] {
                gauge!("spillway_queue_jobs", "pool" => pool.clone(), "state" => state).set(jobs as f64);
            }
            set("spillway_queue_demand", backlog.demand as f64);
            let oldest = backlog.oldest_age.as_ref().map_or(0.0, |age| age.seconds as f64 + f64::from(age.nanos) / 1e9);
            set("spillway_queue_oldest_age_seconds", oldest);
        }
        if let Some(took) = status.observation_took {
            set("spillway_observation_seconds", took.as_secs_f64());
        }
        set("spillway_observation_up", f64::from(u8::from(status.queue_serving)));
        set("spillway_cloud_up", f64::from(u8::from(status.cloud_serving)));
        set("spillway_leader", f64::from(u8::from(status.leading)));
        for phase in PHASES {
            let count = view.instances.iter().filter(|instance| instance.phase == phase).count();
            gauge!("spillway_instances", "pool" => pool.clone(), "phase" => phase).set(count as f64);
        }
        if let Some(desired) = view.desired {
            set("spillway_instances_desired", f64::from(desired));
        }
        set("spillway_instances_max", f64::from(view.max_instances));
        images::record(&pool, view);
        for (outcome, launches) in &status.launches.outcomes {
            let (pool, capacity_type) = (pool.clone(), CAPACITY_TYPE);
            counter!("spillway_launches_total", "pool" => pool, "capacity_type" => capacity_type, "outcome" => *outcome)
                .absolute(*launches);
        }
        for (class, is_blocked) in &status.launches.blocked {
            gauge!("spillway_launches_blocked", "pool" => pool.clone(), "class" => *class)
                .set(f64::from(u8::from(*is_blocked)));
        }
        counter!("spillway_instances_launched_total", "pool" => pool.clone()).absolute(view.launched_total);
        counter!("spillway_instances_terminated_total", "pool" => pool.clone()).absolute(view.terminated_total);
        counter!("spillway_jobs_handed_back_total", "pool" => pool.clone()).absolute(view.jobs_handed_back_total);
    }
}
