//! The agent's configuration. Owns what can be set and what it defaults to; never reads anything but the file, the
//! environment and the files that these name.
//!
//! A value comes from `SPILLWAY_…` in the environment, else from the file, else from its default. With no file at the
//! default place the environment has to set everything.

mod source;

pub use source::{ConfigError, Source, duration};
pub use spillway_redis_url::RedisUrl;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use spillway_machine::DrainSignal;
use spillway_settings::dotenv;

use crate::mask::Mask;
use crate::secret::Secret;
use crate::tls::Address;

/// Where the file is unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/spillway/agent.toml";

/// Everything that can be set, as dotted paths. A key in the file that is not here is refused.
pub(crate) const KEYS: &[&str] = &[
    "coordinator",
    "ca_file",
    "env_file",
    "join_token",
    "join_token_file",
    "redis_url_file",
    "state_directory",
    "orphan_after",
    "max_life",
    "boot.directory",
    "boot.user",
    "boot.environment",
    "boot.steps",
    "worker.supervisor",
    "worker.queues",
    "worker.prefix",
    "worker.process",
    "worker.shim",
    "drain.margin",
    "drain.signal",
    "imds.interval",
];

/// The keys of one boot step.
pub(crate) const STEP_KEYS: &[&str] = &["name", "run", "timeout", "retries"];

/// What a mistyped key may have been meant for, besides [`KEYS`]: sections, and the keys of a step.
const OTHER_KEYS: [&str; 8] = [
    "boot",
    "worker",
    "drain",
    "imds",
    "boot.steps.name",
    "boot.steps.run",
    "boot.steps.timeout",
    "boot.steps.retries",
];

/// The whole boot record must fit into what waits for a coordinator.
const MAX_STEPS: usize = 64;

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the coordinator is, and what makes it trusted.
    pub coordinator: Address,
    /// The secret that this image shares with the coordinator.
    pub join_token: Option<Secret>,
    /// Where the agent keeps what it must know after a restart of its own.
    pub state_directory: PathBuf,
    /// After this long without a coordinator and without a job the instance powers itself off.
    pub orphan_after: Duration,
    /// Older than this it powers itself off.
    pub max_life: Option<Duration>,
    /// How the worker is started.
    pub boot: Boot,
    /// What the worker is.
    pub worker: Worker,
    /// How it is drained.
    pub drain: Drain,
    /// How often the metadata service is polled.
    pub imds_interval: Duration,
    /// The application's own environment file.
    pub env_file: Option<PathBuf>,
    /// The application's variables, as far as they are known: of `env_file`, and where its Redis and queues are.
    pub application: BTreeMap<String, Secret>,
    /// BullMQ's Redis.
    pub redis: RedisUrl,
    /// The application's secrets, and this agent's: never shown.
    pub mask: Mask,
}

/// How the worker is started.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Where the steps run.
    pub directory: PathBuf,
    /// The user that they run as; the agent's own user where unset.
    pub user: Option<String>,
    /// What the steps, and so the worker, find in their environment.
    pub environment: BTreeMap<String, String>,
    /// In order.
    pub steps: Vec<Step>,
}

/// One command of the boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// For the reader.
    pub name: String,
    /// For `/bin/sh -c`.
    pub run: String,
    /// After which it is killed.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
}

/// What the worker is.
#[derive(Clone, Debug)]
pub struct Worker {
    /// BullMQ's queues.
    pub queues: Vec<String>,
    /// BullMQ's prefix.
    pub prefix: String,
    /// The names of its PM2 processes; empty: all.
    pub processes: Vec<String>,
    /// Whether its processes load the worker shim.
    pub shim: bool,
}

/// How the worker is drained.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long before its deadline a drain stops the worker.
    pub margin: Duration,
    /// When it is signalled.
    pub signal: DrainSignal,
}

