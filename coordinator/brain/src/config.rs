//! What the brain is told about its pool. Every value here is already checked by the shell's configuration.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One pool's settings, as far as decisions depend on them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Whose instances are ours: the value of their `spillway:installation` tag. Empty while it is not known yet: then
    /// no tag makes an instance ours.
    pub installation: String,
    /// The pool is in no settings any more: its instances are drained, and none is launched.
    pub retired: bool,
    /// The hard cap: instances that bill or may bill, launches in flight included (invariant 1).
    pub max_instances: u32,
    /// Between two observations of the queues.
    pub interval: Duration,
    /// Between two listings of EC2's instances.
    pub listing_interval: Duration,
    /// How long a launch may go unanswered before only EC2's list decides what became of it.
    pub launch_timeout: Duration,
    /// From the accepted launch until the worker must have proved itself.
    pub boot_timeout: Duration,
    /// An agent without a heartbeat for this long is stale.
    pub heartbeat_timeout: Duration,
    /// How long running jobs may take to finish once their instance drains.
    pub drain_timeout: Duration,
    /// From TerminateInstances until EC2 must show it; then the call is retried.
    pub terminate_timeout: Duration,
    /// How long EC2's list may not yet show an instance that exists (eventual consistency).
    pub consistency_grace: Duration,
    /// Launch decisions in one tick (invariant 10).
    pub launches_per_tick: u32,
    /// Failed boots in a row that open the breaker.
    pub boot_failures: u32,
    /// How long the open breaker waits before it lets one instance try; doubled each time, up to an hour.
    pub breaker_backoff: Duration,
    /// An instance whose boot failed is kept for so long for a person to look at, one at a time; zero: it is
    /// terminated.
    #[serde(default)]
    pub keep_failed_boots: Duration,
    /// How long launches keep off after InsufficientInstanceCapacity and its like; doubled up to five times this.
    pub capacity_backoff: Duration,
    /// The same after what a person must fix (a limit of the account, a permission, the template, an unknown error);
    /// doubled up to six times this.
    pub quota_backoff: Duration,
    /// Whether an instance that EC2 is about to take still counts against `max_instances` when its replacement is
    /// launched. Where it does not, up to twice `max_instances` may bill for a moment.
    pub interrupted_counts: bool,
    pub rebalance: OnRebalance,
    /// Instances drained or replaced on EC2's recommendation in any hour, at the most.
    pub rebalance_limit: u32,
    /// What follows when an instance is of another image than launches take.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// Decides; with [`Config::wait`] while nothing is measured.
    pub policy: Steps,
    /// Of a pool whose policy is `wait`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
}

/// What a rebalance recommendation leads to. A notice may follow it, at once or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnRebalance {
    /// Nothing: the instance works on until it is interrupted.
    Ignore,
    /// It is drained at once, and replaced as demand wants.
    Fence,
    /// A replacement is made ready first.
    #[default]
    Replace,
}

/// What follows when an instance is of another image than launches take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDrift {
    /// It is told, and works on.
    #[default]
    Report,
    /// A replacement is made ready first, one after the other.
    Replace,
}

impl Config {
    /// Observations further apart than this leave a gap that proves nothing (invariant 3), and an observation older
    /// than this is stale. Three intervals: one lost observation is not yet a gap.
    pub fn longest_gap(&self) -> Duration {
        self.interval * 3
    }

    /// A list of EC2's instances older than this is stale.
    pub fn longest_listing_age(&self) -> Duration {
        self.listing_interval * 4
    }

    /// After this a person is told that the queues, or EC2's list, have been unknown; after twice this instances
    /// without a job may go. What idleness takes, as somebody accepts to pay that long for nothing.
    pub fn unknown_bound(&self) -> Duration {
        self.policy.idle.max(self.longest_gap()).max(self.longest_listing_age())
    }

    /// How long an agent must have been silent before its instance is given up, when Redis shows no job there.
    pub fn lost_after(&self) -> Duration {
        self.boot_timeout.max(self.heartbeat_timeout)
    }
}

impl Default for Config {
    /// The defaults of the configuration file.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Config {
            installation: String::new(),
            retired: false,
            max_instances: 2,
            interval: Duration::from_secs(10),
            listing_interval: Duration::from_secs(15),
            launch_timeout: minutes(2),
            boot_timeout: minutes(5),
            heartbeat_timeout: Duration::from_secs(30),
            drain_timeout: minutes(30),
            terminate_timeout: minutes(5),
            consistency_grace: minutes(2),
            launches_per_tick: 5,
            boot_failures: 3,
            breaker_backoff: minutes(10),
            keep_failed_boots: Duration::ZERO,
            capacity_backoff: minutes(3),
            quota_backoff: minutes(10),
            interrupted_counts: true,
            rebalance: OnRebalance::default(),
            rebalance_limit: 2,
            on_drift: OnDrift::default(),
            policy: Steps::default(),
            wait: None,
        }
    }
}

/// The `steps` policy: thresholds of demand that must be sustained, and how long no demand means idle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Steps {
    pub steps: Vec<Step>,
    /// Demand 0 for this long: desired capacity falls to 0.
    pub idle: Duration,
}

/// At least `jobs` of demand, in every observation `over` this span: `instances` are desired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub jobs: u64,
    pub over: Duration,
    pub instances: u32,
}

/// The `wait` policy: a promised wait, kept with the least instances that a forecast of the jobs' starts calls for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wait {
    /// The wait that is promised, from when a job is ready to run until it starts.
    pub target: Duration,
    /// The share of the waiting jobs, above 0 and at most 1, that must start within their promise.
    pub quantile: f64,
    /// An instance is given back once the promise has held without it for so long.
    pub idle: Duration,
    /// Jobs that an instance runs at a time; None: the most that one was seen to run.
    pub slots: Option<u32>,
}

impl Default for Wait {
    fn default() -> Self {
        let (target, idle) = (Duration::from_secs(300), Duration::from_secs(60));
        Wait { target, quantile: 0.95, idle, slots: None }
    }
}

impl Default for Steps {
    fn default() -> Self {
        let five_minutes = Duration::from_secs(300);
        Steps {
            steps: vec![
                Step { jobs: 5, over: five_minutes, instances: 1 },
                Step { jobs: 15, over: five_minutes, instances: 2 },
            ],
            idle: Duration::from_secs(600),
        }
    }
}
