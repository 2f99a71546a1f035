//! Every key of the file, as `section.key`, and the names of the variables that override them.

/// How a variable's text becomes a value of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Written `90s`, `5m`, `2h`.
    Span,
    Number,
    /// `true` or `false`.
    Flag,
    /// Separated by commas.
    List,
    /// Written as in the file.
    Toml,
}

use Kind::{Flag, List, Number, Span, Text, Toml};

/// `pool.` stands for `[[pool]]`, `pool.policy.` for `[pool.policy]`.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("installation", Text),
    ("state_directory", Text),
    ("redis.url", Text),
    ("redis.url_file", Text),
    ("ledger.url", Text),
    ("ledger.url_file", Text),
    ("ledger.prefix", Text),
    ("ec2.region", Text),
    ("grpc.listen", Text),
    ("grpc.advertise", Text),
    ("grpc.trust", Text),
    ("grpc.role", Text),
    ("grpc.operators", Text),
    ("grpc.operator_token_file", Text),
    ("grpc.operator_accounts", List),
    ("grpc.join_token", Text),
    ("grpc.join_token_file", Text),
    ("grpc.heartbeat_interval", Span),
    ("grpc.tls.mode", Text),
    ("grpc.tls.certificate_file", Text),
    ("grpc.tls.key_file", Text),
    ("grpc.tls.names", List),
    ("http.listen", Text),
    ("pool.name", Text),
    ("pool.queues", List),
    ("pool.prefix", Text),
    ("pool.launch_template", Text),
    ("pool.launch_template_version", Text),
    ("pool.tags", Toml),
    ("pool.max_instances", Number),
    ("pool.interval", Span),
    ("pool.listing_interval", Span),
    ("pool.launch_timeout", Span),
    ("pool.boot_timeout", Span),
    ("pool.heartbeat_timeout", Span),
    ("pool.drain_timeout", Span),
    ("pool.terminate_timeout", Span),
    ("pool.consistency_grace", Span),
    ("pool.launches_per_tick", Number),
    ("pool.boot_failures", Number),
    ("pool.breaker_backoff", Span),
    ("pool.keep_failed_boots", Span),
    ("pool.capacity_backoff", Span),
    ("pool.quota_backoff", Span),
    ("pool.interrupted_counts", Flag),
    ("pool.rebalance", Text),
    ("pool.rebalance_limit", Number),
    ("pool.policy.kind", Text),
    ("pool.policy.idle", Span),
    ("pool.policy.steps", Toml),
];

/// Keys of a step. They have no variables of their own.
pub(super) const STEP_KEYS: [(&str, Kind); 3] =
    [("pool.policy.steps.jobs", Number), ("pool.policy.steps.for", Span), ("pool.policy.steps.instances", Number)];

/// The variables of the plan, and the keys that they set.
pub(super) const PLAN: [(&str, &str); 7] = [
    ("REDIS_URL", "redis.url"),
    ("AWS_REGION", "ec2.region"),
    ("EC2_LAUNCH_TEMPLATE_ID", "pool.launch_template"),
    ("EC2_SPOT_MAX_COUNT", "pool.max_instances"),
    ("QUEUE_NAMES", "pool.queues"),
    ("QUEUE_SCALE_DOWN_IDLE_MINUTES", "pool.policy.idle"),
    ("QUEUE_SCALE_UP_THRESHOLD", "pool.policy.steps"),
];

/// `SPILLWAY_POOL_MAX_INSTANCES` for `pool.max_instances`.
pub(super) fn variable(key: &str) -> String {
    format!("SPILLWAY_{}", key.replace('.', "_").to_uppercase())
}

/// The known key most similar to `key`, if one is similar enough to suggest.
pub(super) fn nearest(key: &str) -> Option<String> {
    let known = KEYS.iter().chain(&STEP_KEYS).map(|(known, _)| *known);
    spillway_words::nearest(key, known.chain(sections())).map(str::to_owned)
}

/// Every section that some key is in: `redis`, `grpc`, `grpc.tls`, `pool`, `pool.policy`, …
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter().chain(&STEP_KEYS).filter_map(|(key, _)| Some(key.rsplit_once('.')?.0))
}

/// How the value of a key is written; None if there is no such key.
pub(super) fn kind_of(key: &str) -> Option<Kind> {
    KEYS.iter().chain(&STEP_KEYS).find(|(known, _)| *known == key).map(|(_, kind)| *kind)
}

/// `pool[0].policy.steps[1].for` → `pool.policy.steps.for`.
pub(super) fn without_indexes(path: &str) -> String {
    path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}
