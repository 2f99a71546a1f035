//! The refusals of launches that still count, how long each keeps launches off, and what a person does about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff;
use crate::config::Config;
use crate::refusal_class::RefusalClass;
use crate::state_reason;
use crate::time::Timestamp;

/// What a person does about a launch that was refused, or taken back, with this code; empty where nothing.
pub(crate) fn remedy(class: RefusalClass, code: &str) -> &'static str {
    match class {
        _ if let Some(remedy) = state_reason::remedy(code) => remedy,
        RefusalClass::Retry | RefusalClass::Capacity | RefusalClass::TokenUsed | RefusalClass::TokenEnded => "",
        RefusalClass::Quota => "Ask AWS for a higher quota, or lower max_instances",
        RefusalClass::Permission => "Fix the coordinator's credentials or IAM policy, or the account",
        RefusalClass::Configuration => {
            "Fix the launch template, what it names (image, subnet, security group, key, profile), or pool.tags"
        }
        RefusalClass::Unknown => "Spillway does not know this error: EC2's message says what to fix",
    }
}

/// Refusals of launches, all of one class, and all before EC2 accepted them or all after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    pub class: RefusalClass,
    /// Of the last one.
    pub code: String,
    pub message: String,
    /// When the last one came.
    pub at: Timestamp,
    /// Until then launches wait. None in a ledger of an earlier version, where a person was waited for.
    pub until: Option<Timestamp>,
    /// Tries in a row that were refused with this class.
    pub times: u32,
    /// EC2 had accepted the launches, and ended their instances before anything ran there: that the next is accepted
    /// proves nothing.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub after_accept: bool,
}

impl Refusal {
    /// Takes one more refusal into account, which came at `now`.
    pub(crate) fn next(
        before: Option<&Refusal>,
        now: Timestamp,
        config: &Config,
        (class, code, message): (RefusalClass, String, String),
    ) -> Self {
        let times = times(before, now);
        let until = Some(now + backoff::wait(config, class, times));
        Refusal { class, code, message, at: now, until, times, after_accept: false }
    }

    /// Takes into account a launch of `launched_at` that EC2 had accepted, and took back at `now`.
    pub(crate) fn next_after_accept(
        before: Option<&Refusal>,
        (now, launched_at): (Timestamp, Timestamp),
        config: &Config,
        (class, code, message): (RefusalClass, String, String),
    ) -> Self {
        let times = times(before, launched_at);
        let until = Some(now + backoff::wait_after_accept(config, class, times));
        Refusal { class, code, message, at: now, until, times, after_accept: true }
    }

    /// Whether launches still wait for it.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Whether launching is blocked by it: launches wait, or the last one was refused for what lasts until a person
    /// acts.
    pub fn blocks(&self, now: Timestamp) -> bool {
        self.class.needs_a_person() || self.holds(now)
    }

    /// Until the next launch.
    pub fn left(&self, now: Timestamp) -> Duration {
        self.until.map_or(Duration::ZERO, |until| now.until(until))
    }
}

/// Tries in a row, with the one that was made at `tried_at`.
fn times(before: Option<&Refusal>, tried_at: Timestamp) -> u32 {
    match before {
        None => 1,
        // Made before the back-off began: launches that were made together are refused together.
        Some(before) if before.holds(tried_at) => before.times,
        Some(before) => before.times.saturating_add(1),
    }
}
