//! All pools' statuses as one answer, for operators over gRPC and for the status page.

use spillway_attention::{Led, installation};
use spillway_brain::{Step, Timestamp};
use spillway_proto::times::duration;
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

/// What needs a person in the installation as a whole.
pub fn attention(pools: &PoolList) -> Vec<v1::Finding> {
    of_installation(&pools.shown(), clock::now())
}

/// These pools now.
pub fn of(pools: &[PoolHandle]) -> v1::GetFleetResponse {
    let now = clock::now();
    let statuses: Vec<PoolStatus> = pools.iter().map(|pool| pool.status.borrow().clone()).collect();
    let left = statuses.iter().find_map(|status| status.left_volumes.clone());
    let leader = statuses.iter().all(|status| status.leading);
    let mut views: Vec<v1::Pool> = statuses.into_iter().map(|status| status.view).collect();
    for (pool, view) in pools.iter().zip(&mut views) {
        view.money = Some(pool.prices.money(pool));
        pool.prices.price(&mut view.instances);
        view.steps = pool.config.brain.policy.steps.iter().map(step).collect();
    }
    v1::GetFleetResponse {
        at: Some(timestamp(now)),
        leader,
        left_volumes: left.map(|left| v1::LeftVolumes { at: Some(timestamp(left.at)), ids: left.ids }),
        pools: views,
        coordinator_version: crate::VERSION.to_owned(),
        attention: of_installation(pools, now),
    }
}

fn step(step: &Step) -> v1::PolicyStep {
    v1::PolicyStep { jobs: step.jobs, r#for: Some(duration(step.over)), instances: step.instances }
}

fn of_installation(pools: &[PoolHandle], now: Timestamp) -> Vec<v1::Finding> {
    let left = pools.iter().find_map(|pool| pool.status.borrow().left_volumes.clone());
    // One that is wound up here is led here.
    let led: Vec<Led> = pools.iter().filter(|pool| !pool.is_retired).map(|pool| *pool.led.borrow()).collect();
    let found = installation(&led, left.as_ref().map_or(&[], |left| &left.ids), now);
    found.iter().map(|finding| finding.published("")).collect()
}
