//! Metrics of a pool's queues.

use metrics::gauge;

use super::{happenings, setter};
use crate::reconcile::PoolStatus;

/// As last observed: what cannot be read keeps its value.
pub(super) fn record(status: &PoolStatus) {
    let (pool, set) = (&status.view.name, setter(&status.view.name));
    set("spillway_pool_target_seconds", status.target.as_secs_f64());
    if let Some(backlog) = &status.view.backlog {
        set("spillway_queue_demand", backlog.demand as f64);
    }
    for queue in &status.queues {
        for (state, jobs) in [
            ("waiting", queue.waiting),
            ("prioritized", queue.prioritized),
            ("delayed", queue.delayed),
            ("delayed_due", queue.delayed_due),
            ("active", queue.active),
            ("completed", queue.completed),
            ("failed", queue.failed),
        ] {
            let (pool, queue) = (pool.clone(), queue.queue.clone());
            gauge!("spillway_queue_jobs", "pool" => pool, "queue" => queue, "state" => state).set(jobs as f64);
        }
        let oldest = queue.oldest_age.map_or(0.0, |age| age.as_secs_f64());
        gauge!("spillway_queue_oldest_age_seconds", "pool" => pool.clone(), "queue" => queue.queue.clone()).set(oldest);
        // They are there before the first job is seen.
        drop(happenings::jobs(pool, &queue.queue));
    }
}
