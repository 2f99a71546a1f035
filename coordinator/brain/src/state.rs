//! What is known of one pool, and intended for it. Data and questions to it: what changes it is above, in `controller`,
//! `capacity` and `phases`.

mod queries;
mod stepped;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::backlog::Backlog;
use crate::breaker::Breaker;
use crate::drill::Drill;
use crate::early_ends::EarlyEnds;
use crate::floor::Floor;
use crate::id::{InstanceId, LaunchToken};
use crate::instance::Instance;
use crate::launch_image::LaunchImage;
use crate::measures::Measures;
use crate::plan::{AlertKind, Decision, Planned};
use crate::proven_images::ProvenImages;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::refusal_class::RefusalClass;
use crate::stranger::Stranger;
use crate::sustain::Sustain;
use crate::time::Timestamp;
use crate::work::Work;

pub use queries::Window;

/// All that is known and intended for one pool. Serializable: the shell keeps it in the ledger before acting on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Makes this ledger's launch tokens unlike any other's.
    pub(crate) nonce: String,
    pub(crate) launches: u64,
    pub(crate) leader: bool,
    /// When this coordinator became the leader, or restarted: deadlines that passed before are not held against agents.
    #[serde(default)]
    pub(crate) led_since: Option<Timestamp>,
    pub(crate) backlog: Option<(Backlog, Timestamp)>,
    pub(crate) observation_problem: Option<String>,
    /// Queues that an observation has shown: one that is missing since was obliterated, and is empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) seen_queues: BTreeSet<String>,
    pub(crate) listed_at: Option<Timestamp>,
    pub(crate) listing_problem: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) launch_image: Option<LaunchImage>,
    #[serde(default, skip_serializing_if = "ProvenImages::is_empty")]
    pub(crate) proven_images: ProvenImages,
    pub(crate) sustain: Sustain,
    /// The jobs of the last look, and when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) work: Option<(Work, Timestamp)>,
    #[serde(default, skip_serializing_if = "Measures::is_empty")]
    pub(crate) measures: Measures,
    /// Since when each forecast has kept the promise with fewer instances, and when the last one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spare: Option<Spare>,
    pub(crate) desired: Option<u32>,
    /// The same by the policy alone, where a schedule asks for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) by_policy: Option<u32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) floors: Vec<Floor>,
    /// Since when every observation showed jobs that could start, none that ran, and a ready instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nothing_taken_since: Option<Timestamp>,
    pub(crate) instances: VecDeque<Instance>,
    /// Instances with the pool's tag but no launch token: counted, never touched.
    pub(crate) foreign: Vec<InstanceId>,
    /// Instances with the pool's tag and a launch token that is not ours: never touched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) strangers: Vec<Stranger>,
    pub(crate) hold: Option<String>,
    /// None: it is not held, or since a version that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_since: Option<Timestamp>,
    /// Who has resumed since the last tick.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resumed: Option<String>,
    /// The one that is under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) drill: Option<Drill>,
    pub(crate) breaker: Breaker,
    /// That of an image that never ran here, while launches take one that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) breaker_set_aside: Option<Breaker>,
    #[serde(default, skip_serializing_if = "EarlyEnds::is_none")]
    pub(crate) early_ends: EarlyEnds,
    /// Of launches: the last refusal that still counts, and those of other kinds.
    pub(crate) refusal: Option<Refusal>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) other_refusals: Vec<Refusal>,
    /// EC2's answers to launches since this ledger began, by outcome as metrics write it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) launch_outcomes: BTreeMap<String, u64>,
    pub(crate) alerts: BTreeSet<AlertKind>,
    /// What was said when they were raised; may have some that are over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) alert_reasons: BTreeMap<AlertKind, String>,
    /// Decided while handling an event; given out by the next tick.
    pub(crate) pending: Vec<Planned>,
    /// When replacements on EC2's recommendation were begun, oldest first.
    #[serde(default)]
    pub(crate) rebalances: VecDeque<Timestamp>,
    pub(crate) launched_total: u64,
    pub(crate) terminated_total: u64,
    #[serde(default)]
    pub(crate) handed_back_total: u64,
}

/// An instance more than the promise needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spare {
    pub since: Timestamp,
    pub seen: Timestamp,
    /// When some were last given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_at: Option<Timestamp>,
}

