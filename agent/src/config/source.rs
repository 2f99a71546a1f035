//! Where a value comes from: the environment before the file. Owns the reading of single values and the errors about
//! them; never knows what a value is for.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use spillway_settings::{Document, in_name, in_value, in_variable};

use super::{KEYS, OTHER_KEYS};

/// A value that cannot be used: where it stands, what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {key} {problem}: {remedy}")]
pub struct ConfigError {
    /// The file or the variable.
    pub place: String,
    /// The key's dotted path.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// The file and the environment.
#[derive(Debug, Default)]
pub struct Source {
    path: String,
    document: Document,
    variables: BTreeMap<String, String>,
}

impl Source {
    /// Reads the file, which may be absent where nobody named it, and refuses keys that do not exist.
    pub fn read(
        path: &Path,
        named: bool,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let place = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => String::new(),
            Err(error) => {
                return Err(ConfigError {
                    place,
                    key: "the file".to_owned(),
                    problem: format!("cannot be read ({error})"),
                    remedy: "name a readable file with --config".to_owned(),
                });
            }
        };
        Self::parse(place, &text, variables)
    }

    /// The same, from text.
    pub fn parse(
        path: String,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let document = Document::parse(text).map_err(|syntax| ConfigError {
            place: format!("{path}:{}", syntax.line),
            key: "the file".to_owned(),
            problem: syntax.problem,
            remedy: syntax.remedy.to_owned(),
        })?;
        let source = Self { path, document, variables: variables.into_iter().collect() };
        source.check_keys()?;
        Ok(source)
    }

    /// A variable of the environment; an empty one counts as unset.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The whole environment.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// An error about this key, wherever its value came from.
    pub fn invalid(&self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
        let name = variable_of(key);
        let place = if self.variable(&name).is_some() { format!("${name}") } else { self.place(key) };
        ConfigError { place, key: key.to_owned(), problem: problem.into(), remedy: remedy.into() }
    }

