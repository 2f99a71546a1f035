//! Checks of the written settings, each for what it must mean; `pool` has those of one pool, `policy` its policy's,
//! `tls` those of gRPC's TLS, `notify` those of the webhook and the digest, `together` those of several values against
//! each other. Each error names where the value came from, the key, and what to do.

mod notify;
mod policy;
mod pool;
mod tls;
mod together;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use spillway_settings::{in_name, in_value};

use super::origin::Origins;
use super::{
    ConfigError, DEFAULT_GRPC_LISTEN, DEFAULT_HTTP_LISTEN, File, Needs, OperatorsKind, Pool, Prices, Proxies, Settings,
    TrustKind, WrittenDuration,
};
use crate::installation::is_name;
use crate::redis_client::{Redis, RedisProblem};

/// Megabytes of a pool's record.
const DEFAULT_RECORD: u32 = 64;
const SHORTEST_DURATION: Duration = Duration::from_millis(100);

/// Keys whose values an application or an operator chooses freely: a placeholder in them is only what nobody would
/// choose.
const NAMES: [&str; 7] =
    ["installation", "grpc.role", "pool.name", "pool.queues", "pool.prefix", "ledger.prefix", "pool.tags"];

pub(super) fn check(
    origins: &Origins,
    file: File,
    needs: Needs,
    warnings: Vec<String>,
) -> Result<Settings, ConfigError> {
    let check = Check { origins, needs };
    check.placeholders(&file)?;
    let redis_url = file
        .redis
        .url
        .clone()
        .ok_or(missing("redis.url", "set REDIS_URL, or url = \"redis://127.0.0.1:6379\" under [redis]"))?;
    check.redis("redis.url", &redis_url)?;
    let ledger_url = file.ledger.url.clone().unwrap_or_else(|| redis_url.clone());
    check.redis("ledger.url", &ledger_url)?;
    if file.pool.is_empty() || file.pool.iter().all(|pool| pool.queues.is_empty()) {
        return Err(missing(
            "pool.queues",
            "set QUEUE_NAMES to the queues' names, separated by commas, or queues = [\"…\"] under [[pool]]",
        ));
    }
    let mut names = BTreeSet::new();
    let mut pools: Vec<Pool> = Vec::new();
    for (index, section) in file.pool.into_iter().enumerate() {
        let pool = check.pool(index, section)?;
        check.queues_of_others(index, &pool, &pools)?;
        if !names.insert(pool.name.clone()) {
            let detail = format!("two pools have the name \"{}\": give each pool a name of its own", pool.name);
            return Err(check.bad(&format!("pool[{index}].name"), detail));
        }
        pools.push(pool);
    }
    let grpc_listen = check.listen("grpc.listen", file.grpc.listen, DEFAULT_GRPC_LISTEN)?;
    let trust = check.trust(file.grpc.trust.as_deref(), grpc_listen)?;
    let interval = check.duration("grpc.heartbeat_interval", file.grpc.heartbeat_interval, Duration::from_secs(5))?;
    let settings = Settings {
        installation: check.installation(file.installation)?,
        state_directory: file.state_directory.filter(|path| !path.is_empty()).map(PathBuf::from),
        ledger_url,
        redis_url,
        ledger_prefix: file.ledger.prefix.unwrap_or_else(|| "spillway:".to_owned()),
        record_bytes: u64::from(file.ledger.record_megabytes.unwrap_or(DEFAULT_RECORD)) * 1_000_000,
        region: check.region(file.ec2.region)?,
        grpc_advertise: check.advertise(file.grpc.advertise, grpc_listen)?,
        grpc_listen,
        join_token: check.join_token(file.grpc.join_token, trust, grpc_listen)?,
        trust,
        role: check.role(file.grpc.role)?,
        operators: check.operators(file.grpc.operators.as_deref())?,
        operator_token_file: file.grpc.operator_token_file.filter(|path| !path.is_empty()).map(PathBuf::from),
        operator_accounts: file.grpc.operator_accounts,
        sts_endpoint: None,
        heartbeat_interval: interval,
        tls: tls::check(&check, file.grpc.tls, grpc_listen)?,
        http_listen: check.listen("http.listen", file.http.listen, DEFAULT_HTTP_LISTEN)?,
        notify: notify::check(&check, file.notify)?,
        prices: Prices { on_demand: file.prices.on_demand, spot: file.prices.spot },
        pools,
        proxies: Proxies::default(),
        warnings,
    };
    together::check(&check, settings)
}

fn missing(key: &'static str, remedy: &'static str) -> ConfigError {
    ConfigError::Missing { key, remedy, hint: String::new() }
}

/// What a check knows of its surroundings.
struct Check<'a> {
    origins: &'a Origins,
    needs: Needs,
}

