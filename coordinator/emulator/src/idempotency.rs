//! Client tokens: the same token and parameters get the result of the first call, and nothing new happens.

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::error::ApiError;

/// Tokens that are remembered; the oldest is forgotten first.
const MAX_TOKENS: usize = 10_000;
const MAX_TOKEN_CHARS: usize = 64;

/// Parameters of a call, without what may differ in a repetition.
pub(crate) type Fingerprint = BTreeMap<String, String>;

/// What a call brought about, for its repetition.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Instances(Vec<String>),
    Fleet(crate::api::FleetOutcome),
    Template(String),
    TemplateVersion(String, u64),
}

/// Remembered calls by action and token.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    seen: HashMap<(&'static str, String), (Fingerprint, Outcome)>,
    order: VecDeque<(&'static str, String)>,
}

impl Tokens {
    /// The result of an earlier call with this token, if there was one.
    pub(crate) fn earlier(
        &self,
        action: &'static str,
        token: Option<&str>,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Outcome>, ApiError> {
        let Some(token) = token else { return Ok(None) };
        if token.chars().count() > MAX_TOKEN_CHARS || !token.is_ascii() {
            return Err(ApiError::invalid_value(format!(
                "Client token must be at most {MAX_TOKEN_CHARS} ASCII characters"
            )));
        }
        match self.seen.get(&(action, token.to_owned())) {
            None => Ok(None),
            Some((first, outcome)) if first == fingerprint => Ok(Some(outcome.clone())),
            Some(_) => Err(ApiError::new(
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
            )),
        }
    }

    pub(crate) fn remember(
        &mut self,
        action: &'static str,
        token: Option<&str>,
        fingerprint: Fingerprint,
        outcome: Outcome,
    ) {
        let Some(token) = token else { return };
        if self.order.len() >= MAX_TOKENS
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        let key = (action, token.to_owned());
        self.order.push_back(key.clone());
        self.seen.insert(key, (fingerprint, outcome));
    }
}
