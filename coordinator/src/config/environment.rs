//! Settings from variables: `SPILLWAY_…` overrides the file, and the plan's variables fill in what the file leaves out.

use toml::{Table, Value};

use super::ConfigError;
use super::keys::{KEYS, Kind, PLAN, kind_of, nearest, variable};
use super::origin::{Origin, Origins};
use super::variables::{Variable, Variables};

/// `SPILLWAY_…` variables that are no keys of the file: of the command line, of the agent, of an emulated instance.
const OTHERS: [&str; 9] = [
    "SPILLWAY_CONFIG",
    "SPILLWAY_LOG",
    "SPILLWAY_LOG_JSON",
    "SPILLWAY_SERVER",
    "SPILLWAY_OPERATOR_TOKEN_FILE",
    "SPILLWAY_CA_FILE",
    "SPILLWAY_INSTANCE_ID",
    "SPILLWAY_EMULATOR_INSTANCE",
    "SPILLWAY_EMULATOR_KEY_FILE",
];

/// Where values go, and where it is noted what they came from.
pub(super) struct Target<'a> {
    pub table: &'a mut Table,
    pub origins: &'a mut Origins,
    /// What an operator should know although it works.
    pub warnings: &'a mut Vec<String>,
}

/// Overrides the file's values with the `SPILLWAY_…` variables.
pub(super) fn overlay(target: &mut Target<'_>, variables: &Variables) -> Result<(), ConfigError> {
    for (name, given) in variables.iter().filter(|(name, _)| name.starts_with("SPILLWAY_")) {
        let Some((key, kind, _)) = KEYS.iter().find(|(key, ..)| variable(key) == name) else {
            misspelt(target.warnings, name, given)?;
            continue;
        };
        target.set(key, name, given, value(name, given, *kind)?)?;
    }
    Ok(())
}

