//! `grpc.health.v1.Health`: `spillway.queue`, `spillway.cloud`, `spillway.leader`, and `""` for the whole.
//!
//! The whole serves while queues and EC2 are seen. A standby is healthy: it serves, and only `spillway.leader` says no.

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::reconcile::PoolHandle;

/// The services that `""` is made of, and who leads.
pub const PARTS: [&str; 3] = ["spillway.queue", "spillway.cloud", "spillway.leader"];

/// What each of `PARTS` is, over all pools.
pub fn parts(pools: &[PoolHandle]) -> [bool; 3] {
    let all =
        |serves: fn(&crate::reconcile::PoolStatus) -> bool| pools.iter().all(|pool| serves(&pool.status.borrow()));
    [all(|pool| pool.queue_serving), all(|pool| pool.cloud_serving), all(|pool| pool.leading)]
}

/// Keeps the health service up to date for as long as it runs.
pub async fn watch_health(reporter: HealthReporter, pools: Vec<PoolHandle>) {
    let status = |serves: bool| if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    loop {
        let [queue, cloud, leader] = parts(&pools);
        for (name, serves) in PARTS.into_iter().zip([queue, cloud, leader]) {
            reporter.set_service_status(name, status(serves)).await;
        }
        reporter.set_service_status("", status(queue && cloud)).await;
        if !changed(&pools).await {
            return;
        }
    }
}

/// Waits until a pool has something new to show; false when they have all ended.
pub(crate) async fn changed(pools: &[PoolHandle]) -> bool {
    let mut receivers: Vec<_> = pools.iter().map(|pool| pool.status.clone()).collect();
    let waits = receivers.iter_mut().map(|receiver| {
        receiver.mark_unchanged();
        Box::pin(receiver.changed())
    });
    futures_util::future::select_all(waits).await.0.is_ok()
}
