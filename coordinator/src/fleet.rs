//! All pools' statuses as one answer, for operators over gRPC and for the status page.

use spillway_attention::{Led, installation};
use spillway_brain::Timestamp;
use spillway_proto::v1;

use crate::clock;
use crate::pools::PoolList;
use crate::reconcile::{PoolHandle, PoolStatus};
use crate::wire_time::timestamp;

/// What is shown of all pools now; it leads where it leads each pool of the settings.
pub fn shown(pools: &PoolList) -> v1::GetFleetResponse {
    let leader = pools.configured().iter().all(|pool| pool.status.borrow().leading);
    v1::GetFleetResponse { leader, ..of(&pools.shown(), clock::now()) }
}

/// What needs a person in the installation as a whole.
pub fn attention(pools: &PoolList) -> Vec<v1::Finding> {
    of_installation(&pools.shown(), clock::now())
}

/// These pools' statuses at `now`.
pub fn of(pools: &[PoolHandle], now: Timestamp) -> v1::GetFleetResponse {
    let statuses: Vec<PoolStatus> = pools.iter().map(|pool| pool.status.borrow().clone()).collect();
    let left = statuses.iter().find_map(|status| status.left_volumes.clone());
    v1::GetFleetResponse {
        at: Some(timestamp(now)),
        leader: statuses.iter().all(|status| status.leading),
        left_volumes: left.map(|left| v1::LeftVolumes { at: Some(timestamp(left.at)), ids: left.ids }),
        pools: statuses.into_iter().map(|status| status.view).collect(),
        coordinator_version: crate::VERSION.to_owned(),
        attention: of_installation(pools, now),
    }
}

fn of_installation(pools: &[PoolHandle], now: Timestamp) -> Vec<v1::Finding> {
    let left = pools.iter().find_map(|pool| pool.status.borrow().left_volumes.clone());
    // One that is wound up here is led here.
    let led: Vec<Led> = pools.iter().filter(|pool| !pool.is_retired).map(|pool| *pool.led.borrow()).collect();
    let found = installation(&led, left.as_ref().map_or(&[], |left| &left.ids), now);
    found.iter().map(|finding| finding.published("")).collect()
}
