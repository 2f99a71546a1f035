//! The parameters of a request in the Query protocol: `Filter.1.Value.2=x`.
//!
//! Reading a parameter removes it. What is left at the end was not understood, and is an error: if a parameter were
//! silently ignored, a test of the client would prove nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ApiError;

/// More parameters than any real request has.
const MAX_PARAMETERS: usize = 4_000;

/// Parameters under one prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Params {
    /// What stood before these names, with the dot: for error messages.
    path: String,
    map: BTreeMap<String, String>,
}

impl Params {
    pub(crate) fn parse(form: &[u8]) -> Result<Self, ApiError> {
        let mut map = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(form) {
            if map.len() >= MAX_PARAMETERS {
                return Err(ApiError::new("InvalidRequest", format!("More than {MAX_PARAMETERS} parameters")));
            }
            if map.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(ApiError::new("InvalidRequest", format!("The parameter {name} is given twice")));
            }
        }
        Ok(Self { path: String::new(), map })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All that is still there, by name: what makes two requests the same.
    pub(crate) fn fingerprint(&self) -> BTreeMap<String, String> {
        self.map.clone()
    }

    /// Full name of one of these parameters, for an error message.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.map.remove(name)
    }

    pub(crate) fn require(&mut self, name: &str) -> Result<String, ApiError> {
        self.take(name).filter(|value| !value.is_empty()).ok_or_else(|| ApiError::missing(&self.name(name)))
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(value) => Err(self.invalid(name, &value)),
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => value.parse().map(Some).map_err(|_| self.invalid(name, &value)),
        }
    }

    /// One of `allowed`, or nothing.
    pub(crate) fn one_of(&mut self, name: &str, allowed: &[&'static str]) -> Result<Option<&'static str>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => match allowed.iter().find(|allowed| **allowed == value) {
                Some(allowed) => Ok(Some(allowed)),
                None => Err(ApiError::invalid_value(format!(
                    "Value ({value}) for parameter {} is invalid here. Known: {}",
                    self.name(name),
                    allowed.join(", ")
                ))),
            },
        }
    }

    /// `name.1`, `name.2` … in the order of their numbers.
    pub(crate) fn list(&mut self, name: &str) -> Vec<String> {
        let mut numbered: Vec<(u32, String)> = Vec::new();
        for (key, number) in self.numbered(name) {
            // A key with more behind its number is a structure, and stays to be refused.
            if let Some(value) = self.map.remove(&key) {
                numbered.push((number, value));
            }
        }
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, value)| value).collect()
    }

    /// The structures `name.1.…`, `name.2.…` in the order of their numbers.
    pub(crate) fn structures(&mut self, name: &str) -> Vec<Self> {
        let numbers: BTreeSet<u32> = self
            .map
            .keys()
            .filter_map(|key| key.strip_prefix(name)?.strip_prefix('.')?.split_once('.')?.0.parse().ok())
            .collect();
        numbers.into_iter().map(|number| self.structure(&format!("{name}.{number}"))).collect()
    }

    /// The structure `name.…`; empty when there is none.
    pub(crate) fn structure(&mut self, name: &str) -> Self {
        let prefix = format!("{name}.");
        let path = self.name(&prefix);
        let mut taken = BTreeMap::new();
        self.map.retain(|key, value| match key.strip_prefix(&prefix) {
            Some(rest) => {
                taken.insert(rest.to_owned(), std::mem::take(value));
                false
            }
            None => true,
        });
        Self { path, map: taken }
    }

    /// Accepts a parameter, or a structure, that changes nothing here.
    pub(crate) fn without_effect(&mut self, names: &[&str]) {
        for name in names {
            self.map.remove(*name);
            drop(self.structure(name));
        }
    }

    /// Fails if a parameter is left that was not read.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::new(
                "UnknownParameter",
                format!("The parameter {} is not recognized, or the emulator does not emulate it", self.name(name)),
            )),
        }
    }

    fn numbered(&self, name: &str) -> Vec<(String, u32)> {
        self.map
            .keys()
            .filter_map(|key| {
                let number = key.strip_prefix(name)?.strip_prefix('.')?.parse().ok()?;
                Some((key.clone(), number))
            })
            .collect()
    }

    fn invalid(&self, name: &str, value: &str) -> ApiError {
        ApiError::invalid_value(format!("Value ({value}) for parameter {} is invalid.", self.name(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_is_not_read_is_refused_by_its_full_name() {
        let mut params = Params::parse(b"A.10=x&A.9=y&B.1.Name=n&B.1.Odd=o&C=1").expect("parses");
        assert_eq!(params.list("A"), ["y", "x"]);
        assert_eq!(params.number::<u32>("C"), Ok(Some(1)));
        let mut structures = params.structures("B");
        assert_eq!(params.finish(), Ok(()));
        let mut first = structures.remove(0);
        assert_eq!(first.take("Name").as_deref(), Some("n"));
        let refused = first.finish().expect_err("Odd is left");
        assert_eq!(refused.code, "UnknownParameter");
        assert!(refused.message.contains("B.1.Odd"), "{}", refused.message);
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        assert!(Params::parse(b"A=1&A=2").is_err());
    }
}
