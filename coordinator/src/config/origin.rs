//! Where a value comes from, for the messages about it: a line of a file, or a variable.

use std::collections::BTreeMap;
use std::fmt;

use spillway_settings::Document;

use super::keys::without_indexes;

/// Where a value stands, and what it is called there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// `coordinator.toml:12`, `coordinator.env:3` or `environment`.
    pub place: String,
    /// The key, or the variable.
    pub name: String,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.name)
    }
}

/// The origins of all values.
#[derive(Debug)]
pub(super) struct Origins {
    file: String,
    document: Document,
    /// Values that came from a variable, by key.
    variables: BTreeMap<String, Origin>,
}

impl Origins {
    /// At first every value comes from the file.
    pub(super) fn new(file: &str, document: Document) -> Self {
        Self { file: file.to_owned(), document, variables: BTreeMap::new() }
    }

    /// This key's value came from a variable.
    pub(super) fn came_from(&mut self, key: &str, origin: Origin) {
        self.variables.insert(key.to_owned(), origin);
    }

    /// Of the value at a path such as `pool[0].policy.steps[1].for`. A default has the file, without a line.
    pub(super) fn of(&self, path: &str) -> Origin {
        let key = without_indexes(path);
        let is_part = |of: &str| key.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if let Some((_, origin)) = self.variables.iter().find(|(of, _)| is_part(of)) {
            return origin.clone();
        }
        let line = self.document.line(path).map(|line| format!(":{line}")).unwrap_or_default();
        Origin { place: format!("{}{line}", self.file), name: key }
    }

    /// Whether the value was written, in the file or a variable.
    pub(super) fn is_written(&self, path: &str) -> bool {
        self.document.line(path).is_some() || self.variables.contains_key(&without_indexes(path))
    }

    /// A value with where it comes from, for a message about two of them: `30s (f:4: pool.heartbeat_timeout)`.
    pub(super) fn with(&self, value: &str, path: &str) -> String {
        let origin = self.of(path);
        if self.is_written(path) {
            format!("{value} ({origin})")
        } else {
            format!("{value} ({}, the default)", origin.name)
        }
    }
}