/// Sets from the plan's variables the keys that the file leaves out.
pub(super) fn fill(target: &mut Target<'_>, variables: &Variables) -> Result<(), ConfigError> {
    state_directory(target, variables)?;
    for (name, key) in PLAN {
        let Some(given) = variables.get(name) else { continue };
        let value = match name {
            "QUEUE_SCALE_DOWN_IDLE_MINUTES" => idle(name, given)?,
            "QUEUE_SCALE_UP_THRESHOLD" => steps(name, given)?,
            _ => value(name, given, kind_of(key).unwrap_or(Kind::Text))?,
        };
        let path: Vec<&str> = key.split('.').collect();
        match get(target.table, &path) {
            None => target.set(key, name, given, value)?,
            Some(written) if *written != value && variables.get(&variable(key)).is_none() => {
                let file = target.origins.of(&first_pool(key));
                target.warnings.push(format!("{}: {name} is not used, because {file} takes precedence", given.place));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What systemd gives the unit, or else the user's own place for state.
fn state_directory(target: &mut Target<'_>, variables: &Variables) -> Result<(), ConfigError> {
    if target.table.contains_key("state_directory") {
        return Ok(());
    }
    let below = |text: &str, rest: &str| format!("{}/{rest}", text.trim_end_matches('/'));
    let given = |name: &'static str| variables.get(name).map(|given| (name, given));
    let (name, given, place) = if let Some((name, it)) = given("STATE_DIRECTORY") {
        // systemd separates several by colons.
        (name, it, it.text.split(':').next().unwrap_or_default().to_owned())
    } else if let Some((name, it)) = given("XDG_STATE_HOME") {
        (name, it, below(&it.text, "spillway"))
    } else if let Some((name, it)) = given("HOME") {
        (name, it, below(&it.text, ".local/state/spillway"))
    } else {
        return Ok(());
    };
    target.set("state_directory", name, given, Value::String(place))
}

/// Warns of variables that a setting of the plan was meant by.
pub(super) fn near_misses(variables: &Variables) -> Vec<String> {
    let known = |name: &str| PLAN.iter().find(|(known, _)| strsim::osa_distance(name, known) <= 2);
    let is_free = |name: &str| ["EC2_", "QUEUE_"].iter().any(|prefix| name.starts_with(prefix));
    let meant = |(name, given): (&str, &Variable)| {
        let (plan, _) =
            known(name).filter(|(plan, _)| is_free(name) && *plan != name && variables.get(plan).is_none())?;
        Some(format!("{}: {name} is no setting: did you mean {plan}?", given.place))
    };
    variables.iter().filter_map(meant).collect()
}

impl Target<'_> {
    pub(super) fn set(&mut self, key: &str, name: &str, given: &Variable, value: Value) -> Result<(), ConfigError> {
        let path: Vec<&str> = key.split('.').collect();
        set(self.table, &path, value).map_err(|detail| bad(name, given, &detail))?;
        self.origins.came_from(key, Origin { place: given.place.clone(), name: name.to_owned() });
        Ok(())
    }
}

/// An unknown `SPILLWAY_…`: an error where a key was meant for certain, since its section or all but two letters are
/// right. It may be the agent's otherwise.
fn misspelt(warnings: &mut Vec<String>, name: &str, given: &Variable) -> Result<(), ConfigError> {
    if OTHERS.contains(&name) {
        return Ok(());
    }
    let close = KEYS.iter().map(|(key, ..)| variable(key)).find(|known| strsim::osa_distance(name, known) <= 2);
    let rest = name["SPILLWAY_".len()..].to_lowercase();
    let sections = ["redis", "ledger", "ec2", "grpc", "http", "pool"];
    let is_ours = sections.iter().any(|section| rest.strip_prefix(section).is_some_and(|rest| rest.starts_with('_')));
    if close.is_none() && !is_ours {
        // The agent's variables may stand in one environment with ours; a key without its section is no key of the
        // agent.
        let without_section = KEYS.iter().find(|(key, ..)| key.split_once('.').is_some_and(|(_, key)| key == rest));
        if let Some((key, ..)) = without_section.filter(|_| !["join_token"].contains(&rest.as_str())) {
            warnings.push(format!("{}: {name} is no setting: did you mean {}?", given.place, variable(key)));
        }
        return Ok(());
    }
    let suggestion = close.or_else(|| nearest(&rest.replacen('_', ".", 1)).map(|known| variable(&known)));
    Err(ConfigError::UnknownKey { origin: given.place.clone(), key: name.to_owned(), suggestion })
}

fn idle(name: &str, given: &Variable) -> Result<Value, ConfigError> {
    check(name, given)?;
    let minutes: f64 =
        given.text.trim().parse().ok().filter(|minutes| *minutes > 0.0 && *minutes <= 527_040.0).ok_or_else(|| {
            bad(
                name,
                given,
                &format!("\"{}\" is not a number of minutes above 0: write 10 for ten minutes", given.text),
            )
        })?;
    Ok(Value::String(format!("{}ms", (minutes * 60_000.0).round())))
}

fn steps(name: &str, given: &Variable) -> Result<Value, ConfigError> {
    check(name, given)?;
    let jobs: i64 =
        given.text.trim().parse().ok().filter(|jobs| (1..=1_000_000_000).contains(jobs)).ok_or_else(|| {
            bad(name, given, &format!("\"{}\" is not a number of jobs above 0: write a whole number", given.text))
        })?;
    let step = |jobs: i64, instances: i64| {
        let pairs = [("jobs", jobs.into()), ("for", "5m".into()), ("instances", Value::from(instances))];
        Value::Table(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    Ok(Value::Array(vec![step(jobs, 1), step(jobs * 3, 2)]))
}

fn bad(name: &str, given: &Variable, detail: &str) -> ConfigError {
    ConfigError::Bad { origin: given.place.clone(), key: name.to_owned(), detail: detail.to_owned() }
}

/// Comments and quotes that became part of the value. The value is not repeated: it may be a secret.
fn check(name: &str, given: &Variable) -> Result<(), ConfigError> {
    spillway_settings::in_variable(&given.text).map_or(Ok(()), |detail| Err(bad(name, given, &detail)))
}

fn value(name: &str, given: &Variable, kind: Kind) -> Result<Value, ConfigError> {
    let text = &given.text;
    let bad = |detail: String| bad(name, given, &detail);
    if kind != Kind::Toml {
        check(name, given)?;
    }
    match kind {
        Kind::Text => Ok(Value::String(text.clone())),
        Kind::Span => match spillway_settings::duration(text) {
            Ok(_) => Ok(Value::String(text.clone())),
            Err(detail) => Err(bad(detail)),
        },
        Kind::Number => match text.trim().parse::<u32>() {
            Ok(number) => Ok(Value::Integer(number.into())),
            Err(_) => Err(bad(format!("\"{text}\" is not a whole number: write 2, for example"))),
        },
        Kind::Fraction => match text.trim().parse::<f64>() {
            Ok(number) => Ok(Value::Float(number)),
            Err(_) => Err(bad(format!("\"{text}\" is not a number: write 0.95, for example"))),
        },
        Kind::Flag => match text.trim().parse::<bool>() {
            Ok(flag) => Ok(Value::Boolean(flag)),
            Err(_) => Err(bad(format!("\"{text}\" is neither true nor false: write one of them"))),
        },
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        // A text in it may stand without its quotes.
        Kind::Toml if text.trim().chars().all(char::is_alphabetic) => Ok(Value::String(text.trim().to_owned())),
        Kind::Toml => {
            let table: Result<Table, _> = format!("value = {text}").parse();
            let message = |error: toml::de::Error| error.message().lines().next().unwrap_or_default().to_owned();
            let table = table.map_err(|error| {
                bad(format!("is not valid TOML ({}): write the value as in the file, on one line", message(error)))
            })?;
            let one = table.into_iter().next().map(|(_, value)| value);
            one.ok_or_else(|| bad("is empty: write the value as in the file".to_owned()))
        }
    }
}

/// The path of a key in the only pool.
pub(super) fn first_pool(key: &str) -> String {
    key.strip_prefix("pool.").map_or_else(|| key.to_owned(), |rest| format!("pool[0].{rest}"))
}

pub(super) fn get<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let mut value = table.get(*first)?;
    if *first == "pool" {
        value = value.as_array()?.first()?;
    }
    rest.iter().try_fold(value, |value, key| value.as_table()?.get(*key))
}

/// Sets `path`, where `pool` means the only `[[pool]]`, which is created if there is none. The file's shape has been
/// checked.
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
