//! All pools' statuses as one answer, for operators over gRPC and for the status page.

use spillway_brain::Timestamp;
use spillway_proto::v1;

use crate::clock;
use crate::pools::PoolList;
use crate::reconcile::{PoolHandle, PoolStatus};
use crate::wire_time::timestamp;

/// What is shown of all pools now; it leads where it leads each pool of the settings.
pub fn shown(pools: &PoolList) -> v1::GetFleetResponse {
    let leader = pools.configured().iter().all(|pool| pool.status.borrow().leading);
    v1::GetFleetResponse { leader, ..of(&pools.shown()) }
}

/// These pools now.
pub fn of(pools: &[PoolHandle]) -> v1::GetFleetResponse {
    let statuses = pools.iter().map(|pool| pool.status.borrow().clone()).collect();
    let mut fleet = joined(statuses, clock::now());
    for (pool, view) in pools.iter().zip(&mut fleet.pools) {
        view.money = Some(pool.prices.money(pool));
        pool.prices.price(&mut view.instances);
    }
    fleet
}

fn joined(statuses: Vec<PoolStatus>, now: Timestamp) -> v1::GetFleetResponse {
    let left = statuses.iter().find_map(|status| status.left_volumes.clone());
    v1::GetFleetResponse {
        at: Some(timestamp(now)),
        leader: statuses.iter().all(|status| status.leading),
        left_volumes: left.map(|left| v1::LeftVolumes { at: Some(timestamp(left.at)), ids: left.ids }),
        pools: statuses.into_iter().map(|status| status.view).collect(),
        coordinator_version: crate::VERSION.to_owned(),
    }
}
