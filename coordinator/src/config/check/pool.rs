//! One pool's settings, each by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spillway_brain as brain;

use super::{Check, missing};
use crate::config::{ConfigError, Needs, Pool, PoolSection, WrittenDuration};

/// EC2's limits on tags; ours are among the fifty.
const MOST_TAGS: usize = 40;
const LONGEST_TAG_KEY: usize = 128;
const LONGEST_TAG_VALUE: usize = 256;
pub(super) const MOST: u32 = 1000;
/// A user's patience, where nobody says what it is.
const TARGET: Duration = Duration::from_secs(600);

impl Check<'_> {
    pub(super) fn pool(&self, index: usize, section: PoolSection) -> Result<Pool, ConfigError> {
        let at = |key: &str| format!("pool[{index}].{key}");
        let name = section.name.clone().unwrap_or_else(|| "spillway".to_owned());
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            let detail = "must have 1 to 100 characters, because it becomes the Name tag of the instances: shorten it";
            return Err(self.bad(&at("name"), detail));
        }
        if let Some(queue) = section.queues.iter().find(|queue| queue.trim().is_empty() || queue.contains(':')) {
            let detail = format!("\"{queue}\" is not a name of a BullMQ queue: it must not be empty or contain \":\"");
            return Err(self.bad(&at("queues"), detail));
        }
        let mut seen = BTreeSet::new();
        if let Some(queue) = section.queues.iter().find(|queue| !seen.insert(queue.as_str())) {
            let detail = format!("\"{queue}\" is named twice: its jobs would count twice. Name each queue once");
            return Err(self.bad(&at("queues"), detail));
        }
        let launch_template = section.launch_template.clone().unwrap_or_default();
        if launch_template.is_empty() && self.needs == Needs::Everything {
            return Err(missing(
                "pool.launch_template",
                "set EC2_LAUNCH_TEMPLATE_ID, or launch_template = \"lt-…\" under [[pool]]",
            ));
        }
        if let Some(detail) = template_problem(&launch_template) {
            return Err(self.bad(&at("launch_template"), detail));
        }
        let version = section.launch_template_version.clone().unwrap_or_else(|| "$Default".to_owned());
        if !["$Default", "$Latest"].contains(&version.as_str()) && !version.parse().is_ok_and(|n: u32| n > 0) {
            let detail = format!("\"{version}\" is not a version: write a number, \"$Default\" or \"$Latest\"");
            return Err(self.bad(&at("launch_template_version"), detail));
        }
        self.tags(index, &section.tags)?;
        let application = self.application(index, &section)?;
        let brain = self.brain_config(index, &section)?;
        let promised = brain.wait.as_ref().map_or(TARGET, |wait| wait.target);
        let target = self.duration(&at("target"), section.target, promised)?;
        let floors = self.floors(index, &section)?;
        Ok(Pool {
            name,
            queues: section.queues,
            prefix: section.prefix.unwrap_or_else(|| "bull".to_owned()),
            launch_template,
            launch_template_version: version,
            tags: section.tags,
            application,
            target,
            floors,
            brain,
        })
    }

    fn tags(&self, index: usize, tags: &BTreeMap<String, String>) -> Result<(), ConfigError> {
        let at = format!("pool[{index}].tags");
        if tags.len() > MOST_TAGS {
            return Err(self.bad(&at, format!("{} tags are more than {MOST_TAGS}: remove some", tags.len())));
        }
        for (key, value) in tags {
            let small = key.to_lowercase();
            let detail = if ["Name", "ManagedBy"].contains(&key.as_str()) || small.starts_with("spillway:") {
                "is a tag that Spillway sets itself: remove it (pool.name becomes the Name tag)"
            } else if small.starts_with("aws:") {
                "begins with aws:, which EC2 keeps for itself: rename it"
            } else if key.is_empty() || key.chars().count() > LONGEST_TAG_KEY {
                "is not a tag's key: EC2 takes 1 to 128 characters, so rename it"
            } else if value.chars().count() > LONGEST_TAG_VALUE {
                "is longer than the 256 characters that EC2 takes: shorten it"
            } else {
                continue;
            };
            return Err(self.bad(&format!("{at}.{key}"), detail));
        }
        Ok(())
    }

    fn application(&self, index: usize, section: &PoolSection) -> Result<Option<PathBuf>, ConfigError> {
        match section.application.as_deref() {
            None | Some("") => Ok(None),
            Some(path) if Path::new(path).is_absolute() => Ok(Some(PathBuf::from(path))),
            Some(path) => {
                let detail =
                    format!("\"{path}\" is no absolute path: write where the checkout is, such as \"/opt/app\"");
                Err(self.bad(&format!("pool[{index}].application"), detail))
            }
        }
    }

    fn brain_config(&self, index: usize, section: &PoolSection) -> Result<brain::Config, ConfigError> {
        let defaults = brain::Config::default();
        let at = |key: &str| format!("pool[{index}].{key}");
        let duration = |key: &str, given, default| self.duration(&at(key), given, default);
        let interval = duration("interval", section.interval, defaults.interval)?;
        let listing_interval = match section.listing_interval {
            Some(_) => duration("listing_interval", section.listing_interval, defaults.listing_interval)?,
            None => defaults.listing_interval.max(interval),
        };
        let config = brain::Config {
            // Told once it is settled.
            installation: defaults.installation,
            retired: false,
            max_instances: section.max_instances.unwrap_or(defaults.max_instances),
            interval,
            listing_interval,
            launch_timeout: duration("launch_timeout", section.launch_timeout, defaults.launch_timeout)?,
            boot_timeout: duration("boot_timeout", section.boot_timeout, defaults.boot_timeout)?,
            heartbeat_timeout: duration("heartbeat_timeout", section.heartbeat_timeout, defaults.heartbeat_timeout)?,
            drain_timeout: duration("drain_timeout", section.drain_timeout, defaults.drain_timeout)?,
            terminate_timeout: duration("terminate_timeout", section.terminate_timeout, defaults.terminate_timeout)?,
            consistency_grace: duration("consistency_grace", section.consistency_grace, defaults.consistency_grace)?,
            launches_per_tick: section.launches_per_tick.unwrap_or(defaults.launches_per_tick),
            boot_failures: section.boot_failures.unwrap_or(defaults.boot_failures),
            breaker_backoff: duration("breaker_backoff", section.breaker_backoff, defaults.breaker_backoff)?,
            keep_failed_boots: match section.keep_failed_boots {
                // None is kept.
                Some(WrittenDuration(Duration::ZERO)) => Duration::ZERO,
                given => duration("keep_failed_boots", given, defaults.keep_failed_boots)?,
            },
            capacity_backoff: duration("capacity_backoff", section.capacity_backoff, defaults.capacity_backoff)?,
            quota_backoff: duration("quota_backoff", section.quota_backoff, defaults.quota_backoff)?,
            interrupted_counts: section.interrupted_counts.unwrap_or(defaults.interrupted_counts),
            rebalance: self.rebalance(index, section)?,
            rebalance_limit: section.rebalance_limit.unwrap_or(defaults.rebalance_limit),
            on_drift: self.on_drift(index, section)?,
            policy: self.steps(index, section, defaults.policy)?,
            wait: self.wait(index, section)?,
        };
        for (key, number, least) in [
            ("max_instances", config.max_instances, 1),
            ("launches_per_tick", config.launches_per_tick, 1),
            ("boot_failures", config.boot_failures, 1),
            ("rebalance_limit", config.rebalance_limit, 0),
        ] {
            if number < least || number > MOST {
                let detail = format!("{number} is not between {least} and {MOST}: write a number in between");
                return Err(self.bad(&at(key), detail));
            }
        }
        Ok(config)
    }

    fn rebalance(&self, index: usize, section: &PoolSection) -> Result<brain::OnRebalance, ConfigError> {
        match section.rebalance.as_deref() {
            None => Ok(brain::OnRebalance::default()),
            Some("ignore") => Ok(brain::OnRebalance::Ignore),
            Some("fence") => Ok(brain::OnRebalance::Fence),
            Some("replace") => Ok(brain::OnRebalance::Replace),
            Some(other) => {
                let detail = format!("\"{other}\" is not a rebalance mode: write \"replace\", \"fence\" or \"ignore\"");
                Err(self.bad(&format!("pool[{index}].rebalance"), detail))
            }
        }
    }

    fn on_drift(&self, index: usize, section: &PoolSection) -> Result<brain::OnDrift, ConfigError> {
        match section.on_drift.as_deref() {
            None => Ok(brain::OnDrift::default()),
            Some("report") => Ok(brain::OnDrift::Report),
            Some("replace") => Ok(brain::OnDrift::Replace),
            Some(other) => {
                let detail = format!("\"{other}\" is not what can follow: write \"report\" or \"replace\"");
                Err(self.bad(&format!("pool[{index}].on_drift"), detail))
            }
        }
    }
}

/// An id is `lt-` and hexadecimal digits; a name has 3 to 128 of EC2's characters.
fn template_problem(text: &str) -> Option<String> {
    let write = "write lt-0123456789abcdef0, as `aws ec2 describe-launch-templates` shows it";
    if let Some(digits) = text.strip_prefix("lt-") {
        let is_id = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        return (!is_id).then(|| format!("\"{text}\" is not the id of a launch template: {write}"));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"()./_-".contains(&byte);
    let is_name = (3..=128).contains(&text.len()) && text.bytes().all(is_allowed);
    (!text.is_empty() && !is_name).then(|| format!("\"{text}\" is neither id nor name of a launch template: {write}"))
}
