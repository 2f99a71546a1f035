//! The coordinator's settings: one TOML file, overridden by `SPILLWAY_…` variables; the plan's variables fill in what
//! the file leaves out. The rest of the program sees only the checked [`Settings`].
//!
//! Precedence, first wins: `SPILLWAY_…`, the file, the plan's variables (`REDIS_URL`, `QUEUE_NAMES`, …), the defaults.
//! Variables are the process' own, then those of `coordinator.env` beside the file.
//!
//! - `variables`, `environment`: what is set by variables
//! - `shape`: whether keys exist and values are of the right kind; `check`: what they must mean
//! - `origin`: where a value came from, for messages; `effective`: all of them with that, for `spillway config show`

mod check;
mod effective;
mod environment;
mod keys;
mod load;
mod loopback;
mod notify;
mod origin;
mod proxies;
mod secrets;
mod shape;
mod trust;
mod variables;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use spillway_brain as brain;
use spillway_schedule::Schedule;
use thiserror::Error;

pub use effective::EffectiveSetting;
pub use load::{OperatorAddress, effective, load, operator_address, proxies};
pub use loopback::{beside_for_operators, for_operators};
pub use notify::{Notify, WebhookUrl};
pub use proxies::{Proxies, ProxyUrl};
pub use trust::TrustKind;
pub use variables::process_environment;

/// The configuration file that is read without `--config`.
pub const DEFAULT_FILE: &str = "/etc/spillway/coordinator.toml";
const DEFAULT_GRPC_LISTEN: &str = "0.0.0.0:7443";
const DEFAULT_HTTP_LISTEN: &str = "127.0.0.1:7480";

/// Why the settings cannot be used: names the file or variable, the key, and what to do.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read the configuration file {}", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{origin}: {detail}")]
    Syntax { origin: String, detail: String },
    #[error("{origin}: unknown key \"{key}\"{}", suggestion.as_ref().map(|known| format!("; did you mean \"{known}\"?")).unwrap_or_default())]
    UnknownKey { origin: String, key: String, suggestion: Option<String> },
    #[error("{origin}: {key}: {detail}")]
    Bad { origin: String, key: String, detail: String },
    #[error("{key} is not set: {remedy}{hint}")]
    Missing { key: &'static str, remedy: &'static str, hint: String },
}

/// Which settings a command requires; `spillway queues` requires fewer than `spillway run`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The URL of Redis and the names of the queues.
    Queues,
    /// Everything that `spillway run` requires.
    Everything,
}

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose instances are ours; None: it is found in the ledger or in the state directory, or made.
    pub installation: Option<String>,
    /// What must outlive the ledger is kept here. None: there is no place for it.
    pub state_directory: Option<PathBuf>,
    /// URL of BullMQ's Redis.
    pub redis_url: String,
    /// URL of the ledger's Redis: `redis_url` unless it is set.
    pub ledger_url: String,
    /// Prefix of the ledger's keys.
    pub ledger_prefix: String,
    /// Bytes that the record of a pool may have in Redis; 0: none is kept there.
    pub record_bytes: u64,
    pub region: Option<String>,
    pub grpc_listen: SocketAddr,
    /// The address under which agents reach this coordinator: a standby redirects agents to the leader's. None:
    /// unknown.
    pub grpc_advertise: Option<String>,
    /// By what agents are known.
    pub trust: TrustKind,
    /// The role of the instances' profile, where it is not named as that.
    pub role: Option<String>,
    /// Where connections to STS go instead of its own address: on loopback.
    pub sts_endpoint: Option<String>,
    /// By what operators are known.
    pub operators: OperatorsKind,
    /// Where the operators' token is. None: where systemd puts the service's credentials, or there is none.
    pub operator_token_file: Option<PathBuf>,
    /// Names or uids of who may use the operators' socket, beside root and the service's own account.
    pub operator_accounts: Vec<String>,
    /// None: no secret is required; being the agent of an instance in the ledger is enough.
    pub join_token: Option<String>,
    pub heartbeat_interval: Duration,
    /// None: gRPC is in plaintext, on loopback alone.
    pub tls: Option<Tls>,
    pub http_listen: SocketAddr,
    /// Who is told of what needs a person.
    pub notify: Notify,
    /// Prices that a person knows better.
    pub prices: Prices,
    pub pools: Vec<Pool>,
    /// How AWS is reached.
    pub proxies: Proxies,
    /// What works differently from how it reads: said once, at the start.
    pub warnings: Vec<String>,
}

/// Dollars an hour, by instance type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices {
    pub on_demand: BTreeMap<String, f64>,
    pub spot: BTreeMap<String, f64>,
}

