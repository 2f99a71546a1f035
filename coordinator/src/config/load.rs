//! Reads the file and the environment into checked settings.

use std::path::Path;

use toml::Table;

use super::environment::{self, Environment};
use super::keys::nearest;
use super::{ConfigError, DEFAULT_FILE, File, Needs, Settings, check};

/// Reads the settings. Without `file` the default one is read if it exists, since the plan's variables alone are enough.
pub fn load(file: Option<&Path>, environment: &Environment, needs: Needs) -> Result<Settings, ConfigError> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(ConfigError::Unreadable { file: path.to_owned(), source }),
    };
    parse(&path.display().to_string(), &text, environment, needs)
}

/// `origin` is the file's name, for errors.
pub(super) fn parse(
    origin: &str,
    text: &str,
    environment: &Environment,
    needs: Needs,
) -> Result<Settings, ConfigError> {
    let syntax = |error: toml::de::Error| ConfigError::Syntax {
        origin: match error.span() {
            Some(span) => format!("{origin}:{}", text[..span.start.min(text.len())].matches('\n').count() + 1),
            None => origin.to_owned(),
        },
        detail: error.message().to_owned(),
    };
    // The file is parsed on its own first, so that its errors carry a line number.
    let mut unknown = None;
    let document = toml::Deserializer::parse(text).map_err(syntax)?;
    let _: File = serde_ignored::deserialize(document, |path| {
        unknown.get_or_insert_with(|| without_indexes(&path.to_string()));
    })
    .map_err(syntax)?;
    if let Some(key) = unknown {
        let suggestion = nearest(&key);
        return Err(ConfigError::UnknownKey { origin: origin.to_owned(), key, suggestion });
    }
    let mut table: Table = text.parse().map_err(syntax)?;
    environment::fill(&mut table, environment)?;
    environment::overlay(&mut table, environment)?;
    let file: File = table.try_into().map_err(|error: toml::de::Error| ConfigError::Syntax {
        origin: "environment".to_owned(),
        detail: error.message().to_owned(),
    })?;
    check::check(origin, file, needs)
}

/// `pool.0.max_instance` → `pool.max_instance`.
fn without_indexes(path: &str) -> String {
    path.split('.').filter(|part| part.parse::<usize>().is_err()).collect::<Vec<_>>().join(".")
}
