//! Every setting in effect, and where its value comes from: what `spillway config show` prints. Secrets are masked.

use std::time::Duration;

use serde::Serialize;
use toml::{Table, Value};

use super::keys::KEYS;
use super::origin::Origins;
use super::{Settings, TrustKind};

/// What stands for a secret.
const MASK: &str = "********";

/// One setting as it is in effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EffectiveSetting {
    /// `pool[0].max_instances`: with the number of its pool.
    pub key: String,
    /// As TOML writes it. None: it is not set, and has no default.
    pub value: Option<String>,
    /// `coordinator.toml:12`, `environment: REDIS_URL`, `default`.
    pub origin: String,
    pub is_default: bool,
}

/// All settings, in the order of the settings' page.
pub(super) fn of(table: &Table, origins: &Origins, settings: &Settings) -> Vec<EffectiveSetting> {
    let of_all = KEYS.iter().filter(|(key, ..)| !key.starts_with("pool."));
    let mut all: Vec<EffectiveSetting> =
        of_all.map(|(key, _, default)| one((*key).to_owned(), default, table, origins, settings)).collect();
    for index in 0..settings.pools.len() {
        for (key, _, default) in KEYS {
            if let Some(rest) = key.strip_prefix("pool.") {
                all.push(one(format!("pool[{index}].{rest}"), default, table, origins, settings));
            }
        }
    }
    all
}

fn one(path: String, default: &str, table: &Table, origins: &Origins, settings: &Settings) -> EffectiveSetting {
    let written = at(table, &path).filter(|value| value.as_str() != Some(""));
    let origin = || {
        let origin = origins.of(&path);
        if origin.name == super::keys::without_indexes(&path) { origin.place } else { origin.to_string() }
    };
    let (value, origin, is_default) = match written {
        Some(value) => (Some(shown(&path, value)), origin(), false),
        None => (derived(&path, settings).unwrap_or_else(|| literal(default)), "default".to_owned(), true),
    };
    EffectiveSetting { key: path, value, origin, is_default }
}

/// Defaults that follow from other settings. None: it is none of those.
fn derived(path: &str, settings: &Settings) -> Option<Option<String>> {
    let text = |text: &str| shown(path, &Value::String(text.to_owned()));
    Some(match path {
        "ledger.url" => Some(text(&settings.ledger_url)),
        "grpc.advertise" => settings.grpc_advertise.as_deref().map(text),
        "grpc.trust" => Some(text(if settings.trust == TrustKind::Aws { "aws" } else { "token" })),
        "grpc.tls.key_file" => {
            let own = settings.tls.as_ref().and_then(|tls| tls.own.as_ref());
            own.map(|own| text(&own.key_file.display().to_string()))
        }
        "state_directory" => settings.state_directory.as_ref().map(|it| text(&it.display().to_string())),
        _ => {
            let (pool, key) = path.strip_prefix("pool[")?.split_once("].")?;
            let pool = settings.pools.get(pool.parse::<usize>().ok()?)?;
            let span = |span| Some(text(&written(span)));
            match (key, &pool.brain.wait) {
                // At least `interval`, unless it is set.
                ("listing_interval", _) => span(pool.brain.listing_interval),
                ("target", Some(_)) => span(pool.target),
                ("policy.idle", Some(wait)) => span(wait.idle),
                // They are read with the `wait` policy alone.
                ("policy.target" | "policy.quantile" | "policy.slots", None) => None,
                _ => return None,
            }
        }
    })
}

/// As one would write it.
fn written(span: Duration) -> String {
    match u64::try_from(span.as_millis()).unwrap_or(u64::MAX) {
        millis if millis % 60_000 == 0 && millis > 60_000 => format!("{}m", millis / 60_000),
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}

/// A default as the settings' page has it.
fn literal(default: &str) -> Option<String> {
    (!["none", "required"].contains(&default)).then(|| default.to_owned())
}

/// The value at `pool[0].policy.idle`.
fn at<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    let mut parts = path.split('.');
    let first = parts.next()?;
    let mut value = match first.strip_prefix("pool[") {
        Some(index) => table.get("pool")?.as_array()?.get(index.strip_suffix(']')?.parse::<usize>().ok()?)?,
        None => table.get(first)?,
    };
    for part in parts {
        value = value.as_table()?.get(part)?;
    }
    Some(value)
}

/// As TOML writes it; a secret masked.
fn shown(path: &str, value: &Value) -> String {
    let masked = match (path, value.as_str()) {
        ("grpc.join_token" | "notify.webhook_url", _) => MASK.to_owned(),
        ("redis.url" | "ledger.url", Some(url)) => without_password(url),
        _ => return value.to_string(),
    };
    Value::String(masked).to_string()
}

/// The URL without its password, and without its query, which may have one too.
fn without_password(url: &str) -> String {
    let (url, query) = url.split_once('?').map_or((url, ""), |(url, _)| (url, "?…"));
    // A socket's path has no login.
    let Some((scheme, rest)) = url.split_once("://") else { return format!("{url}{query}") };
    let end = rest.find('/').unwrap_or(rest.len());
    let Some(login) = rest[..end].rfind('@') else { return format!("{scheme}://{rest}{query}") };
    let user = rest[..login].split_once(':').map(|(user, _)| format!("{user}:")).unwrap_or_default();
    format!("{scheme}://{user}{MASK}{}{query}", &rest[login..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_left_of_a_url() {
        for (url, expected) in [
            ("redis://127.0.0.1:6379/2", "redis://127.0.0.1:6379/2"),
            ("redis://:secret@h:1", "redis://:********@h:1"),
            ("rediss://bullmq:secret@h/0?password=secret", "rediss://bullmq:********@h/0?…"),
            ("redis://secret@h", "redis://********@h"),
            ("redis://u:sec@ret@h:1", "redis://u:********@h:1"),
            ("/run/redis.sock", "/run/redis.sock"),
            ("/run/redis.sock?password=secret", "/run/redis.sock?…"),
            ("redis+unix:///run/redis.sock?user=u&pass=secret", "redis+unix:///run/redis.sock?…"),
        ] {
            assert_eq!(without_password(url), expected, "{url}");
        }
    }
}