impl Config {
    /// Reads and checks everything.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let coordinator = Address::load(source)?;
        let env_file = source.string("env_file")?.map(PathBuf::from);
        let (boot, join_token) = (boot(source)?, join_token(source)?);
        let application = application_environment(source, env_file.as_ref(), &boot)?;
        let own_url = own_redis_url(source)?;
        let own_secrets = [("JOIN_TOKEN", join_token.as_ref()), ("REDIS_URL", own_url.as_ref())];
        let own = own_secrets.into_iter().filter_map(|(name, it)| Some((name.to_owned(), it?.expose().to_owned())));
        let own: Vec<(String, String)> = own.collect();
        let secrets = application.iter().chain(&boot.environment);
        let mask = Mask::of(secrets.chain(own.iter().map(|(name, value)| (name, value))));
        Ok(Self {
            coordinator,
            join_token,
            mask,
            state_directory: source.string("state_directory")?.unwrap_or_else(|| "/run/spillway".to_owned()).into(),
            orphan_after: source
                .duration("orphan_after", Duration::from_secs(1)..=Duration::from_secs(7 * 86_400))?
                .unwrap_or(Duration::from_secs(900)),
            max_life: source.duration("max_life", Duration::from_secs(1)..=Duration::from_secs(365 * 86_400))?,
            boot,
            worker: worker(source, &application)?,
            drain: drain(source)?,
            imds_interval: source
                .duration("imds.interval", Duration::from_millis(100)..=Duration::from_secs(60))?
                .unwrap_or(Duration::from_secs(1)),
            redis: match &own_url {
                Some(url) => redis_url(source, "redis_url_file", "its file", url.expose())?,
                None => redis(source, env_file.as_ref(), &application)?,
            },
            env_file,
            application: application.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
        })
    }
}

fn join_token(source: &Source) -> Result<Option<Secret>, ConfigError> {
    if let Some(token) = source.string("join_token")? {
        return Ok(Some(Secret::new(token)));
    }
    let Some(path) = source.string("join_token_file")? else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        source.invalid(
            "join_token_file",
            format!("{path} cannot be read: {error}"),
            "name a file that this user can read, with the token as its only line",
        )
    })?;
    let token = text.trim();
    let remedy = "write the coordinator's SPILLWAY_GRPC_JOIN_TOKEN into it, as its only line";
    if token.is_empty() {
        return Err(source.invalid("join_token_file", format!("{path} is empty"), remedy));
    }
    if token.contains(char::is_control) || spillway_settings::in_value(token).is_some() {
        return Err(source.invalid(
            "join_token_file",
            format!("{path} has an example's placeholder or no one line"),
            remedy,
        ));
    }
    Ok(Some(Secret::new(token.to_owned())))
}

fn boot(source: &Source) -> Result<Boot, ConfigError> {
    let directory = source.required("boot.directory", "the application's directory, such as \"/opt/app\"")?;
    if !directory.starts_with('/') {
        return Err(source.invalid("boot.directory", "is not an absolute path", "write a path that starts with /"));
    }
    let steps = match source.tables("boot.steps")? {
        None => default_steps(),
        Some(tables) => tables.iter().enumerate().map(|(i, table)| step(source, i, table)).collect::<Result<_, _>>()?,
    };
    if steps.len() > MAX_STEPS {
        let problem = format!("has {} steps, more than {MAX_STEPS}", steps.len());
        return Err(source.invalid("boot.steps", problem, "combine some of them with &&"));
    }
    Ok(Boot {
        directory: directory.into(),
        user: source.string("boot.user")?,
        environment: source.string_map("boot.environment")?.unwrap_or_default(),
        steps,
    })
}

/// The four commands by which a BullMQ application on PM2 comes up.
fn default_steps() -> Vec<Step> {
    let step = |name: &str, run: &str, timeout, retries| Step {
        name: name.to_owned(),
        run: run.to_owned(),
        timeout: Duration::from_secs(timeout),
        retries,
    };
    vec![
        step("pull", "git pull origin main", 60, 2),
        step("install", "bun install --frozen-lockfile", 180, 2),
        step("start", "pm2 start ecosystem.config.js", 60, 1),
        step("save", "pm2 save", 30, 1),
    ]
}

