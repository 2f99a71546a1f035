//! The brain's times as the protocol writes them.

use prost_types::Timestamp as ProtoTimestamp;
use spillway_brain::Timestamp;
use spillway_proto::times;

pub fn timestamp(at: Timestamp) -> ProtoTimestamp {
    times::from_epoch(std::time::Duration::from_millis(at.0))
}

/// The epoch where it lies before it.
pub fn from_timestamp(at: &ProtoTimestamp) -> Timestamp {
    Timestamp(u64::try_from(times::since_epoch(at).as_millis()).unwrap_or(u64::MAX))
}
