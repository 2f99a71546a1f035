//! Checks of the written settings; each error names the key and says what to do.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spillway_brain as brain;

use super::{ConfigError, File, Needs, Pool, PoolSection, Settings, WrittenDuration};
use crate::installation::is_name;

const SHORTEST_DURATION: Duration = Duration::from_millis(100);

pub(super) fn check(origin: &str, file: File, needs: Needs) -> Result<Settings, ConfigError> {
    let bad = |key: &str, detail: String| ConfigError::Bad { origin: origin.to_owned(), key: key.to_owned(), detail };
    let redis_url = file.redis.url.filter(|url| !url.is_empty()).ok_or(ConfigError::Missing {
        key: "redis.url",
        remedy: "set REDIS_URL, or url = \"redis://127.0.0.1:6379\" under [redis]",
    })?;
    let listen = |key: &str, text: Option<String>, default: &str| -> Result<SocketAddr, ConfigError> {
        let text = text.unwrap_or_else(|| default.to_owned());
        text.parse().map_err(|_| bad(key, format!("\"{text}\" is not an address and port such as \"{default}\"")))
    };
    if file.pool.is_empty() || file.pool.iter().all(|pool| pool.queues.is_empty()) {
        return Err(ConfigError::Missing {
            key: "pool.queues",
            remedy: "set QUEUE_NAMES to the queues' names, separated by commas, or queues = [\"…\"] under [[pool]]",
        });
    }
    let mut names = BTreeSet::new();
    let mut pools: Vec<Pool> = Vec::new();
    for section in file.pool {
        let pool = pool(&bad, section, needs)?;
        let shared = pools.iter().filter(|other| other.prefix == pool.prefix).find_map(|other| {
            let queue = pool.queues.iter().find(|queue| other.queues.contains(queue))?;
            Some((queue, &other.name))
        });
        // Two pools of one name are one mistake: that is said below.
        if let Some((queue, other)) = shared.filter(|(_, other)| **other != pool.name) {
            return Err(bad(
                "pool.queues",
                format!(
                    "queue \"{queue}\" is in two pools, \"{other}\" and \"{}\": both would launch instances for the same jobs. \
                     Name it in one of them",
                    pool.name
                ),
            ));
        }
        if !names.insert(pool.name.clone()) {
            return Err(bad(
                "pool.name",
                format!("two pools have the name \"{}\": give each pool a name of its own", pool.name),
            ));
        }
        pools.push(pool);
    }
    let grpc_listen = listen("grpc.listen", file.grpc.listen, "0.0.0.0:7443")?;
    let installation = file.installation.filter(|name| !name.is_empty());
    if let Some(name) = installation.as_deref().filter(|name| !is_name(name)) {
        let detail = format!(
            "\"{name}\" is not a name for an installation: write 1 to 64 letters, digits, dots, dashes and underscores, such as \
             \"prod-1\""
        );
        return Err(bad("installation", detail));
    }
    Ok(Settings {
        installation,
        state_directory: file.state_directory.filter(|path| !path.is_empty()).map(PathBuf::from),
        ledger_url: file.ledger.url.unwrap_or_else(|| redis_url.clone()),
        redis_url,
        ledger_prefix: file.ledger.prefix.unwrap_or_else(|| "spillway:".to_owned()),
        region: file.ec2.region,
        grpc_advertise: advertise(&bad, file.grpc.advertise, grpc_listen)?,
        grpc_listen,
        join_token: file.grpc.join_token.filter(|token| !token.is_empty()),
        heartbeat_interval: file.grpc.heartbeat_interval.map_or(Duration::from_secs(5), |duration| duration.0),
        http_listen: listen("http.listen", file.http.listen, "127.0.0.1:7480")?,
        pools,
    })
}

/// The address for agents: the setting, or else `grpc.listen` if that is one address.
fn advertise(bad: Bad<'_>, set: Option<String>, listen: SocketAddr) -> Result<Option<String>, ConfigError> {
    let Some(text) = set else {
        return Ok((!listen.ip().is_unspecified() && listen.port() != 0).then(|| listen.to_string()));
    };
    let port = text.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()));
    if port.flatten().is_none() || text.contains(['/', ' ', '@']) {
        return Err(bad("grpc.advertise", format!("\"{text}\" is not a host and port such as \"10.0.0.5:7443\"")));
    }
    Ok(Some(text))
}

type Bad<'a> = &'a dyn Fn(&str, String) -> ConfigError;

fn pool(bad: Bad<'_>, section: PoolSection, needs: Needs) -> Result<Pool, ConfigError> {
    let name = section.name.clone().unwrap_or_else(|| "spillway".to_owned());
    if name.is_empty() || name.len() > 100 {
        return Err(bad(
            "pool.name",
            "must have 1 to 100 characters, because it becomes the Name tag of the instances".to_owned(),
        ));
    }
    if let Some(queue) = section.queues.iter().find(|queue| queue.is_empty() || queue.contains(':')) {
        return Err(bad(
            "pool.queues",
            format!("\"{queue}\" is not a name of a BullMQ queue: it must not be empty or contain \":\""),
        ));
    }
    let mut seen = BTreeSet::new();
    if let Some(queue) = section.queues.iter().find(|queue| !seen.insert(queue.as_str())) {
        return Err(bad(
            "pool.queues",
            format!("\"{queue}\" is named twice: its jobs would count twice. Name each queue once"),
        ));
    }
    let launch_template = section.launch_template.clone().unwrap_or_default();
    if launch_template.is_empty() && needs == Needs::Everything {
        return Err(ConfigError::Missing {
            key: "pool.launch_template",
            remedy: "set EC2_LAUNCH_TEMPLATE_ID, or launch_template = \"lt-…\" under [[pool]]",
        });
    }
    let brain = brain_config(bad, &section)?;
    Ok(Pool {
        name,
        queues: section.queues,
        prefix: section.prefix.unwrap_or_else(|| "bull".to_owned()),
        launch_template,
        launch_template_version: section.launch_template_version.unwrap_or_else(|| "$Default".to_owned()),
        tags: section.tags,
        brain,
    })
}

