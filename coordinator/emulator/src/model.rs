//! The emulator's records: instances, volumes, spot requests, images. Data only.
//!
//! ```text
//!              `pending` is over          API, interruption, power-off        `shutting_down` is over
//!   pending ──────────────────► running ─────────────────────► shutting-down ──────────────────► terminated
//!      └── a launch that fails ────┼─────────────────────────────────┘                               ▲
//!                                  └── power-off ──► stopping ──► stopped ───────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::credentials::Credentials;

/// Tags by key.
pub(crate) type Tags = BTreeMap<String, String>;

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
    Stopping,
    Stopped,
}

impl InstanceState {
    /// EC2's number for the state.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// EC2's name for the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// How an instance is paid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifecycle {
    Spot,
    OnDemand,
}

impl Lifecycle {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        }
    }
}

/// What EC2 does to a spot instance that it interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interruption {
    #[default]
    Terminate,
    Stop,
    Hibernate,
}

impl Interruption {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::Stop => "stop",
            Self::Hibernate => "hibernate",
        }
    }
}

/// An interruption notice, as the instance's metadata shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Notice {
    pub action: Interruption,
    /// When the instance is interrupted.
    pub at_ms: u64,
}

/// A scheduled maintenance event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Maintenance {
    pub event_id: String,
    pub code: String,
    pub description: String,
    /// `active`, `completed` or `canceled`.
    pub state: String,
    pub not_before_ms: u64,
    pub not_after_ms: u64,
}

/// Why an instance is in the state that it is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateReason {
    pub code: String,
    pub message: String,
}

impl StateReason {
    pub(crate) fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: format!("{code}: {message}") }
    }
}

/// What a power-off from within does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShutdownBehavior {
    #[default]
    Stop,
    Terminate,
}

/// How an instance's metadata service behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MetadataOptions {
    /// Off: every request is answered 403.
    pub(crate) enabled: bool,
    /// Requests without a token are refused.
    pub(crate) tokens_required: bool,
    pub(crate) instance_tags: bool,
    pub(crate) hop_limit: u16,
}

/// One instance.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Order of creation among all records; also the page mark.
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) reservation_id: String,
    pub(crate) launch_index: u32,
    pub(crate) state: InstanceState,
    pub(crate) state_reason: Option<StateReason>,
    pub(crate) transition_reason: String,
    pub(crate) image_id: String,
    pub(crate) instance_type: String,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) client_token: Option<String>,
    pub(crate) spot_request_id: Option<String>,
    pub(crate) availability_zone: String,
    pub(crate) subnet_id: String,
    pub(crate) private_ip: String,
    pub(crate) mac: String,
    pub(crate) key_name: Option<String>,
    pub(crate) security_groups: Vec<String>,
    /// Name of the instance profile and its ARN.
    pub(crate) profile: Option<(String, String)>,
    /// What its metadata gives out where it has a profile.
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) tags: Tags,
    pub(crate) user_data: Option<Arc<[u8]>>,
    pub(crate) metadata: MetadataOptions,
    pub(crate) shutdown_behavior: ShutdownBehavior,
    pub(crate) termination_protected: bool,
    pub(crate) launch_ms: u64,
    /// Billing starts.
    pub(crate) running_ms: Option<u64>,
    /// Billing ends: the moment of shutting-down or stopping.
    pub(crate) ending_ms: Option<u64>,
    /// The moment of terminated or stopped.
    pub(crate) ended_ms: Option<u64>,
    pub(crate) imds_port: u16,
    pub(crate) init_pid: Option<u32>,
    /// It ends with this when it would run.
    pub(crate) fails_with: Option<StateReason>,
    pub(crate) notice: Option<Notice>,
    pub(crate) rebalance_ms: Option<u64>,
    pub(crate) maintenance: Vec<Maintenance>,
}

impl Instance {
    /// Its processes may run, and it takes commands.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, InstanceState::Pending | InstanceState::Running)
    }

    pub(crate) fn private_dns(&self) -> String {
        format!("ip-{}.ec2.internal", self.private_ip.replace('.', "-"))
    }
}

/// A device of an image, or of a volume while it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) snapshot_id: String,
    pub(crate) size_gib: String,
    pub(crate) kind: String,
    pub(crate) delete_on_termination: bool,
}

impl Device {
    /// Without a snapshot, as EC2 has it where nothing is said of it: its volume stays.
    pub(crate) fn empty(name: &str) -> Self {
        let [snapshot_id, size_gib, kind] = ["", "8", "gp3"].map(str::to_owned);
        Self { name: name.to_owned(), snapshot_id, size_gib, kind, delete_on_termination: false }
    }
}

/// One volume.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    pub(crate) seq: u64,
    pub(crate) id: String,
    /// None once its instance is terminated, and it was not deleted with it.
    pub(crate) attached_to: Option<String>,
    pub(crate) device: Device,
    pub(crate) availability_zone: String,
    pub(crate) create_ms: u64,
    pub(crate) tags: Tags,
}

impl Volume {
    pub(crate) fn status(&self) -> &'static str {
        if self.attached_to.is_some() { "in-use" } else { "available" }
    }
}

/// One spot request: one-time, for one instance.
#[derive(Clone, Debug)]
pub(crate) struct SpotRequest {
    pub(crate) seq: u64,
    pub(crate) id: String,
    /// `active`, `closed` or `cancelled`.
    pub(crate) state: &'static str,
    pub(crate) status_code: &'static str,
    pub(crate) status_message: &'static str,
    pub(crate) update_ms: u64,
    pub(crate) create_ms: u64,
    pub(crate) instance_id: String,
    pub(crate) availability_zone: String,
    pub(crate) subnet_id: String,
    pub(crate) image_id: String,
    pub(crate) instance_type: String,
    pub(crate) max_price: String,
    pub(crate) tags: Tags,
}

/// Where an image is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageState {
    /// Its tree is being copied.
    Pending,
    Available,
    /// Its tree could not be copied.
    Failed,
}

impl ImageState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Failed => "failed",
        }
    }
}

/// One machine image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) source_instance: Option<String>,
    pub(crate) create_ms: u64,
    pub(crate) devices: Vec<Device>,
    pub(crate) tags: Tags,
    pub(crate) state: ImageState,
    /// Deregistered images stay known, so that their use is refused.
    pub(crate) deregistered: bool,
}

/// A snapshot of a volume, made with an image.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) seq: u64,
    pub(crate) id: String,
    /// The volume that it was made of.
    pub(crate) volume: String,
    pub(crate) size_gib: String,
    pub(crate) start_ms: u64,
    pub(crate) tags: Tags,
}

/// An outbound rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Egress {
    pub(crate) protocol: String,
    pub(crate) cidr: String,
}

impl Egress {
    /// What a new group has.
    pub(crate) fn everything() -> Self {
        Self { protocol: "-1".to_owned(), cidr: "0.0.0.0/0".to_owned() }
    }
}

/// A security group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) egress: Vec<Egress>,
    pub(crate) tags: Tags,
}

impl Group {
    /// Nothing that its rules allow leaves an instance.
    pub(crate) fn is_closed(&self) -> bool {
        self.egress.iter().all(|rule| rule.cidr.starts_with("127."))
    }
}
