//! The coordinator's settings: one TOML file, `SPILLWAY_…` variables over it, and the plan's variables for what it
//! leaves out. Everything else in the program sees only the checked [`Settings`].
//!
//! Precedence, first wins: `SPILLWAY_…`, the file, the plan's variables (`REDIS_URL`, `QUEUE_NAMES`, …), the defaults.

mod check;
mod environment;
mod keys;
mod load;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use spillway_brain as brain;
use thiserror::Error;

pub use load::load;

/// Where the file is looked for when `--config` does not say.
pub const DEFAULT_FILE: &str = "/etc/spillway/coordinator.toml";

/// Why the settings cannot be used: names the file or variable, the key, and the remedy.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("{file}: cannot be read: {source}", file = file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{origin}: {detail}")]
    Syntax { origin: String, detail: String },
    #[error("{origin}: unknown key \"{key}\"{}", suggestion.as_ref().map(|known| format!("; did you mean \"{known}\"?")).unwrap_or_default())]
    UnknownKey { origin: String, key: String, suggestion: Option<String> },
    #[error("{origin}: {key}: {detail}")]
    Bad { origin: String, key: String, detail: String },
    #[error("{key} is not set: {remedy}")]
    Missing { key: &'static str, remedy: &'static str },
}

/// What a command needs to be set; `spillway queues` gets by with less than `spillway run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Redis and the queues' names.
    Queues,
    /// All that `run` needs.
    Everything,
}

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// BullMQ's Redis.
    pub redis_url: String,
    /// The ledger's Redis: the same, unless it has a URL of its own.
    pub ledger_url: String,
    /// What the ledger's keys start with.
    pub ledger_prefix: String,
    pub region: Option<String>,
    pub grpc_listen: SocketAddr,
    /// Where agents reach this coordinator: what a standby tells them of its leader. None: not known.
    pub grpc_advertise: Option<String>,
    /// None: an agent is believed for being an instance that this coordinator launched and still expects.
    pub join_token: Option<String>,
    pub heartbeat_interval: Duration,
    pub http_listen: SocketAddr,
    pub pools: Vec<Pool>,
}

/// One pool's settings, checked.
#[derive(Clone, Debug)]
pub struct Pool {
    pub name: String,
    pub queues: Vec<String>,
    pub prefix: String,
    /// Id (`lt-…`) or name. Empty only where nothing is launched (`spillway queues`).
    pub launch_template: String,
    pub launch_template_version: String,
    /// More tags for its instances.
    pub tags: BTreeMap<String, String>,
    pub brain: brain::Config,
}

/// The file as it is written. Every key is optional here; `check` says what is missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    redis: RedisSection,
    ledger: LedgerSection,
    ec2: Ec2Section,
    grpc: GrpcSection,
    http: HttpSection,
    pool: Vec<PoolSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RedisSection {
    url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LedgerSection {
    url: Option<String>,
    prefix: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ec2Section {
    region: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GrpcSection {
    listen: Option<String>,
    advertise: Option<String>,
    join_token: Option<String>,
    heartbeat_interval: Option<Span>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HttpSection {
    listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolSection {
    name: Option<String>,
    queues: Vec<String>,
    prefix: Option<String>,
    launch_template: Option<String>,
    launch_template_version: Option<String>,
    tags: BTreeMap<String, String>,
    max_instances: Option<u32>,
    interval: Option<Span>,
    listing_interval: Option<Span>,
    launch_timeout: Option<Span>,
    boot_timeout: Option<Span>,
    heartbeat_timeout: Option<Span>,
    drain_timeout: Option<Span>,
    terminate_timeout: Option<Span>,
    consistency_grace: Option<Span>,
    launches_per_tick: Option<u32>,
    boot_failures: Option<u32>,
    breaker_backoff: Option<Span>,
    capacity_backoff: Option<Span>,
    quota_backoff: Option<Span>,
    interrupted_counts: Option<bool>,
    rebalance: Option<String>,
    rebalance_limit: Option<u32>,
    policy: PolicySection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PolicySection {
    kind: Option<String>,
    idle: Option<Span>,
    steps: Option<Vec<StepSection>>,
}

#[derive(Debug, Deserialize)]
struct StepSection {
    jobs: u64,
    #[serde(rename = "for")]
    over: Span,
    instances: u32,
}

/// A duration as people write it: `90s`, `5m`, `2h`.
#[derive(Clone, Copy, Debug)]
struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = humantime::parse_duration(&text)
            .map_err(|_| serde::de::Error::custom(format!("\"{text}\" is not a duration: write 90s, 5m or 2h")))?;
        Ok(Span(span))
    }
}

#[cfg(test)]
mod tests;
