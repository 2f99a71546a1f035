//! Settings from variables: `SPILLWAY_…` overrides the file, and the plan's variables fill in what the file leaves out.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::ConfigError;
use super::keys::{KEYS, Kind, nearest, variable};

/// The environment variables, passed in so that tests can use their own.
pub type Environment = BTreeMap<String, String>;

/// Overrides the file's values with the `SPILLWAY_…` variables.
pub(super) fn overlay(table: &mut Table, environment: &Environment) -> Result<(), ConfigError> {
    for (name, text) in environment {
        let is_key = KEYS.iter().any(|(key, _)| !key.contains('.') && variable(key) == *name);
        if !is_key && !["REDIS", "LEDGER", "EC2", "GRPC", "HTTP", "POOL"].iter().any(|section| is_in(name, section)) {
            if let Some(known) = misspelt_variable(name) {
                let (origin, key) = ("environment".to_owned(), name.clone());
                return Err(ConfigError::UnknownKey { origin, key, suggestion: Some(known) });
            }
            continue;
        }
        let Some((key, kind)) = KEYS.iter().find(|(key, _)| variable(key) == *name) else {
            let key = name["SPILLWAY_".len()..].to_lowercase().replacen('_', ".", 1);
            let suggestion = nearest(&key).map(|known| variable(&known));
            return Err(ConfigError::UnknownKey { origin: "environment".to_owned(), key: name.clone(), suggestion });
        };
        let value = value(name, text, *kind)?;
        let path: Vec<&str> = key.split('.').collect();
        set(table, &path, value).map_err(|detail| ConfigError::Bad {
            origin: "environment".to_owned(),
            key: name.clone(),
            detail,
        })?;
    }
    Ok(())
}

/// Sets from the plan's variables the keys that the file leaves out.
pub(super) fn fill(table: &mut Table, environment: &Environment) -> Result<(), ConfigError> {
    let given = |name: &str| environment.get(name).filter(|text| !text.is_empty());
    let mut fill = |path: &[&str], value: Value| -> Result<(), ConfigError> {
        if get(table, path).is_none() {
            set(table, path, value)
                .map_err(|detail| ConfigError::Syntax { origin: "environment".to_owned(), detail })?;
        }
        Ok(())
    };
    // What systemd gives the unit, or else the user's own place for state.
    let below = |name: &str, rest: &str| given(name).map(|home| format!("{}/{rest}", home.trim_end_matches('/')));
    // systemd separates several by colons.
    let of_unit = given("STATE_DIRECTORY").and_then(|paths| Some(paths.split(':').next()?.to_owned()));
    let state =
        of_unit.or_else(|| below("XDG_STATE_HOME", "spillway")).or_else(|| below("HOME", ".local/state/spillway"));
    if let Some(state) = state {
        fill(&["state_directory"], Value::String(state))?;
    }
    for (name, path, kind) in [
        ("REDIS_URL", ["redis", "url"], Kind::Text),
        ("AWS_REGION", ["ec2", "region"], Kind::Text),
        ("EC2_LAUNCH_TEMPLATE_ID", ["pool", "launch_template"], Kind::Text),
        ("EC2_SPOT_MAX_COUNT", ["pool", "max_instances"], Kind::Number),
        ("QUEUE_NAMES", ["pool", "queues"], Kind::List),
    ] {
        if let Some(text) = given(name) {
            fill(&path, value(name, text, kind)?)?;
        }
    }
    if let Some(text) = given("QUEUE_SCALE_DOWN_IDLE_MINUTES") {
        let minutes: f64 = text.parse().ok().filter(|minutes| *minutes > 0.0).ok_or_else(|| {
            bad("QUEUE_SCALE_DOWN_IDLE_MINUTES", &format!("\"{text}\" is not a number of minutes above 0"))
        })?;
        fill(&["pool", "policy", "idle"], Value::String(format!("{}ms", (minutes * 60_000.0).round())))?;
    }
    if let Some(text) = given("QUEUE_SCALE_UP_THRESHOLD") {
        let jobs: i64 =
            text.parse().ok().filter(|jobs| *jobs > 0).ok_or_else(|| {
                bad("QUEUE_SCALE_UP_THRESHOLD", &format!("\"{text}\" is not a number of jobs above 0"))
            })?;
        let step = |jobs: i64, instances: i64| {
            let pairs = [("jobs", jobs.into()), ("for", "5m".into()), ("instances", Value::from(instances))];
            Value::Table(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
        };
        fill(&["pool", "policy", "steps"], Value::Array(vec![step(jobs, 1), step(jobs.saturating_mul(3), 2)]))?;
    }
    Ok(())
}

/// The known variable that `name` misspells by at most two letters (`SPILLWAY_LEGDER_URL`). Any other `SPILLWAY_…` variable
/// may be the agent's.
fn misspelt_variable(name: &str) -> Option<String> {
    let is_close = |known: &String| name.starts_with("SPILLWAY_") && strsim::osa_distance(name, known) <= 2;
    KEYS.iter().map(|(key, _)| variable(key)).find(is_close)
}

fn is_in(name: &str, section: &str) -> bool {
    name.strip_prefix("SPILLWAY_").and_then(|rest| rest.strip_prefix(section)).is_some_and(|rest| rest.starts_with('_'))
}

fn bad(name: &str, detail: &str) -> ConfigError {
    ConfigError::Bad { origin: "environment".to_owned(), key: name.to_owned(), detail: detail.to_owned() }
}

fn value(name: &str, text: &str, kind: Kind) -> Result<Value, ConfigError> {
    match kind {
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::Number => match text.trim().parse::<i64>() {
            Ok(number) => Ok(Value::Integer(number)),
            Err(_) => Err(bad(name, &format!("\"{text}\" is not a whole number"))),
        },
        Kind::Flag => match text.trim().parse::<bool>() {
            Ok(flag) => Ok(Value::Boolean(flag)),
            Err(_) => Err(bad(name, &format!("\"{text}\" is neither true nor false"))),
        },
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        Kind::Toml => {
            let table: Table = format!("value = {text}").parse().map_err(|error: toml::de::Error| {
                bad(name, &format!("is not valid TOML ({}): write the value as in the file", error.message()))
            })?;
            table
                .into_iter()
                .next()
                .map(|(_, value)| value)
                .ok_or_else(|| bad(name, "is empty: write the value as in the file"))
        }
    }
}

fn get<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = table.get(*first)?;
    if *first == "pool" {
        value = value.as_array()?.first()?;
    }
    rest.iter().try_fold(value, |value, key| value.as_table()?.get(*key))
}

/// Sets `path`, where `pool` means the only `[[pool]]`, which is created if there is none.
fn set(table: &mut Table, path: &[&str], value: Value) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        table.insert((*first).to_owned(), value);
        return Ok(());
    }
    let entry = table.entry((*first).to_owned());
    let below = if *first == "pool" {
        let pools = entry.or_insert_with(|| Value::Array(vec![Value::Table(Table::new())]));
        let Some(pools) = pools.as_array_mut() else {
            return Err("pool is not a list: write [[pool]] instead of [pool]".to_owned());
        };
        if pools.len() > 1 {
            return Err(
                "the file has several pools, and a variable cannot select one: set the key in the file".to_owned()
            );
        }
        if pools.is_empty() {
            pools.push(Value::Table(Table::new()));
        }
        pools.first_mut()
    } else {
        Some(entry.or_insert_with(|| Value::Table(Table::new())))
    };
    match below.and_then(Value::as_table_mut) {
        Some(below) => set(below, rest, value),
        None => Err(format!("{first} is not a section: write [{first}]")),
    }
}
