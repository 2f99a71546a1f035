//! The messages and services that coordinator, agent and operators speak: `spillway.v1`, and nothing else.

/// The package `spillway.v1`.
#[allow(clippy::all, reason = "generated")]
pub mod v1 {
    tonic::include_proto!("spillway.v1");
}

/// The encoded descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spillway.v1.bin"));