    /// The line of a key that the file has, from 1.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.document.line(key)
    }

    /// The file, with the line of a key that it has.
    fn place(&self, key: &str) -> String {
        self.line(key).map_or_else(|| self.path.clone(), |line| format!("{}:{line}", self.path))
    }

    /// A text. One that its author cannot have meant is refused: an example, or a comment that became part of a
    /// variable. It is not repeated, since it may be half a secret.
    pub fn string(&self, key: &str) -> Result<Option<String>, ConfigError> {
        if let Some(value) = self.variable(&variable_of(key)) {
            self.is_meant(key, in_variable(value).or_else(|| in_value(value)))?;
            return Ok(Some(value.to_owned()));
        }
        match self.get(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) if !text.trim().is_empty() => {
                self.is_meant(key, in_value(text)).map(|()| Some(text.clone()))
            }
            Some(toml::Value::String(_)) => Err(self.invalid(key, "is empty", "write a value, or remove the key")),
            Some(_) => Err(self.invalid(key, "is not a string", "write it in quotes")),
        }
    }

    fn is_meant(&self, key: &str, found: Option<String>) -> Result<(), ConfigError> {
        let Some(detail) = found else { return Ok(()) };
        let (problem, remedy) = detail.rsplit_once(": ").unwrap_or((&detail, "write the value itself"));
        Err(self.invalid(key, problem, remedy))
    }

    /// A text that must be there.
    pub fn required(&self, key: &str, what: &str) -> Result<String, ConfigError> {
        self.string(key)?.ok_or_else(|| {
            let remedy = format!("set it, or ${}, to {what}", variable_of(key));
            self.invalid(key, "is missing", remedy)
        })
    }

    /// Yes or no.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let wrong = || self.invalid(key, "is neither true nor false", "write true or false, without quotes");
        if let Some(value) = self.variable(&variable_of(key)) {
            return value.parse().map(Some).map_err(|_| wrong());
        }
        match self.get(key) {
            None => Ok(None),
            Some(toml::Value::Boolean(yes)) => Ok(Some(*yes)),
            Some(_) => Err(wrong()),
        }
    }

    /// A duration within bounds.
    pub fn duration(&self, key: &str, bounds: RangeInclusive<Duration>) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.string(key)? else { return Ok(None) };
        duration(&text, bounds).map(Some).map_err(|detail| self.not_a_duration(key, &detail))
    }

    /// What [`duration`] says, about this key.
    pub fn not_a_duration(&self, key: &str, detail: &str) -> ConfigError {
        let (problem, remedy) = detail.rsplit_once(": ").unwrap_or((detail, "write 90s, 5m or 2h"));
        self.invalid(key, problem, remedy)
    }

    /// A list of texts: an array or a single text in the file, commas in the environment.
    pub fn list(&self, key: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let wrong = || self.invalid(key, "is not a list of strings", "write [\"one\", \"two\"]");
        if let Some(value) = self.variable(&variable_of(key)) {
            self.is_meant(key, in_variable(value).or_else(|| in_name(value)))?;
            let items = value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty());
            return Ok(Some(items.collect()));
        }
        match self.get(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(vec![text.clone()])),
            Some(toml::Value::Array(items)) => {
                let text = |item: &toml::Value| item.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
                items.iter().map(|item| text(item).ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(wrong()),
        }
    }

    /// A table of texts; in the environment, a TOML table: `{ A = "1" }`.
    pub fn string_map(&self, key: &str) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
        let Some(value) = self.complex(key)? else { return Ok(None) };
        let wrong = || self.invalid(key, "is not a table of strings", "write { NAME = \"value\" }");
        let table = value.as_table().ok_or_else(wrong)?;
        let pair = |(name, value): (&String, &toml::Value)| match value {
            toml::Value::String(text) => Ok((name.clone(), text.clone())),
            toml::Value::Integer(n) => Ok((name.clone(), n.to_string())),
            toml::Value::Boolean(b) => Ok((name.clone(), b.to_string())),
            _ => Err(wrong()),
        };
        table.iter().map(pair).collect::<Result<_, _>>().map(Some)
    }

    /// A list of tables; in the environment, in TOML: `[{ run = "pm2 save" }]`.
    pub fn tables(&self, key: &str) -> Result<Option<Vec<toml::Table>>, ConfigError> {
        let Some(value) = self.complex(key)? else { return Ok(None) };
        let wrong = || self.invalid(key, "is not a list of tables", "write [{ name = \"save\", run = \"pm2 save\" }]");
        let items = value.as_array().ok_or_else(wrong)?;
        items.iter().map(|item| item.as_table().cloned().ok_or_else(wrong)).collect::<Result<_, _>>().map(Some)
    }

    /// Refuses keys of a table that are not among `known`, naming the nearest.
    pub fn only_known(&self, path: &str, table: &toml::Table, known: &[&str]) -> Result<(), ConfigError> {
        match table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => {
                let full = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                Err(self.unknown(&full, known))
            }
        }
    }

    fn complex(&self, key: &str) -> Result<Option<toml::Value>, ConfigError> {
        let Some(text) = self.variable(&variable_of(key)) else { return Ok(self.get(key).cloned()) };
        let parsed = format!("value = {text}").parse::<toml::Table>();
        let mut table = parsed.map_err(|error| {
            self.invalid(key, format!("is not TOML ({})", error.message()), "write it as in the file, on one line")
        })?;
        Ok(table.remove("value"))
    }

    fn get(&self, key: &str) -> Option<&toml::Value> {
        let mut parts = key.split('.');
        let first = self.document.table.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.as_table()?.get(part))
    }

    fn check_keys(&self) -> Result<(), ConfigError> {
        let mut top: Vec<&str> = KEYS.iter().map(|key| key.split('.').next().unwrap_or(key)).collect();
        top.dedup();
        self.only_known("", &self.document.table, &top)?;
        for (name, value) in &self.document.table {
            let prefix = format!("{name}.");
            let inner: Vec<&str> = KEYS.iter().filter_map(|key| key.strip_prefix(&prefix)).collect();
            match value {
                toml::Value::Table(table) if !inner.is_empty() => self.only_known(name, table, &inner)?,
                _ if !inner.is_empty() => {
                    return Err(self.invalid(name, "is not a table", format!("write [{name}] on a line of its own")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn unknown(&self, full: &str, known: &[&str]) -> ConfigError {
        // `boot.steps[0].run` is known as `boot.steps.run`.
        let plain: String = full.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect();
        let remedy = match spillway_words::nearest(&plain, KEYS.iter().copied().chain(OTHER_KEYS)) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("known keys are {}", known.join(", ")),
        };
        ConfigError {
            place: self.place(full),
            key: full.to_owned(),
            problem: "is not a key of the agent".to_owned(),
            remedy,
        }
    }
}

/// Reads a duration such as `90s`, `5m` or `1h30m`; the error says what to write instead.
pub fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    let parsed = spillway_settings::duration(text)?;
    if bounds.contains(&parsed) {
        return Ok(parsed);
    }
    let (least, most) = (humantime::format_duration(*bounds.start()), humantime::format_duration(*bounds.end()));
    Err(format!("{text:?} is not between {least} and {most}: write a duration such as \"90s\" or \"5m\""))
}

fn variable_of(key: &str) -> String {
    format!("SPILLWAY_{}", key.replace('.', "_").to_uppercase())
}