fn brain_config(bad: Bad<'_>, section: &PoolSection) -> Result<brain::Config, ConfigError> {
    let defaults = brain::Config::default();
    let duration = |key: &str, given: Option<WrittenDuration>, default: Duration| match given {
        Some(WrittenDuration(duration)) if duration < SHORTEST_DURATION => {
            Err(bad(key, "must be at least 100ms".to_owned()))
        }
        Some(WrittenDuration(duration)) => Ok(duration),
        None => Ok(default),
    };
    let interval = duration("pool.interval", section.interval, defaults.interval)?;
    let listing_interval = match section.listing_interval {
        Some(_) => duration("pool.listing_interval", section.listing_interval, defaults.listing_interval)?,
        None => defaults.listing_interval.max(interval),
    };
    let config = brain::Config {
        // Told once it is settled.
        installation: defaults.installation,
        retired: false,
        max_instances: section.max_instances.unwrap_or(defaults.max_instances),
        interval,
        listing_interval,
        launch_timeout: duration("pool.launch_timeout", section.launch_timeout, defaults.launch_timeout)?,
        boot_timeout: duration("pool.boot_timeout", section.boot_timeout, defaults.boot_timeout)?,
        heartbeat_timeout: duration("pool.heartbeat_timeout", section.heartbeat_timeout, defaults.heartbeat_timeout)?,
        drain_timeout: duration("pool.drain_timeout", section.drain_timeout, defaults.drain_timeout)?,
        terminate_timeout: duration("pool.terminate_timeout", section.terminate_timeout, defaults.terminate_timeout)?,
        consistency_grace: duration("pool.consistency_grace", section.consistency_grace, defaults.consistency_grace)?,
        launches_per_tick: section.launches_per_tick.unwrap_or(defaults.launches_per_tick),
        boot_failures: section.boot_failures.unwrap_or(defaults.boot_failures),
        breaker_backoff: duration("pool.breaker_backoff", section.breaker_backoff, defaults.breaker_backoff)?,
        capacity_backoff: duration("pool.capacity_backoff", section.capacity_backoff, defaults.capacity_backoff)?,
        quota_backoff: duration("pool.quota_backoff", section.quota_backoff, defaults.quota_backoff)?,
        interrupted_counts: section.interrupted_counts.unwrap_or(defaults.interrupted_counts),
        rebalance: rebalance(bad, section)?,
        rebalance_limit: section.rebalance_limit.unwrap_or(defaults.rebalance_limit),
        policy: policy(bad, section, defaults.policy)?,
    };
    if config.rebalance_limit > 1000 {
        let detail = format!("{} is not between 0 and 1000", config.rebalance_limit);
        return Err(bad("pool.rebalance_limit", detail));
    }
    for (key, number) in [
        ("pool.max_instances", config.max_instances),
        ("pool.launches_per_tick", config.launches_per_tick),
        ("pool.boot_failures", config.boot_failures),
    ] {
        if number == 0 || number > 1000 {
            return Err(bad(key, format!("{number} is not between 1 and 1000")));
        }
    }
    Ok(config)
}

fn rebalance(bad: Bad<'_>, section: &PoolSection) -> Result<brain::OnRebalance, ConfigError> {
    match section.rebalance.as_deref() {
        None => Ok(brain::OnRebalance::default()),
        Some("ignore") => Ok(brain::OnRebalance::Ignore),
        Some("fence") => Ok(brain::OnRebalance::Fence),
        Some("replace") => Ok(brain::OnRebalance::Replace),
        Some(other) => {
            let detail = format!("\"{other}\" is not a rebalance mode: write \"replace\", \"fence\" or \"ignore\"");
            Err(bad("pool.rebalance", detail))
        }
    }
}

fn policy(bad: Bad<'_>, section: &PoolSection, defaults: brain::Steps) -> Result<brain::Steps, ConfigError> {
    match section.policy.kind.as_deref() {
        None | Some("steps") => {}
        Some(other) => {
            return Err(bad(
                "pool.policy.kind",
                format!("\"{other}\" is not a policy kind: write \"steps\", the only one"),
            ));
        }
    }
    let steps = match &section.policy.steps {
        None => defaults.steps,
        Some(steps) => steps
            .iter()
            .map(|step| brain::Step { jobs: step.jobs, over: step.over.0, instances: step.instances })
            .collect(),
    };
    if steps.is_empty() {
        return Err(bad(
            "pool.policy.steps",
            "has no step, so nothing would ever be launched: add one, or remove the key to use the default".to_owned(),
        ));
    }
    if steps.iter().any(|step| step.jobs == 0 || step.instances == 0) {
        return Err(bad("pool.policy.steps", "jobs and instances of each step must be at least 1".to_owned()));
    }
    if !steps.is_sorted_by(|a, b| a.jobs < b.jobs && a.instances < b.instances) {
        let detail = "each step must have more jobs and more instances than the step before it".to_owned();
        return Err(bad("pool.policy.steps", detail));
    }
    Ok(brain::Steps { steps, idle: section.policy.idle.map_or(defaults.idle, |duration| duration.0) })
}
