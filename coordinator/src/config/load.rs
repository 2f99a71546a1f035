//! Reads the file and the environment into checked settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use spillway_settings::Document;

use super::effective::{self, EffectiveSetting};
use super::environment::{self, Target};
use super::keys::{nearest, without_indexes};
use super::loopback::for_operators;
use super::origin::Origins;
use super::proxies::Proxies;
use super::shape::{Misfit, misfit};
use super::variables::{Environment, Variables};
use super::{ConfigError, DEFAULT_FILE, DEFAULT_GRPC_LISTEN, File, Needs, Settings, check, secrets, trust};

/// Reads the settings. Without `file` the default one is read if it exists, since the plan's variables alone are
/// enough. The variables of `coordinator.env` beside it count as if they were set, so that a command sees what the
/// service sees.
pub fn load(file: Option<&Path>, environment: &Environment, needs: Needs) -> Result<Settings, ConfigError> {
    Ok(load_all(file, environment, needs)?.settings)
}

/// Every setting of `spillway run`, with where it comes from; and what the start would warn of.
///
/// # Errors
/// As [`load`] of everything.
pub fn effective(
    file: Option<&Path>,
    environment: &Environment,
) -> Result<(Vec<EffectiveSetting>, Settings), ConfigError> {
    let loaded = load_all(file, environment, Needs::Everything)?;
    Ok((effective::of(&loaded.table, &loaded.origins, &loaded.settings), loaded.settings))
}

fn load_all(file: Option<&Path>, environment: &Environment, needs: Needs) -> Result<Loaded, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = read(path, file.is_none())?;
    let variables = Variables::with_file_beside(environment, path)?;
    // Without a file there is nothing in it that a message could blame.
    let origin = if text.is_none() { "default".to_owned() } else { path.display().to_string() };
    parse_all(&origin, &text.unwrap_or_default(), &variables, needs)
}

/// The settings, and what was written for them.
struct Loaded {
    table: toml::Table,
    origins: Origins,
    settings: Settings,
}

/// The text of the file; None where the default one does not exist.
fn read(path: &Path, is_default: bool) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_default && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ConfigError::Unreadable { file: path.to_owned(), source }),
    }
}

/// The coordinator that an operator's command asks, by the settings that `spillway run` has on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorAddress {
    pub address: SocketAddr,
    /// Why the settings could not be read, or not all of them: then the address is a guess.
    pub problem: Option<String>,
    /// Being on this host is not enough: `grpc.operators` is `token`.
    pub asks_for_token: bool,
}

/// Where the coordinator of this machine answers operators. Reads no more of the settings than that, so that a mistake
/// made in them since its start keeps nobody from asking it.
pub fn operator_address(file: Option<&Path>, environment: &Environment) -> OperatorAddress {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let default: SocketAddr = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 7443);
    let found = |file: Option<&Path>| -> Result<(Option<String>, Option<String>, bool), ConfigError> {
        let variables = Variables::with_file_beside(environment, path)?;
        let problem = variables
            .unreadable
            .as_ref()
            .map(|file| format!("{} cannot be read by this user: use sudo, or --server", file.display()));
        let text = read(path, file.is_none()).map(Option::unwrap_or_default);
        let document = text.and_then(|text| document(&path.display().to_string(), &text));
        let written = |variable: &str, key: &str| {
            let of_file = || document.as_ref().ok()?.table.get("grpc")?.get(key)?.as_str().map(str::to_owned);
            variables.get(variable).map(|variable| variable.text.clone()).or_else(of_file)
        };
        let listen = written("SPILLWAY_GRPC_LISTEN", "listen");
        let asks_for_token = written("SPILLWAY_GRPC_OPERATORS", "operators").is_some_and(|kind| kind == "token");
        if variables.get("SPILLWAY_GRPC_LISTEN").is_none() {
            document?;
        }
        Ok((listen, problem, asks_for_token))
    };
    let (written, problem, asks_for_token) = found(file).unwrap_or_else(|error| (None, Some(error.to_string()), false));
    let written = written.unwrap_or_else(|| DEFAULT_GRPC_LISTEN.to_owned());
    match written.trim().parse() {
        Ok(listen) => OperatorAddress { address: for_operators(listen), problem, asks_for_token },
        Err(_) => OperatorAddress {
            address: for_operators(default),
            problem: Some(format!("grpc.listen \"{written}\" is not an address and port")),
            asks_for_token,
        },
    }
}

/// `origin` is the file's name, for errors.
#[cfg(test)]
pub(super) fn parse(
    origin: &str,
    text: &str,
    environment: &Environment,
    needs: Needs,
) -> Result<Settings, ConfigError> {
    Ok(parse_all(origin, text, &Variables::of_process(environment), needs)?.settings)
}

fn parse_all(origin: &str, text: &str, variables: &Variables, needs: Needs) -> Result<Loaded, ConfigError> {
    let document = document(origin, text)?;
    let mut table = document.table.clone();
    let mut origins = Origins::new(origin, document);
    check_shape(&table, &origins)?;
    let mut warnings = environment::near_misses(variables);
    let mut target = Target { table: &mut table, origins: &mut origins, warnings: &mut warnings };
    environment::fill(&mut target, variables)?;
    environment::overlay(&mut target, variables)?;
    let credentials = variables.get("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory.text));
    secrets::read(&mut target, credentials)?;
    // What variables set in TOML is of the right shape as well.
    check_shape(&table, &origins)?;
    let file: File = table.clone().try_into().map_err(|error: toml::de::Error| ConfigError::Syntax {
        origin: origin.to_owned(),
        detail: error.message().to_owned(),
    })?;
    let mut settings = check::check(&origins, file, needs, warnings).map_err(|error| with_hint(error, variables))?;
    if needs == Needs::Everything {
        settings.proxies = Proxies::of(variables)?;
        settings.sts_endpoint = trust::sts_endpoint(variables)?;
    }
    Ok(Loaded { table, origins, settings })
}

/// The proxies that the environment sets, for a command that needs no other settings.
///
/// # Errors
/// A variable has no proxy's URL.
pub fn proxies(environment: &Environment) -> Result<Proxies, ConfigError> {
    Proxies::of(&Variables::of_process(environment))
}

fn document(origin: &str, text: &str) -> Result<Document, ConfigError> {
    Document::parse(text).map_err(|syntax| ConfigError::Syntax {
        origin: format!("{origin}:{}", syntax.line),
        detail: format!("{}: {}", syntax.problem, syntax.remedy),
    })
}

fn check_shape(table: &toml::Table, origins: &Origins) -> Result<(), ConfigError> {
    let Some(misfit) = misfit(table) else { return Ok(()) };
    Err(match misfit {
        Misfit::Unknown { path } => {
            let (origin, key) = (origins.of(&path).place, without_indexes(&path));
            ConfigError::UnknownKey { origin, suggestion: nearest(&key), key }
        }
        Misfit::Bad { path, detail } => {
            let origin = origins.of(&path);
            ConfigError::Bad { origin: origin.place, key: origin.name, detail }
        }
    })
}

/// What is missing may stand in a file that this user may not read, or under a misspelt name.
fn with_hint(error: ConfigError, variables: &Variables) -> ConfigError {
    let ConfigError::Missing { key, remedy, .. } = error else { return error };
    let mut hints = environment::near_misses(variables);
    hints.extend(
        variables.unreadable.as_ref().map(|file| format!("this user may not read {}: use sudo", file.display())),
    );
    let hint = hints.iter().map(|hint| format!(" ({hint})")).collect();
    ConfigError::Missing { key, remedy, hint }
}