/// The fleet in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ready: u32,
    pub on_the_way: u32,
    /// All that bills or may bill: with those that may be ours, without another installation's.
    pub billing: u32,
    /// Those of them that this ledger has not launched.
    pub not_ours: u32,
    /// Those of them that EC2 is about to take.
    pub interrupted: u32,
    /// Those on the way that are to take the place of one that is still ready.
    pub replacements: u32,
    /// Those ready or on the way that a drill has launched.
    pub drilled: u32,
}

impl Counts {
    /// Capacity once all that is on the way is ready, and what is replaced is gone.
    pub(crate) fn capacity_to_be(self) -> u32 {
        (self.ready + self.on_the_way).saturating_sub(self.replacements)
    }

    /// The same without those of a drill, which end with it.
    pub(crate) fn capacity_without_drill(self) -> u32 {
        self.capacity_to_be().saturating_sub(self.drilled)
    }
}

impl State {
    pub(crate) fn new(nonce: impl Into<String>) -> Self {
        State {
            nonce: nonce.into(),
            launches: 0,
            leader: false,
            led_since: None,
            backlog: None,
            observation_problem: None,
            seen_queues: BTreeSet::new(),
            listed_at: None,
            listing_problem: None,
            launch_image: None,
            proven_images: ProvenImages::default(),
            sustain: Sustain::default(),
            work: None,
            measures: Measures::default(),
            spare: None,
            desired: None,
            by_policy: None,
            floors: Vec::new(),
            nothing_taken_since: None,
            instances: VecDeque::new(),
            foreign: Vec::new(),
            strangers: Vec::new(),
            hold: None,
            held_since: None,
            resumed: None,
            drill: None,
            breaker: Breaker::default(),
            breaker_set_aside: None,
            early_ends: EarlyEnds::default(),
            refusal: None,
            other_refusals: Vec::new(),
            launch_outcomes: BTreeMap::new(),
            alerts: BTreeSet::new(),
            alert_reasons: BTreeMap::new(),
            pending: Vec::new(),
            rebalances: VecDeque::new(),
            launched_total: 0,
            terminated_total: 0,
            handed_back_total: 0,
        }
    }

    pub(crate) fn by_id(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.id.as_ref() == Some(id))
    }

    pub(crate) fn by_token(&mut self, token: &LaunchToken) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.token == *token)
    }

    /// Tells a person, once until the alert is over.
    pub(crate) fn raise(&mut self, alert: AlertKind, reason: Reason) {
        if self.alerts.insert(alert) {
            self.alert_reasons.retain(|alert, _| self.alerts.contains(alert));
            self.alert_reasons.insert(alert, reason.to_string());
            self.pending.push(Planned::new(Decision::Alert { alert }, reason));
        }
    }

    /// The refusal takes the place of an earlier one of its kind.
    pub(crate) fn remember(&mut self, refusal: Refusal) {
        let before = self.refusal.take();
        self.other_refusals.extend(before);
        self.other_refusals.retain(|other| (other.class, other.after_accept) != (refusal.class, refusal.after_accept));
        self.refusal = Some(refusal);
    }

    pub(crate) fn refusal_of(&self, class: RefusalClass, after_accept: bool) -> Option<&Refusal> {
        self.refusals().find(|refusal| (refusal.class, refusal.after_accept) == (class, after_accept))
    }

    /// A person may have fixed what made EC2 refuse.
    pub(crate) fn forget_refusals(&mut self) {
        self.forget_refusals_that(|_| true);
    }

    /// Forgets those refusals, and that a person was told of their classes.
    pub(crate) fn forget_refusals_that(&mut self, is_over: impl Fn(&Refusal) -> bool) {
        self.other_refusals.retain(|refusal| !is_over(refusal));
        // The last of those that are left, as if the forgotten ones had never been.
        self.refusal = self.refusal.take().filter(|refusal| !is_over(refusal)).or_else(|| self.other_refusals.pop());
        for class in RefusalClass::ALL {
            if let Some(alert) = AlertKind::of_refusal(class).filter(|_| !self.refusals().any(|it| it.class == class)) {
                self.alerts.remove(&alert);
            }
        }
    }

    pub(crate) fn count_outcome(&mut self, outcome: &str) {
        *self.launch_outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
}
