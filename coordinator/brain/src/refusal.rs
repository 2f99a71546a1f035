//! EC2's refusals by what to do about them: the classes, their names in metrics and sentences, and the refusals of
//! launches that still count.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff;
use crate::config::Config;
use crate::state_reason;
use crate::time::Timestamp;

/// EC2's errors by what to do about them, not by what happened. Which code is of which class is the shell's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RefusalClass {
    /// Throttling, 5xx, network: it may have had its effect. The same token again, after a back-off.
    Retry,
    /// No capacity in this pool of EC2's: keep off it for some minutes.
    Capacity,
    /// A limit of the account: tried again slowly, and a person is told.
    Quota,
    /// Credentials, permissions, the account's standing: the same. Often transient, as while IAM spreads a change.
    #[serde(alias = "Fatal")]
    Permission,
    /// What is asked for is wrong, or names what is not there (template, image, subnet, group, parameter): the same.
    Configuration,
    /// A code that is in no list: the same, with EC2's own words.
    Unknown,
    /// The launch token was used before, with other parameters: its instance is there, or was. EC2's list tells, and
    /// the token is not asked for again.
    TokenUsed,
    /// The launch token was used before, and its instance is terminated: nothing more comes of it.
    TokenEnded,
}

impl RefusalClass {
    pub const ALL: [RefusalClass; 8] = [
        RefusalClass::Retry,
        RefusalClass::Capacity,
        RefusalClass::Quota,
        RefusalClass::Permission,
        RefusalClass::Configuration,
        RefusalClass::Unknown,
        RefusalClass::TokenUsed,
        RefusalClass::TokenEnded,
    ];

    /// As metrics and JSON write it. The two classes of used tokens are one there.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalClass::Retry => "retry",
            RefusalClass::Capacity => "capacity",
            RefusalClass::Quota => "quota",
            RefusalClass::Permission => "permission",
            RefusalClass::Configuration => "configuration",
            RefusalClass::Unknown => "unknown",
            RefusalClass::TokenUsed | RefusalClass::TokenEnded => "token_used",
        }
    }

    /// A launch's outcome, as metrics write it.
    pub fn outcome(self) -> &'static str {
        match self {
            RefusalClass::Retry => "refused_retry",
            RefusalClass::Capacity => "refused_capacity",
            RefusalClass::Quota => "refused_quota",
            RefusalClass::Permission => "refused_permission",
            RefusalClass::Configuration => "refused_configuration",
            RefusalClass::Unknown => "refused_unknown",
            RefusalClass::TokenUsed | RefusalClass::TokenEnded => "refused_token_used",
        }
    }

    /// The outcome of a launch that EC2 accepted, and whose instance it ended before anything ran there.
    pub fn taken_back(self) -> &'static str {
        match self {
            RefusalClass::Retry => "taken_back_retry",
            RefusalClass::Capacity => "taken_back_capacity",
            RefusalClass::Quota => "taken_back_quota",
            RefusalClass::Permission => "taken_back_permission",
            RefusalClass::Configuration => "taken_back_configuration",
            RefusalClass::Unknown => "taken_back_unknown",
            RefusalClass::TokenUsed | RefusalClass::TokenEnded => "taken_back_token_used",
        }
    }

    /// It lasts until a person acts, as far as anybody can tell: they are told.
    pub fn needs_a_person(self) -> bool {
        matches!(
            self,
            RefusalClass::Quota | RefusalClass::Permission | RefusalClass::Configuration | RefusalClass::Unknown
        )
    }

    /// EC2 did not carry the call out, and never will: its answer is about the request, not about the moment.
    pub fn is_definite(self) -> bool {
        self != RefusalClass::Retry
    }

    pub fn in_words(self) -> &'static str {
        match self {
            RefusalClass::Retry => "not now",
            RefusalClass::Capacity => "no capacity",
            RefusalClass::Quota => "account limit",
            RefusalClass::Permission => "not permitted",
            RefusalClass::Configuration => "wrong configuration",
            RefusalClass::Unknown => "unknown error",
            RefusalClass::TokenUsed | RefusalClass::TokenEnded => "launch token already used",
        }
    }

    /// What a person does about a launch that was refused, or taken back, with this code; empty where nothing.
    pub(crate) fn remedy(self, code: &str) -> &'static str {
        match self {
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
