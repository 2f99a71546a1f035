//! The messages and services that coordinator, agent and operators speak: `spillway.v1`.

mod codec;
pub mod sts;
pub mod times;
mod told_by;

pub use codec::SmallCodec;
pub use told_by::ToldBy;

/// The package `spillway.v1`.
#[allow(clippy::all, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("spillway.v1");
}

/// Both show a fleet; each rpc has a response of its own, so that either can change without the other.
impl From<v1::GetFleetResponse> for v1::WatchFleetResponse {
    fn from(fleet: v1::GetFleetResponse) -> Self {
        let v1::GetFleetResponse { at, leader, pools, coordinator_version, left_volumes, attention } = fleet;
        Self { at, leader, pools, coordinator_version, left_volumes, attention }
    }
}

impl From<v1::WatchFleetResponse> for v1::GetFleetResponse {
    fn from(fleet: v1::WatchFleetResponse) -> Self {
        let v1::WatchFleetResponse { at, leader, pools, coordinator_version, left_volumes, attention } = fleet;
        Self { at, leader, pools, coordinator_version, left_volumes, attention }
    }
}

/// The encoded descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spillway.v1.bin"));
