//! The variables that settings come from: the process' own, and beneath them those of `coordinator.env`, the file that
//! systemd gives the service. An operator's command so has the same settings as the daemon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// The environment variables, passed in so that tests can use their own.
pub type Environment = BTreeMap<String, String>;

/// The file of variables beside the configuration file.
const FILE: &str = "coordinator.env";

/// A variable's text, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub text: String,
    /// `environment`, or the file with the line.
    pub place: String,
}

/// All variables that are set; an empty one counts as unset.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    all: BTreeMap<String, Variable>,
    /// The file exists, and this user may not read it: it is root's on a primary.
    pub unreadable: Option<PathBuf>,
}

/// The process' own variables. One that is not UTF-8 is none of ours.
pub fn process_environment() -> Environment {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?))).collect()
}

impl Variables {
    pub(super) fn of_process(environment: &Environment) -> Self {
        let mut variables = Self::default();
        for (name, text) in environment {
            variables.set(name, text, "environment".to_owned());
        }
        variables
    }

    /// With the file beside `configuration`, whose variables do not override the process' own.
    ///
    /// # Errors
    /// A line of it is not `NAME=value`.
    pub(super) fn with_file_beside(environment: &Environment, configuration: &Path) -> Result<Self, ConfigError> {
        let file = configuration.with_file_name(FILE);
        let mut variables = Self::default();
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let place = file.display().to_string();
                let assignments =
                    spillway_settings::parse_environment_file(&text).map_err(|line| ConfigError::Syntax {
                        origin: format!("{place}:{line}"),
                        detail: "is not NAME=value, and systemd ignores it: write it so, without `export`".to_owned(),
                    })?;
                for it in assignments {
                    variables.set(&it.name, &it.value, format!("{place}:{}", it.line));
                }
            }
            // systemd reads it as root, and the service has its variables in its environment.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => variables.unreadable = Some(file),
            Err(_) => {}
        }
        variables.all.extend(Self::of_process(environment).all);
        Ok(variables)
    }

    fn set(&mut self, name: &str, text: &str, place: String) {
        if text.is_empty() {
            self.all.remove(name);
        } else {
            self.all.insert(name.to_owned(), Variable { text: text.to_owned(), place });
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.all.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Variable)> {
        self.all.iter().map(|(name, variable)| (name.as_str(), variable))
    }
}
