//! Every key of the file, as `section.key`, and the names of the variables that override them.

/// How a variable's text becomes a value of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// Written `90s`, `5m`, `2h`.
    Span,
    Number,
    /// `0.95`.
    Fraction,
    /// `true` or `false`.
    Flag,
    /// Separated by commas.
    List,
    /// Written as in the file.
    Toml,
}

use Kind::{Flag, Fraction, List, Number, Span, Text, Toml};

/// Every key, how it is written, and its default as `deploy/settings.md` has it: a value of TOML, `none`, `required`,
/// or what it is taken from. `pool.` stands for `[[pool]]`, `pool.policy.` for `[pool.policy]`.
pub(super) const KEYS: &[(&str, Kind, &str)] = &[
    ("installation", Text, "none"),
    ("state_directory", Text, "$STATE_DIRECTORY"),
    ("redis.url", Text, "required"),
    ("redis.url_file", Text, "none"),
    ("ledger.url", Text, "redis.url"),
    ("ledger.url_file", Text, "none"),
    ("ledger.prefix", Text, r#""spillway:""#),
    ("ledger.record_megabytes", Number, "64"),
    ("ec2.region", Text, "none"),
    ("grpc.listen", Text, r#""0.0.0.0:7443""#),
    ("grpc.advertise", Text, "grpc.listen"),
    ("grpc.trust", Text, r#""aws""#),
    ("grpc.role", Text, "none"),
    ("grpc.operators", Text, r#""loopback""#),
    ("grpc.operator_token_file", Text, "none"),
    ("grpc.operator_accounts", List, "none"),
    ("grpc.join_token", Text, "none"),
    ("grpc.join_token_file", Text, "none"),
    ("grpc.heartbeat_interval", Span, r#""5s""#),
    ("grpc.tls.mode", Text, r#""auto""#),
    ("grpc.tls.certificate_file", Text, "none"),
    ("grpc.tls.key_file", Text, "grpc.tls.certificate_file"),
    ("grpc.tls.names", List, "none"),
    ("http.listen", Text, r#""127.0.0.1:7480""#),
    ("notify.webhook_url", Text, "none"),
    ("notify.webhook_url_file", Text, "none"),
    ("notify.digest_at", Text, r#""08:00""#),
    ("notify.timezone", Text, r#""UTC""#),
    ("prices.on_demand", Toml, "{}"),
    ("prices.spot", Toml, "{}"),
    ("pool.name", Text, r#""spillway""#),
    ("pool.queues", List, "required"),
    ("pool.prefix", Text, r#""bull""#),
    ("pool.launch_template", Text, "required"),
    ("pool.launch_template_version", Text, r#""$Default""#),
    ("pool.tags", Toml, "{}"),
    ("pool.application", Text, "none"),
    ("pool.max_instances", Number, "2"),
    ("pool.target", Span, r#""10m""#),
    ("pool.interval", Span, r#""10s""#),
    ("pool.listing_interval", Span, r#""15s""#),
    ("pool.launch_timeout", Span, r#""2m""#),
    ("pool.boot_timeout", Span, r#""5m""#),
    ("pool.heartbeat_timeout", Span, r#""30s""#),
    ("pool.drain_timeout", Span, r#""30m""#),
    ("pool.terminate_timeout", Span, r#""5m""#),
    ("pool.consistency_grace", Span, r#""2m""#),
    ("pool.launches_per_tick", Number, "5"),
    ("pool.boot_failures", Number, "3"),
    ("pool.breaker_backoff", Span, r#""10m""#),
    ("pool.keep_failed_boots", Span, r#""0s""#),
    ("pool.capacity_backoff", Span, r#""3m""#),
    ("pool.quota_backoff", Span, r#""10m""#),
    ("pool.interrupted_counts", Flag, "true"),
    ("pool.rebalance", Text, r#""replace""#),
    ("pool.rebalance_limit", Number, "2"),
    ("pool.on_drift", Text, r#""report""#),
    ("pool.policy.kind", Text, r#""steps""#),
    ("pool.policy.target", Span, r#""5m""#),
    ("pool.policy.quantile", Fraction, "0.95"),
    ("pool.policy.slots", Toml, r#""measured""#),
    ("pool.policy.idle", Span, r#""10m""#),
    (
        "pool.policy.steps",
        Toml,
        r#"[{ jobs = 5, for = "5m", instances = 1 }, { jobs = 15, for = "5m", instances = 2 }]"#,
    ),
    ("pool.policy.floor", Toml, "[]"),
];

/// Keys of a step and of a schedule. They have no variables of their own.
pub(super) const INNER_KEYS: [(&str, Kind); 7] = [
    ("pool.policy.steps.jobs", Number),
    ("pool.policy.steps.for", Span),
    ("pool.policy.steps.instances", Number),
    ("pool.policy.floor.cron", Text),
    ("pool.policy.floor.for", Span),
    ("pool.policy.floor.timezone", Text),
    ("pool.policy.floor.instances", Number),
];

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

/// Those of steps and schedules among them.
fn all() -> impl Iterator<Item = (&'static str, Kind)> {
    KEYS.iter().map(|(key, kind, _)| (*key, *kind)).chain(INNER_KEYS)
}

/// `SPILLWAY_POOL_MAX_INSTANCES` for `pool.max_instances`.
pub(super) fn variable(key: &str) -> String {
    format!("SPILLWAY_{}", key.replace('.', "_").to_uppercase())
}

/// The known key most similar to `key`, if one is similar enough to suggest.
pub(super) fn nearest(key: &str) -> Option<String> {
    let known = all().map(|(known, _)| known);
    spillway_words::nearest(key, known.chain(sections())).map(str::to_owned)
}

/// Every section that some key is in: `redis`, `grpc`, `grpc.tls`, `pool`, `pool.policy`, …
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    all().filter_map(|(key, _)| Some(key.rsplit_once('.')?.0))
}

/// How the value of a key is written; None if there is no such key.
pub(super) fn kind_of(key: &str) -> Option<Kind> {
    all().find(|(known, _)| *known == key).map(|(_, kind)| kind)
}

/// `pool[0].policy.steps[1].for` → `pool.policy.steps.for`.
pub(super) fn without_indexes(path: &str) -> String {
    path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect()
}
