//! Every metric that there is: its kind, its buckets, and what is said of it in `/metrics`.

use metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

/// What a metric is; of a histogram, its buckets: few, since each is a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram(&'static [f64]),
}

use Kind::{Counter, Gauge, Histogram};

/// Seconds of waits and of work that is done for jobs.
const JOBS: Kind = Histogram(&[1.0, 10.0, 60.0, 300.0, 600.0, 1800.0, 7200.0]);
/// Seconds of parts of a boot.
const BOOT: Kind = Histogram(&[5.0, 30.0, 120.0]);
/// Seconds from a launch to a ready worker.
const BOOTS: Kind = Histogram(&[30.0, 60.0, 120.0, 180.0, 300.0, 600.0]);
const DRAIN: Kind = Histogram(&[10.0, 60.0, 600.0, 1800.0]);
/// Seconds of calls over the network.
const CALL: Kind = Histogram(&[0.1, 0.5, 2.0, 10.0]);
const LOOP: Kind = Histogram(&[0.01, 0.1, 1.0, 5.0]);

pub(super) const METRICS: &[(&str, Kind, &str)] = &[
    ("spillway_alert", Gauge, "Whether a person is needed for this, and it is not over."),
    ("spillway_attention", Gauge, "Whether a person is needed for this, by what page and messages say."),
    ("spillway_boot_seconds", BOOT, "What boot steps took that succeeded."),
    ("spillway_boot_step_seconds", Gauge, "The median of what a boot step took in the last boots."),
    ("spillway_breaker_open", Gauge, "Whether the breaker holds launches back."),
    ("spillway_build_info", Gauge, "The version of this coordinator; always 1."),
    ("spillway_certificate_expiry_timestamp_seconds", Gauge, "When a certificate of gRPC's TLS ends."),
    ("spillway_cloud_request_duration_seconds", CALL, "How long calls of EC2's API took."),
    ("spillway_cloud_requests_total", Counter, "Calls of EC2's API, by what became of them."),
    ("spillway_cloud_up", Gauge, "Whether EC2's instances can be listed."),
    ("spillway_cost_dollars_total", Counter, "What instances have cost, by their prices."),
    ("spillway_decisions_total", Counter, "Decisions, by what was decided and what kind of reason there was."),
    ("spillway_drain_seconds", DRAIN, "How long drains took, to the termination."),
    ("spillway_heartbeat_age_seconds", Gauge, "Age of the oldest last heartbeat among agents that work."),
    ("spillway_hold", Gauge, "Whether an operator holds the pool."),
    ("spillway_image_age_seconds", Gauge, "Age of the image that launches take."),
    ("spillway_instances", Gauge, "Instances."),
    ("spillway_instances_desired", Gauge, "Desired capacity."),
    ("spillway_instances_launched_total", Counter, "Launches that EC2 accepted."),
    ("spillway_instances_max", Gauge, "The cap on instances that are running or starting."),
    ("spillway_instances_other_commit", Gauge, "Instances that run another commit than the primary."),
    ("spillway_instances_stale", Gauge, "Instances of another image than launches take."),
    ("spillway_instances_terminated_total", Counter, "Instances that were terminated."),
    ("spillway_interruptions_total", Counter, "Notices, recommendations and ends without notice."),
    ("spillway_job_duration_seconds", JOBS, "How long jobs ran that were seen to end."),
    ("spillway_job_target_missed_total", Counter, "Jobs seen to start that had waited longer than the target."),
    ("spillway_job_wait_seconds", JOBS, "How long jobs had waited that were seen to start."),
    ("spillway_jobs_handed_back_total", Counter, "Jobs that were requeued: handed back."),
    ("spillway_launch_to_ready_seconds", BOOTS, "From an accepted launch to a worker that was proven to work."),
    ("spillway_launches_blocked", Gauge, "Whether launches are held back by this."),
    ("spillway_launches_total", Counter, "EC2's answers to launches."),
    ("spillway_leader", Gauge, "Whether this coordinator leads."),
    ("spillway_left_volumes", Gauge, "Volumes that instances which are gone left behind."),
    ("spillway_observation_seconds", LOOP, "How long observations of the queues took."),
    ("spillway_observation_up", Gauge, "Whether the queues can be read."),
    ("spillway_pool_target_seconds", Gauge, "How long jobs should wait at most (pool.target)."),
    ("spillway_queue_demand", Gauge, "Jobs that are ready to run."),
    ("spillway_queue_jobs", Gauge, "Jobs in a queue."),
    ("spillway_queue_oldest_age_seconds", Gauge, "How long the oldest job has waited that could start."),
    ("spillway_registrations_total", Counter, "Registrations of agents."),
    ("spillway_tick_seconds", LOOP, "How long ticks took that decided, with saving the ledger."),
];

/// With the buckets of every histogram.
pub(super) fn builder() -> PrometheusBuilder {
    let histograms = METRICS.iter().filter_map(|(name, kind, _)| match kind {
        Histogram(buckets) => Some((*name, *buckets)),
        Counter | Gauge => None,
    });
    histograms.fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
        // Fails only where there is no bucket.
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets).unwrap_or_default()
    })
}

/// Tells the recorder what each metric is.
pub(super) fn describe() {
    for (name, kind, help) in METRICS {
        match kind {
            Counter => describe_counter!(*name, *help),
            Gauge => describe_gauge!(*name, *help),
            Histogram(_) => describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_metric_and_no_other() {
        let page = include_str!("../../README.md");
        let section = page.split("\n## Metrics").nth(1).and_then(|it| it.split("\n## ").next()).expect("a section");
        let first_cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let mut named: Vec<&str> = first_cells.flat_map(|cell| cell.split(['`', ',', ' '])).collect();
        named.retain(|name| name.starts_with("spillway_"));
        named.sort_unstable();
        let names: Vec<&str> = METRICS.iter().map(|(name, _, _)| *name).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(named, names);
    }

    #[test]
    fn counters_and_no_others_are_called_total() {
        for (name, kind, help) in METRICS {
            assert_eq!(name.ends_with("_total"), *kind == Counter, "{name}");
            assert!(help.ends_with('.') && help.len() > 8, "{name}: {help}");
        }
    }
}