impl Check<'_> {
    /// An error about the value at `path`.
    fn bad(&self, path: &str, detail: impl Into<String>) -> ConfigError {
        let origin = self.origins.of(path);
        ConfigError::Bad { origin: origin.place, key: origin.name, detail: detail.into() }
    }

    /// Placeholders of examples, in every text. The value is not repeated: it may be half a secret.
    fn placeholders(&self, file: &File) -> Result<(), ConfigError> {
        let texts = [
            ("installation", &file.installation),
            ("redis.url", &file.redis.url),
            ("ledger.url", &file.ledger.url),
            ("ledger.prefix", &file.ledger.prefix),
            ("ec2.region", &file.ec2.region),
            ("grpc.listen", &file.grpc.listen),
            ("grpc.advertise", &file.grpc.advertise),
            ("grpc.trust", &file.grpc.trust),
            ("grpc.role", &file.grpc.role),
            ("grpc.operators", &file.grpc.operators),
            ("grpc.operator_token_file", &file.grpc.operator_token_file),
            ("grpc.join_token", &file.grpc.join_token),
            ("grpc.tls.mode", &file.grpc.tls.mode),
            ("grpc.tls.certificate_file", &file.grpc.tls.certificate_file),
            ("grpc.tls.key_file", &file.grpc.tls.key_file),
            ("http.listen", &file.http.listen),
            ("notify.webhook_url", &file.notify.webhook_url),
            ("notify.digest_at", &file.notify.digest_at),
            ("notify.timezone", &file.notify.timezone),
        ];
        for (key, text) in texts {
            self.placeholder(key, key, text.as_deref())?;
        }
        for (index, pool) in file.pool.iter().enumerate() {
            let at = |key: &str| format!("pool[{index}].{key}");
            for (key, text) in [
                ("name", &pool.name),
                ("prefix", &pool.prefix),
                ("launch_template", &pool.launch_template),
                ("launch_template_version", &pool.launch_template_version),
                ("application", &pool.application),
            ] {
                self.placeholder(&at(key), &format!("pool.{key}"), text.as_deref())?;
            }
            for queue in &pool.queues {
                self.placeholder(&at("queues"), "pool.queues", Some(queue))?;
            }
            for (name, value) in &pool.tags {
                self.placeholder(&at(&format!("tags.{name}")), "pool.tags", Some(value))?;
            }
        }
        Ok(())
    }

    fn placeholder(&self, path: &str, key: &str, text: Option<&str>) -> Result<(), ConfigError> {
        let Some(text) = text else { return Ok(()) };
        let found = if NAMES.contains(&key) { in_name(text) } else { in_value(text) };
        found.map_or(Ok(()), |detail| Err(self.bad(path, detail)))
    }

    /// Two pools with one queue would both launch for its jobs.
    fn queues_of_others(&self, index: usize, pool: &Pool, others: &[Pool]) -> Result<(), ConfigError> {
        let shared = others.iter().filter(|other| other.prefix == pool.prefix).find_map(|other| {
            let queue = pool.queues.iter().find(|queue| other.queues.contains(queue))?;
            Some((queue, &other.name))
        });
        // Two pools of one name are one mistake: that is said by itself.
        let Some((queue, other)) = shared.filter(|(_, other)| **other != pool.name) else { return Ok(()) };
        let detail = format!(
            "queue \"{queue}\" is in two pools, \"{other}\" and \"{}\": both would launch instances for the same jobs. Name it \
             in one of them",
            pool.name
        );
        Err(self.bad(&format!("pool[{index}].queues"), detail))
    }

    fn installation(&self, name: Option<String>) -> Result<Option<String>, ConfigError> {
        let name = name.filter(|name| !name.is_empty());
        if let Some(name) = name.as_deref().filter(|name| !is_name(name)) {
            let detail = format!(
                "\"{name}\" is not a name for an installation: write 1 to 64 letters, digits, dots, dashes and underscores, such \
                 as \"prod-1\""
            );
            return Err(self.bad("installation", detail));
        }
        Ok(name)
    }

    fn redis(&self, key: &str, url: &str) -> Result<(), ConfigError> {
        match Redis::new(key, url) {
            Ok(_) => Ok(()),
            Err(RedisProblem::BadUrl { detail, .. }) => Err(self.bad(
                key,
                format!("is not a Redis URL ({detail}): write redis://, rediss:// or redis+unix://, with special characters of the password as %XX"),
            )),
            Err(other) => Err(self.bad(key, other.to_string())),
        }
    }

    fn listen(&self, key: &str, text: Option<String>, default: &str) -> Result<SocketAddr, ConfigError> {
        let text = text.unwrap_or_else(|| default.to_owned());
        text.trim().parse().map_err(|_| {
            self.bad(key, format!("\"{text}\" is not an address and port: write \"{default}\", for example"))
        })
    }

    /// The address for agents: the setting, or else `grpc.listen` if that is one address.
    fn advertise(&self, set: Option<String>, listen: SocketAddr) -> Result<Option<String>, ConfigError> {
        let Some(text) = set else {
            return Ok((!listen.ip().is_unspecified() && listen.port() != 0).then(|| listen.to_string()));
        };
        let port = text.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>().ok()));
        let port = port.flatten().filter(|port| *port != 0);
        let is_nowhere = text.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified());
        if port.is_none() || is_nowhere || text.contains(['/', ' ', '@']) {
            let detail = format!(
                "\"{text}\" is not a host and port that agents can connect to: write \"10.0.0.5:7443\", for example"
            );
            return Err(self.bad("grpc.advertise", detail));
        }
        Ok(Some(text))
    }

    fn region(&self, set: Option<String>) -> Result<Option<String>, ConfigError> {
        let Some(region) = set else { return Ok(None) };
        let is_plain =
            !region.is_empty() && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_plain {
            return Err(self.bad("ec2.region", format!("\"{region}\" is not a region: write us-east-1, for example")));
        }
        let zone = region.strip_suffix(|c: char| c.is_ascii_lowercase());
        if let Some(whole) = zone.filter(|rest| rest.ends_with(|c: char| c.is_ascii_digit()) && rest.contains('-')) {
            let detail = format!("\"{region}\" is an availability zone: write its region, {whole}");
            return Err(self.bad("ec2.region", detail));
        }
        Ok(Some(region))
    }

    fn operators(&self, written: Option<&str>) -> Result<OperatorsKind, ConfigError> {
        match written.unwrap_or("loopback") {
            "loopback" => Ok(OperatorsKind::Loopback),
            "token" => Ok(OperatorsKind::Token),
            other => {
                let detail = format!(
                    "\"{other}\" is neither \"loopback\" (whoever is on this host) nor \"token\" (whoever shows a token, or comes by \
                     the Unix socket): write one of them"
                );
                Err(self.bad("grpc.operators", detail))
            }
        }
    }

    fn trust(&self, written: Option<&str>, listen: SocketAddr) -> Result<TrustKind, ConfigError> {
        let unknown = || {
            let text = written.unwrap_or_default();
            let detail = format!(
                "\"{text}\" is neither \"aws\" (agents prove themselves by their instance profile) nor \"token\" (by \
                 grpc.join_token): write one of them"
            );
            self.bad("grpc.trust", detail)
        };
        TrustKind::of(written, listen).ok_or_else(unknown)
    }

    /// A role's name, without the path that its ARN may have.
    fn role(&self, role: Option<String>) -> Result<Option<String>, ConfigError> {
        let role = role.filter(|role| !role.is_empty());
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        match &role {
            Some(name) if name.len() > 64 || !name.bytes().all(is_known) => {
                let detail =
                    format!("\"{name}\" is not the name of a role: write what stands behind the last / of its ARN");
                Err(self.bad("grpc.role", detail))
            }
            _ => Ok(role),
        }
    }

    /// Whoever reaches the port of a coordinator that asks for neither a proof nor a token can register as one of its
    /// instances.
    fn join_token(
        &self,
        token: Option<String>,
        trust: TrustKind,
        listen: SocketAddr,
    ) -> Result<Option<String>, ConfigError> {
        let token = token.filter(|token| !token.is_empty());
        let is_needed = trust == TrustKind::Token && !listen.ip().is_loopback();
        if self.needs == Needs::Everything && token.is_none() && is_needed {
            return Err(missing(
                "grpc.join_token",
                "without it, whoever reaches the gRPC port can register as an instance: make one with `openssl rand -hex 32`, set \
                 SPILLWAY_GRPC_JOIN_TOKEN to it, and write it into the image's /etc/spillway/join-token; with grpc.trust = \
                 \"aws\", and on a loopback grpc.listen, none is required",
            ));
        }
        if token.as_ref().is_some_and(|token| token.chars().any(char::is_control)) {
            return Err(self.bad("grpc.join_token", "has a control character: make one with `openssl rand -hex 32`"));
        }
        Ok(token)
    }

    fn duration(&self, path: &str, given: Option<WrittenDuration>, default: Duration) -> Result<Duration, ConfigError> {
        match given {
            Some(WrittenDuration(duration)) if duration < SHORTEST_DURATION => {
                Err(self.bad(path, "must be at least 100ms: write 10s, for example"))
            }
            Some(WrittenDuration(duration)) => Ok(duration),
            None => Ok(default),
        }
    }
}
