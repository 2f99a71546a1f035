//! `spillway doctor`: whether what `spillway run` rests on is there, looked at one by one, each with what to do where
//! it is not. Changes nothing: not in Redis, not at EC2, not on this machine.
//!
//! - `redis`: Redis, the queues, the ledger, and what its users may do
//! - `aws`: credentials, the launch template and its image, whether a launch would be accepted; with `endpoints`,
//!   `permissions`, `template`, `address`, `roles` and `quotas`
//! - `clocks`: this machine's clock and those that it is compared with
//! - `local`: ports, certificates, how agents and operators are known
//!
//! Ids are stable: monitors name them.

mod address;
mod aws;
mod clocks;
mod endpoints;
mod local;
mod permissions;
mod quotas;
mod redis;
mod roles;
mod template;

use serde::Serialize;

use crate::config::{ConfigError, Settings};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, and a person should know.
    Warn,
    /// It does not work.
    Fail,
}

/// One check and how it came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `redis.eviction`: the same in every version.
    pub id: &'static str,
    /// Of which pool or queue, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub level: Level,
    pub detail: String,
    /// What to do; None where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(id: &'static str, detail: impl Into<String>) -> Self {
        Finding { id, subject: None, level: Level::Ok, detail: detail.into(), remedy: None }
    }

    fn warn(id: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { id, subject: None, level: Level::Warn, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    fn fail(id: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { level: Level::Fail, ..Self::warn(id, detail, remedy) }
    }

    fn of(self, subject: &str) -> Self {
        Finding { subject: Some(subject.to_owned()), ..self }
    }
}

/// Of settings that cannot be used: nothing else can be looked at then.
pub fn unusable(error: &ConfigError) -> Finding {
    Finding::fail("config.valid", error.to_string(), "fix that, then check again: spillway config check")
}

/// Looks at everything, and says each finding as soon as it is known.
pub async fn examine(settings: &Settings, say: &mut impl FnMut(Finding)) {
    say(Finding::ok("config.valid", "the settings can be used"));
    for warning in &settings.warnings {
        say(Finding::warn("config.warning", warning.clone(), "spillway config show says where each value comes from"));
    }
    redis::examine(settings, say).await;
    aws::examine(settings, say).await;
    local::examine(settings, say).await;
}
