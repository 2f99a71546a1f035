//! Filters of Describe calls: `Filter.N.Name` and `Filter.N.Value.M`, with `*` and `?` as wildcards.

use crate::error::ApiError;
use crate::model::Tags;
use crate::query::Params;

const MAX_VALUES: usize = 200;

#[derive(Debug)]
struct Filter {
    name: String,
    values: Vec<String>,
}

/// All filters of a call: a record must match each of them, by any of its values.
#[derive(Debug)]
pub(crate) struct Filters(Vec<Filter>);

impl Filters {
    pub(crate) fn read(params: &mut Params) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        for mut filter in params.structures("Filter") {
            let name = filter.require("Name")?;
            let values = filter.list("Value");
            filter.finish()?;
            if values.is_empty() {
                return Err(ApiError::invalid_value(format!("The filter '{name}' has no value")));
            }
            if values.len() > MAX_VALUES {
                return Err(ApiError::new(
                    "FilterLimitExceeded",
                    format!("The filter '{name}' has more than {MAX_VALUES} values"),
                ));
            }
            filters.push(Filter { name, values });
        }
        Ok(Self(filters))
    }

    /// Refuses filters that `known` does not know.
    pub(crate) fn check(&self, known: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        match self.0.iter().find(|filter| !known(&filter.name)) {
            None => Ok(()),
            Some(filter) => Err(ApiError::invalid_value(format!(
                "The filter '{}' is invalid, or the emulator does not emulate it",
                filter.name
            ))),
        }
    }

    /// `values` returns a record's values for a filter's name.
    pub(crate) fn match_all(&self, values: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|filter| {
            let actual = values(&filter.name);
            filter.values.iter().any(|pattern| actual.iter().any(|value| wildcard(pattern, value)))
        })
    }
}

/// Whether `name` is one of the filters by tag.
pub(crate) fn is_tag_filter(name: &str) -> bool {
    name == "tag-key" || name.starts_with("tag:")
}

/// A record's values for a filter by tag.
pub(crate) fn tag_values(name: &str, tags: &Tags) -> Vec<String> {
    match name.strip_prefix("tag:") {
        Some(key) => tags.get(key).cloned().into_iter().collect(),
        None => tags.keys().cloned().collect(),
    }
}

/// `*` is any text, `?` any one character, `\` takes the next character as it is.
fn wildcard(pattern: &str, text: &str) -> bool {
    #[derive(PartialEq)]
    enum Part {
        Any,
        One,
        Exactly(char),
    }
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        parts.push(match character {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Exactly(characters.next().unwrap_or('\\')),
            other => Part::Exactly(other),
        });
    }
    let text: Vec<char> = text.chars().collect();
    // The usual greedy match: on a mismatch, let the last `*` take one character more.
    let (mut at, mut part, mut retry) = (0, 0, None);
    while let Some(character) = text.get(at) {
        match parts.get(part) {
            Some(Part::Any) => {
                retry = Some((part, at));
                part += 1;
            }
            Some(Part::One) => (at, part) = (at + 1, part + 1),
            Some(Part::Exactly(expected)) if expected == character => (at, part) = (at + 1, part + 1),
            _ => match retry {
                Some((star, taken)) => {
                    retry = Some((star, taken + 1));
                    (at, part) = (taken + 1, star + 1);
                }
                None => return false,
            },
        }
    }
    parts.iter().skip(part).all(|part| *part == Part::Any)
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn wildcards() {
        let check = |pattern, text, expected| assert_eq!(wildcard(pattern, text), expected, "{pattern} on {text}");
        check("running", "running", true);
        check("run", "running", false);
        check("run*", "running", true);
        check("*ing", "running", true);
        check("r*n*g", "running", true);
        check("r?nning", "running", true);
        check("?", "", false);
        check("*", "", true);
        check("\\*", "*", true);
        check("\\*", "x", false);
        check("*a*b", "xaxxbxb", true);
        check("", "", true);
        check("", "x", false);
    }
}
