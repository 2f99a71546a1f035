//! The full record of an instance, and that of a volume, for the control API and for programs that embed the emulator.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::machines;
use crate::model::{Instance, InstanceState, Lifecycle, Maintenance, Notice, ShutdownBehavior, StateReason, Volume};

/// EC2 bills this long at least.
const MINIMUM_BILLED_SECONDS: u64 = 60;
/// A spot instance that EC2 interrupts so soon is not billed (the EC2 User Guide, "Billing for interrupted Spot
/// Instances").
const FREE_IF_INTERRUPTED_MS: u64 = 3_600_000;

/// All that the emulator knows about an instance. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InstanceRecord {
    pub id: String,
    pub client_token: Option<String>,
    pub state: InstanceState,
    pub state_reason: Option<StateReason>,
    pub lifecycle: Lifecycle,
    pub spot_request_id: Option<String>,
    pub image_id: String,
    pub instance_type: String,
    pub availability_zone: String,
    pub private_ip: String,
    pub tags: BTreeMap<String, String>,
    pub shutdown_behavior: ShutdownBehavior,
    pub launch_ms: u64,
    /// Billing starts.
    pub running_ms: Option<u64>,
    /// Shutting-down or stopping: billing ends.
    pub ending_ms: Option<u64>,
    /// Terminated or stopped.
    pub ended_ms: Option<u64>,
    /// From running to shutting-down, or until now.
    pub billable_ms: u64,
    /// As EC2 bills it: whole seconds, at least 60 once it ran; none where EC2 interrupted it in its first hour.
    pub billed_seconds: u64,
    pub imds_port: u16,
    /// The root of its processes, while there are any.
    pub init_pid: Option<u32>,
    /// The first process in it, where it is a machine and runs: `nsenter --all --target PID` enters it.
    pub machine_pid: Option<u32>,
    pub notice: Option<Notice>,
    pub rebalance_ms: Option<u64>,
    pub maintenance: Vec<Maintenance>,
}

impl InstanceRecord {
    pub(crate) fn new(instance: &Instance, now_ms: u64) -> Self {
        let billable_ms =
            instance.running_ms.map_or(0, |from| instance.ending_ms.unwrap_or(now_ms).saturating_sub(from));
        let is_interrupted =
            instance.state_reason.as_ref().is_some_and(|reason| reason.code.starts_with("Server.Spot"));
        let billed_seconds = match instance.running_ms {
            Some(_) if is_interrupted && billable_ms < FREE_IF_INTERRUPTED_MS => 0,
            Some(_) => billable_ms.div_ceil(1000).max(MINIMUM_BILLED_SECONDS),
            None => 0,
        };
        Self {
            id: instance.id.clone(),
            client_token: instance.client_token.clone(),
            state: instance.state,
            state_reason: instance.state_reason.clone(),
            lifecycle: instance.lifecycle,
            spot_request_id: instance.spot_request_id.clone(),
            image_id: instance.image_id.clone(),
            instance_type: instance.instance_type.clone(),
            availability_zone: instance.availability_zone.clone(),
            private_ip: instance.private_ip.clone(),
            tags: instance.tags.clone(),
            shutdown_behavior: instance.shutdown_behavior,
            launch_ms: instance.launch_ms,
            running_ms: instance.running_ms,
            ending_ms: instance.ending_ms,
            ended_ms: instance.ended_ms,
            billable_ms,
            billed_seconds,
            imds_port: instance.imds_port,
            init_pid: instance.init_pid,
            machine_pid: instance.init_pid.and_then(machines::first_process),
            notice: instance.notice,
            rebalance_ms: instance.rebalance_ms,
            maintenance: instance.maintenance.clone(),
        }
    }
}

/// A volume, attached or left behind by its instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VolumeRecord {
    pub id: String,
    /// None once its instance is terminated.
    pub instance: Option<String>,
    pub device: String,
    pub delete_on_termination: bool,
    pub tags: BTreeMap<String, String>,
}

impl VolumeRecord {
    pub(crate) fn new(volume: &Volume) -> Self {
        Self {
            id: volume.id.clone(),
            instance: volume.attached_to.clone(),
            device: volume.device.name.clone(),
            delete_on_termination: volume.device.delete_on_termination,
            tags: volume.tags.clone(),
        }
    }
}