/// By what operators are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperatorsKind {
    /// They are on this host.
    Loopback,
    /// They show a token, or come by the Unix socket.
    Token,
}

/// How gRPC is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// None: a certificate of this installation's CA, which is in the state directory.
    pub own: Option<OwnCertificate>,
    /// Further names and addresses of the certificate.
    pub names: Vec<String>,
}

/// The operator's own certificate and its key: one file may have both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
}

/// One pool's settings, checked.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(Default))]
pub struct Pool {
    pub name: String,
    pub queues: Vec<String>,
    pub prefix: String,
    /// Id (`lt-…`) or name. Empty only for commands that launch nothing (`spillway queues`).
    pub launch_template: String,
    pub launch_template_version: String,
    /// Additional tags for instances, volumes and spot requests.
    pub tags: BTreeMap<String, String>,
    /// The application's checkout on this machine, with whose commit instances are compared.
    pub application: Option<PathBuf>,
    /// How long jobs should wait at most. Nothing is decided by it: metrics and alerts measure waits by it.
    pub target: Duration,
    /// When instances are there whatever waits.
    pub floors: Vec<Schedule>,
    pub brain: brain::Config,
}

/// The file as it is written. Every key is optional here; `check` reports what is missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    installation: Option<String>,
    state_directory: Option<String>,
    redis: RedisSection,
    ledger: LedgerSection,
    ec2: Ec2Section,
    grpc: GrpcSection,
    http: HttpSection,
    notify: NotifySection,
    prices: PricesSection,
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
    record_megabytes: Option<u32>,
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
    trust: Option<String>,
    role: Option<String>,
    operators: Option<String>,
    operator_token_file: Option<String>,
    operator_accounts: Vec<String>,
    join_token: Option<String>,
    heartbeat_interval: Option<WrittenDuration>,
    tls: TlsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TlsSection {
    mode: Option<String>,
    certificate_file: Option<String>,
    key_file: Option<String>,
    names: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HttpSection {
    listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PricesSection {
    on_demand: BTreeMap<String, f64>,
    spot: BTreeMap<String, f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NotifySection {
    webhook_url: Option<String>,
    digest_at: Option<String>,
    timezone: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PoolSection {
    name: Option<String>,
    queues: Vec<String>,
    prefix: Option<String>,
    launch_template: Option<String>,
    launch_template_version: Option<String>,
    application: Option<String>,
    tags: BTreeMap<String, String>,
    max_instances: Option<u32>,
    target: Option<WrittenDuration>,
    interval: Option<WrittenDuration>,
    listing_interval: Option<WrittenDuration>,
    launch_timeout: Option<WrittenDuration>,
    boot_timeout: Option<WrittenDuration>,
    heartbeat_timeout: Option<WrittenDuration>,
    drain_timeout: Option<WrittenDuration>,
    terminate_timeout: Option<WrittenDuration>,
    consistency_grace: Option<WrittenDuration>,
    launches_per_tick: Option<u32>,
    boot_failures: Option<u32>,
    breaker_backoff: Option<WrittenDuration>,
    keep_failed_boots: Option<WrittenDuration>,
    capacity_backoff: Option<WrittenDuration>,
    quota_backoff: Option<WrittenDuration>,
    interrupted_counts: Option<bool>,
    rebalance: Option<String>,
    rebalance_limit: Option<u32>,
    on_drift: Option<String>,
    policy: PolicySection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PolicySection {
    kind: Option<String>,
    idle: Option<WrittenDuration>,
    steps: Option<Vec<StepSection>>,
    target: Option<WrittenDuration>,
    quantile: Option<f64>,
    slots: Option<WrittenSlots>,
    floor: Vec<FloorSection>,
}

#[derive(Debug, Deserialize)]
struct StepSection {
    jobs: u64,
    #[serde(rename = "for")]
    over: WrittenDuration,
    instances: u32,
}

/// Jobs that an instance runs at a time: a number, or `"measured"`, which is None.
#[derive(Clone, Copy, Debug, Default)]
struct WrittenSlots(Option<u32>);

impl<'de> Deserialize<'de> for WrittenSlots {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What is no number is the text: `shape` has looked.
        Ok(WrittenSlots(toml::Value::deserialize(deserializer)?.as_integer().and_then(|it| u32::try_from(it).ok())))
    }
}

#[derive(Debug, Deserialize)]
struct FloorSection {
    cron: String,
    #[serde(rename = "for")]
    lasts: WrittenDuration,
    timezone: Option<String>,
    instances: u32,
}

/// A duration as it is written in the file: `90s`, `5m`, `2h`.
#[derive(Clone, Copy, Debug)]
struct WrittenDuration(Duration);

impl<'de> Deserialize<'de> for WrittenDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        spillway_settings::duration(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
