//! EC2's refusals by what to do about them, and the names of these classes in metrics and sentences.

use serde::{Deserialize, Serialize};

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
}