fn step(source: &Source, index: usize, table: &toml::Table) -> Result<Step, ConfigError> {
    let key = |name: &str| format!("boot.steps[{index}].{name}");
    source.only_known(&format!("boot.steps[{index}]"), table, STEP_KEYS)?;
    let text = |name: &str| match table.get(name) {
        None => Ok(None),
        Some(toml::Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
        Some(_) => Err(source.invalid(&key(name), "is not a string", "write it in quotes")),
    };
    let run = text("run")?
        .ok_or_else(|| source.invalid(&key("run"), "is missing", "write the command, such as run = \"pm2 save\""))?;
    let timeout = match text("timeout")? {
        None => Duration::from_secs(60),
        Some(text) => duration(&text, Duration::from_millis(1)..=Duration::from_secs(86_400))
            .map_err(|detail| source.not_a_duration(&key("timeout"), &detail))?,
    };
    let retries = match table.get("retries") {
        None => 0,
        Some(toml::Value::Integer(n @ 0..=100)) => u32::try_from(*n).unwrap_or(0),
        Some(_) => {
            return Err(source.invalid(&key("retries"), "is not a number of retries", "write a number from 0 to 100"));
        }
    };
    Ok(Step { name: text("name")?.unwrap_or_else(|| run.clone()), run, timeout, retries })
}

fn worker(source: &Source, application: &BTreeMap<String, String>) -> Result<Worker, ConfigError> {
    if let Some(other) = source.string("worker.supervisor")?.filter(|name| name != "pm2") {
        return Err(source.invalid("worker.supervisor", format!("{other:?} is not supported"), "write \"pm2\""));
    }
    let queues = match source.list("worker.queues")? {
        Some(queues) => queues,
        None => application
            .get("QUEUE_NAMES")
            .map(|names| names.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
            .unwrap_or_default(),
    };
    if queues.is_empty() {
        return Err(source.invalid("worker.queues", "names no queue", "write queues = [\"NAME\"]"));
    }
    if let Some(queue) = queues.iter().find(|queue| queue.contains(':')) {
        return Err(source.invalid(
            "worker.queues",
            format!("{queue:?} contains a colon, which BullMQ forbids"),
            "write the queue's name without its prefix",
        ));
    }
    Ok(Worker {
        queues,
        prefix: source.string("worker.prefix")?.unwrap_or_else(|| "bull".to_owned()),
        processes: source.list("worker.process")?.unwrap_or_default(),
        shim: source.boolean("worker.shim")?.unwrap_or(true),
    })
}

fn drain(source: &Source) -> Result<Drain, ConfigError> {
    let signal = match source.string("drain.signal")?.as_deref() {
        None | Some("auto") => DrainSignal::Auto,
        Some("at-once") => DrainSignal::AtOnce,
        Some("when-idle") => DrainSignal::WhenIdle,
        Some(other) => {
            let problem = format!("{other:?} is not supported");
            return Err(source.invalid("drain.signal", problem, "write \"auto\", \"at-once\" or \"when-idle\""));
        }
    };
    let margin = source.duration("drain.margin", Duration::ZERO..=Duration::from_secs(600))?;
    Ok(Drain { margin: margin.unwrap_or(Duration::from_secs(10)), signal })
}

/// The application's variables as the worker finds them: the boot steps' before its file's before the agent's own.
fn application_environment(
    source: &Source,
    file: Option<&PathBuf>,
    boot: &Boot,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut found: BTreeMap<String, String> = ["REDIS_URL", "QUEUE_NAMES"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), source.variable(name)?.to_owned())))
        .collect();
    if let Some(path) = file {
        let remedy = "name the application's file of NAME=value lines";
        let text = std::fs::read(path).map_err(|error| {
            source.invalid("env_file", format!("{} cannot be read: {error}", path.display()), remedy)
        })?;
        let mut environment = source.variables().clone();
        environment.extend(boot.environment.clone());
        found.extend(dotenv::parse(&text, &environment));
    }
    // What the boot steps set is there before the file is read, and stays.
    let set = |name: &&str| boot.environment.get(*name).filter(|value| !value.is_empty());
    found.extend(["REDIS_URL", "QUEUE_NAMES"].iter().filter_map(|name| Some(((*name).to_owned(), set(name)?.clone()))));
    Ok(found)
}

fn redis(
    source: &Source,
    file: Option<&PathBuf>,
    application: &BTreeMap<String, String>,
) -> Result<RedisUrl, ConfigError> {
    let place = file.map_or_else(|| "the environment".to_owned(), |path| path.display().to_string());
    let url = application.get("REDIS_URL").filter(|url| !url.is_empty()).ok_or_else(|| {
        source.invalid("env_file", format!("{place} has no REDIS_URL"), "set REDIS_URL=redis://HOST:6379 there")
    })?;
    redis_url(source, "env_file", &format!("REDIS_URL in {place}"), url)
}

fn redis_url(source: &Source, key: &str, what: &str, url: &str) -> Result<RedisUrl, ConfigError> {
    RedisUrl::parse(url).map_err(|error| {
        // The error's own words say what to write.
        let error = error.to_string();
        let (problem, remedy) = error.split_once(": ").unwrap_or((&error, "write redis://HOST:6379"));
        source.invalid(key, format!("{what} {problem}"), remedy)
    })
}

/// The URL of the agent's own Redis user, where it has one. The worker's stays the application's.
fn own_redis_url(source: &Source) -> Result<Option<Secret>, ConfigError> {
    let Some(path) = source.string("redis_url_file")? else { return Ok(None) };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        source.invalid(
            "redis_url_file",
            format!("{path} cannot be read: {error}"),
            "name a file with redis://USER:PASSWORD@HOST:6379 as its only line, or remove this: the application's REDIS_URL is then used",
        )
    })?;
    Ok(Some(Secret::new(text.trim().to_owned())))
}

#[cfg(test)]
mod tests;
