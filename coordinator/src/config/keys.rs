//! Every key of the file, as `section.key`, and the names of the variables that override them.

/// How a variable's text becomes a value of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// `true` or `false`.
    Flag,
    /// Separated by commas.
    List,
    /// Written as in the file.
    Toml,
}

use Kind::{Flag, List, Number, Text, Toml};

/// `pool.` stands for `[[pool]]`, `pool.policy.` for `[pool.policy]`.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("installation", Text),
    ("state_directory", Text),
    ("redis.url", Text),
    ("ledger.url", Text),
    ("ledger.prefix", Text),
    ("ec2.region", Text),
    ("grpc.listen", Text),
    ("grpc.advertise", Text),
    ("grpc.join_token", Text),
    ("grpc.heartbeat_interval", Text),
    ("http.listen", Text),
    ("pool.name", Text),
    ("pool.queues", List),
    ("pool.prefix", Text),
    ("pool.launch_template", Text),
    ("pool.launch_template_version", Text),
    ("pool.tags", Toml),
    ("pool.max_instances", Number),
    ("pool.interval", Text),
    ("pool.listing_interval", Text),
    ("pool.launch_timeout", Text),
    ("pool.boot_timeout", Text),
    ("pool.heartbeat_timeout", Text),
    ("pool.drain_timeout", Text),
    ("pool.terminate_timeout", Text),
    ("pool.consistency_grace", Text),
    ("pool.launches_per_tick", Number),
    ("pool.boot_failures", Number),
    ("pool.breaker_backoff", Text),
    ("pool.capacity_backoff", Text),
    ("pool.quota_backoff", Text),
    ("pool.interrupted_counts", Flag),
    ("pool.rebalance", Text),
    ("pool.rebalance_limit", Number),
    ("pool.policy.kind", Text),
    ("pool.policy.idle", Text),
    ("pool.policy.steps", Toml),
];

/// Keys of a step. They have no variables of their own.
const STEP_KEYS: [&str; 3] = ["pool.policy.steps.jobs", "pool.policy.steps.for", "pool.policy.steps.instances"];

/// `SPILLWAY_POOL_MAX_INSTANCES` for `pool.max_instances`.
pub(super) fn variable(key: &str) -> String {
    format!("SPILLWAY_{}", key.replace('.', "_").to_uppercase())
}

/// The known key most similar to `key`, if one is similar enough to suggest.
pub(super) fn nearest(key: &str) -> Option<String> {
    let known = KEYS.iter().map(|(known, _)| *known).chain(STEP_KEYS);
    let sections = ["redis", "ledger", "ec2", "grpc", "http", "pool", "pool.policy"];
    spillway_words::nearest(key, known.chain(sections)).map(str::to_owned)
}
