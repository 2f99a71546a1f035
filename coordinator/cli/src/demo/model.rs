//! All that the demo's screen shows, as data: what is drawn follows from it alone.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Options;
use super::commands::Commands;
use super::jobs::Counts;
use super::story::Story;

/// Samples of the backlog that are kept: of more than half an hour.
const SAMPLES: usize = 8000;

/// The demo at one moment.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub options: Options,
    /// Since the flood.
    pub elapsed: Duration,
    pub jobs: Counts,
    /// Active jobs by the worker that holds them; the primary is `primary`.
    pub running_on: BTreeMap<String, u64>,
    pub done_on: BTreeMap<String, u64>,
    /// Waiting jobs at each observation, oldest first.
    pub backlog: Vec<u64>,
    pub desired: Option<u32>,
    pub max_instances: u32,
    /// In the order of their launch.
    pub instances: Vec<Instance>,
    pub story: Story,
    /// Why nothing more and nothing less is done, by the last plan.
    pub notes: Vec<String>,
    /// With `--keep`.
    pub commands: Option<Commands>,
    pub is_over: bool,
}

/// One instance as its row shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Instance {
    /// Empty until EC2 has answered the launch.
    pub id: String,
    /// As `spillway.v1` spells it.
    pub phase: String,
    pub phase_reason: String,
    pub in_phase_for: Duration,
    /// From its launch until it was ready.
    pub ready_after: Option<Duration>,
    pub steps: Vec<Step>,
    /// EC2 reclaims it so long from now.
    pub reclaimed_in: Option<Duration>,
    /// No heartbeat for a while: so long ago was the last.
    pub silent_for: Option<Duration>,
}

/// One step of a boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub name: String,
    /// None while it runs.
    pub took: Option<Duration>,
    pub running_for: Duration,
    /// Of how many steps the boot is.
    pub count: u32,
    /// What went wrong, where it did.
    pub problem: String,
}

impl Model {
    pub(super) fn new(options: &Options, max_instances: u32) -> Self {
        Self {
            options: options.clone(),
            elapsed: Duration::ZERO,
            jobs: Counts::default(),
            running_on: BTreeMap::new(),
            done_on: BTreeMap::new(),
            backlog: Vec::new(),
            desired: None,
            max_instances,
            instances: Vec::new(),
            story: Story::default(),
            notes: Vec::new(),
            commands: None,
            is_over: false,
        }
    }

    /// One more sample of the backlog.
    pub(super) fn sample(&mut self, waiting: u64) {
        if self.backlog.len() == SAMPLES {
            self.backlog.remove(0);
        }
        self.backlog.push(waiting);
    }

    /// An instance that a drain would find.
    pub(super) fn ready_instance(&self) -> Option<&str> {
        self.instances.iter().find(|it| it.phase == "ready").map(|it| it.id.as_str())
    }
}
