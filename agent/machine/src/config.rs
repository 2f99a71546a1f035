//! The machine's settings. Owns the numbers; never what a step runs or where a worker lives.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// The machine's settings. `Config::new` returns sensible defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Retries of each boot step, in order: 0 means one attempt.
    pub step_retries: Vec<u32>,
    /// The first step to run: more than 0 where an agent before this one got further, all of them where boot was over.
    pub first_step: usize,
    /// A session token of this boot is at hand: try it before registering.
    pub registered: bool,
    /// Pause before a step is retried, times the attempt.
    pub step_pause: Duration,
    /// This many restarts of the worker within `crash_window` are a crash loop.
    pub crash_restarts: usize,
    /// See `crash_restarts`.
    pub crash_window: Duration,
    /// After a restart the worker must stay up this long, times the restarts in the window, before its proof counts.
    pub settle: Duration,
    /// A ready worker whose proof fails for this long is no longer ready.
    pub lost_after: Duration,
    /// The same, where the sources of the proof do not answer.
    pub unknown_after: Duration,
    /// How long before a drain's deadline the worker is stopped; it is killed at half of it.
    pub drain_margin: Duration,
    /// When a drain signals the worker.
    pub drain_signal: DrainSignal,
    /// Without a coordinator and without an active job for this long, the instance ends itself.
    pub orphan_after: Duration,
    /// Older than this it ends itself, whatever it does; `None`: there is no limit.
    pub max_life: Option<Duration>,
    /// How old the instance is when the machine begins.
    pub age: Duration,
    /// How long the last drain of one that is too old may take.
    pub last_drain: Duration,
    /// The first pause between two attempts to reach the coordinator; it doubles.
    pub reconnect_first: Duration,
    /// Where the doubling ends.
    pub reconnect_most: Duration,
    /// The pause where the coordinator refuses this agent.
    pub refused_pause: Duration,
    /// Of the jitter.
    pub seed: u64,
}

/// When a drain signals the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainSignal {
    /// At once where the worker is seen to catch the signal, when idle elsewhere.
    Auto,
    /// The setting says that the worker finishes its jobs on the signal.
    AtOnce,
    /// Only while no job is active, or at the end of the time.
    WhenIdle,
}

impl Config {
    /// Sensible settings for these boot steps.
    pub fn new(step_retries: Vec<u32>) -> Self {
        Self {
            step_retries,
            first_step: 0,
            registered: false,
            step_pause: Duration::from_secs(2),
            crash_restarts: 3,
            crash_window: Duration::from_secs(600),
            settle: Duration::from_secs(30),
            lost_after: Duration::from_secs(45),
            unknown_after: Duration::from_secs(120),
            drain_margin: Duration::from_secs(10),
            drain_signal: DrainSignal::Auto,
            orphan_after: Duration::from_secs(900),
            max_life: None,
            age: Duration::ZERO,
            last_drain: Duration::from_secs(1800),
            reconnect_first: Duration::from_millis(500),
            reconnect_most: Duration::from_secs(15),
            refused_pause: Duration::from_secs(60),
            seed: 1,
        }
    }
}
