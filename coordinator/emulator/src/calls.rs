//! The log of API calls: the latest in full, all of them counted by action.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

/// Calls that are kept in full.
const MAX_CALLS: usize = 1_000;
/// Actions that are counted by their own name.
const MAX_ACTIONS: usize = 200;

/// One call to the EC2 API.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// 1 for the first call since the start.
    pub number: u64,
    pub at_ms: u64,
    pub action: String,
    pub client_token: Option<String>,
    /// EC2's error code, or `OK`.
    pub code: String,
    pub status: u16,
    /// The effect took place, but the answer was thrown away.
    pub lost: bool,
}

/// All calls since the start, as far as they are kept.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calls {
    /// The latest calls, oldest first.
    pub calls: VecDeque<Call>,
    /// Calls per action since the start.
    pub counts: BTreeMap<String, u64>,
    pub total: u64,
}

impl Calls {
    pub(crate) fn record(&mut self, mut call: Call) {
        self.total += 1;
        call.number = self.total;
        let known = self.counts.len() < MAX_ACTIONS || self.counts.contains_key(&call.action);
        let counted = if known { call.action.clone() } else { "other".to_owned() };
        *self.counts.entry(counted).or_default() += 1;
        if self.calls.len() >= MAX_CALLS {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
    }
}
