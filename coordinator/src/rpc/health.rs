//! `grpc.health.v1.Health`: `spillway.queue`, `spillway.cloud`, `spillway.leader`, and `""` for the whole.
//!
//! `""` serves while queues and EC2 can be read. On a standby only `spillway.leader` is NOT_SERVING.

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::reconcile::PoolHandle;

/// The services that `""` is made of, and whether this coordinator is the leader.
pub const PARTS: [&str; 3] = ["spillway.queue", "spillway.cloud", "spillway.leader"];

/// Whether each of `PARTS` serves, in all pools.
pub fn parts(pools: &[PoolHandle]) -> [bool; 3] {
    let all =
        |serves: fn(&crate::reconcile::PoolStatus) -> bool| pools.iter().all(|pool| serves(&pool.status.borrow()));
    [all(|pool| pool.queue_serving), all(|pool| pool.cloud_serving), all(|pool| pool.leading)]
}

/// Keeps the health service up to date until all pools have stopped.
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

/// Waits until a pool publishes; false when one has stopped.
pub(crate) async fn changed(pools: &[PoolHandle]) -> bool {
    let mut receivers: Vec<_> = pools.iter().map(|pool| pool.status.clone()).collect();
    let waits = receivers.iter_mut().map(|receiver| {
        receiver.mark_unchanged();
        Box::pin(receiver.changed())
    });
    futures_util::future::select_all(waits).await.0.is_ok()
}
