//! `grpc.health.v1.Health`: `spillway.queue`, `spillway.cloud`, `spillway.leader`, `spillway.launches`,
//! `spillway.terminations`, and `""` for the whole.
//!
//! `""` serves while queues and EC2 can be read. On a standby only `spillway.leader` is NOT_SERVING. Where launching is
//! stopped, or EC2 does not terminate, the coordinator is well, and a restart would help nobody: `""` serves.

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::reconcile::{PoolHandle, PoolStatus};

/// The services beside `""`.
pub const PARTS: [&str; 5] =
    ["spillway.queue", "spillway.cloud", "spillway.leader", "spillway.launches", "spillway.terminations"];

/// Whether each of `PARTS` serves, in all pools.
pub fn parts(pools: &[PoolHandle]) -> [bool; 5] {
    let all = |serves: fn(&PoolStatus) -> bool| pools.iter().all(|pool| serves(&pool.status.borrow()));
    [
        all(|pool| pool.queue_serving),
        all(|pool| pool.cloud_serving),
        all(|pool| pool.leading),
        all(|pool| pool.launches.serving),
        all(|pool| pool.terminations_serving),
    ]
}

/// Whether the whole serves.
pub fn is_well([queue, cloud, ..]: [bool; 5]) -> bool {
    queue && cloud
}

/// Keeps the health service up to date until all pools have stopped.
pub async fn watch_health(reporter: HealthReporter, pools: Vec<PoolHandle>) {
    let status = |serves: bool| if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
    loop {
        let parts = parts(&pools);
        for (name, serves) in PARTS.into_iter().zip(parts) {
            reporter.set_service_status(name, status(serves)).await;
        }
        reporter.set_service_status("", status(is_well(parts))).await;
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
