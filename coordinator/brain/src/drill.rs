//! A drill: instances that an operator has launched to see them become ready, and that are ended after that. Data, and
//! what follows from an instance's phase for it; which instances are launched and drained is `capacity::drill`'s.
//!
//! ```text
//!   asked ──► launched ──► Ready, or why not ──► all of them have an outcome ──► drained ──► gone
//!                                                                          └──► or they stay, as ordinary instances
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ending;
use crate::event::Ec2State;
use crate::id::{InstanceId, LaunchToken};
use crate::instance::Instance;
use crate::phase::PhaseKind;
use crate::stepped::Stepped;
use crate::time::Timestamp;

/// The drill of a pool that is under way, or the last one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// Tells it from the pool's other drills.
    pub number: u64,
    pub by: String,
    #[serde(with = "crate::or_empty")]
    pub reason: Option<String>,
    pub at: Timestamp,
    /// As many as were asked for.
    pub tried: Vec<Tried>,
    /// None while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// One of a drill's instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// None while it is not launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<LaunchToken>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<InstanceId>,
    /// None until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it is not ended, or not by the drill: it is an ordinary instance from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<Stays>,
    /// EC2 bills nothing for it: it took the launch back, or reclaimed the instance in its first hour.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_free: bool,
    #[serde(default)]
    pub times: Times,
}

/// When each of its steps was first seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    pub planned_at: Option<Timestamp>,
    pub accepted_at: Option<Timestamp>,
    /// By EC2's list.
    pub running_at: Option<Timestamp>,
    /// Its agent's first word.
    pub registered_at: Option<Timestamp>,
    pub ready_at: Option<Timestamp>,
    pub draining_at: Option<Timestamp>,
    pub drained_at: Option<Timestamp>,
    pub terminating_at: Option<Timestamp>,
    pub gone_at: Option<Timestamp>,
}

/// What came of one of a drill's instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its worker was proven to process jobs.
    Ready,
    Failed {
        cause: String,
    },
}

/// Why an instance of a drill is not ended with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stays {
    /// The policy asks for it by now.
    Wanted { desired: u32 },
    /// The pool is held.
    Held,
    /// Its drain was cancelled.
    Cancelled,
    /// Its boot failed, and it is kept for a person.
    Kept,
    /// EC2 refuses to terminate it.
    NotTerminated,
}

impl Drill {
    /// As many as `instances` are asked for.
    pub(crate) fn new(number: u64, now: Timestamp, instances: u32, by: String, reason: Option<String>) -> Self {
        let tried = (0..instances).map(|_| Tried::default()).collect();
        Drill { number, by, reason, at: now, tried, ended_at: None }
    }

    /// Who asked for it, and why: `a new image, by root`.
    pub fn asked(&self) -> String {
        match &self.reason {
            Some(reason) => format!("{reason}, by {}", self.by),
            None => format!("by {}", self.by),
        }
    }

    /// How many of its instances were ready, and how many will not be.
    pub fn outcomes(&self) -> (u32, u32) {
        let outcomes = || self.tried.iter().filter_map(|tried| tried.outcome.as_ref());
        let count = |is_ready: bool| outcomes().filter(|it| (**it == Outcome::Ready) == is_ready).count();
        let number = |is_ready: bool| u32::try_from(count(is_ready)).unwrap_or(u32::MAX);
        (number(true), number(false))
    }

    /// Each of its instances was ready, or will not be.
    pub(crate) fn has_all_outcomes(&self) -> bool {
        self.tried.iter().all(|tried| tried.outcome.is_some())
    }

    /// Those that have no outcome yet will not be ready.
    pub(crate) fn fails(&mut self, cause: &str, is_meant: impl Fn(&Tried) -> bool) {
        for tried in self.tried.iter_mut().filter(|tried| tried.outcome.is_none() && is_meant(tried)) {
            tried.outcome = Some(Outcome::Failed { cause: cause.to_owned() });
        }
    }
}

impl Tried {
    /// It is still to be launched.
    pub(crate) fn waits(&self) -> bool {
        self.token.is_none() && self.outcome.is_none()
    }

    /// Nothing more of it concerns the drill.
    pub fn is_over(&self) -> bool {
        self.outcome.is_some() && (self.token.is_none() || self.times.gone_at.is_some() || self.stays.is_some())
    }

    /// The ledger has its instance no more.
    pub(crate) fn is_forgotten(&mut self, now: Timestamp) {
        self.times.gone_at.get_or_insert(now);
        self.outcome
            .get_or_insert_with(|| Outcome::Failed { cause: "the ledger does not know it any more".to_owned() });
    }

    /// Takes in what its instance has come to.
    pub(crate) fn follow(&mut self, now: Timestamp, instance: &Instance) {
        let (times, phase) = (&mut self.times, instance.phase_kind());
        self.id.clone_from(&instance.id);
        let note = |time: &mut Option<Timestamp>, is_so: bool| {
            if is_so {
                time.get_or_insert(now);
            }
        };
        times.planned_at.get_or_insert(instance.planned_at);
        times.accepted_at = times.accepted_at.or(instance.accepted_at);
        note(&mut times.running_at, instance.ec2.state == Some(Ec2State::Running));
        note(&mut times.registered_at, instance.agent.registered);
        times.ready_at = times.ready_at.or(instance.ready_at);
        let was_draining = times.draining_at.is_some();
        note(&mut times.draining_at, phase == PhaseKind::Draining);
        note(&mut times.drained_at, instance.is_stopped());
        note(&mut times.terminating_at, phase == PhaseKind::Terminating || instance.ec2.has_ended());
        note(&mut times.gone_at, phase == PhaseKind::Gone);
        self.is_free = instance.ec2.took_back || instance.left_to_ec2_until().is_some();
        let is_working = matches!(phase, PhaseKind::Launching | PhaseKind::Booting | PhaseKind::Ready);
        if instance.ready_at.is_some() {
            self.outcome.get_or_insert(Outcome::Ready);
        } else if !is_working {
            self.outcome.get_or_insert_with(|| Outcome::Failed { cause: ending::so_far(instance) });
        }
        if is_working && was_draining {
            self.stays.get_or_insert(Stays::Cancelled);
        } else if instance.is_kept(now) {
            self.stays.get_or_insert(Stays::Kept);
        } else if instance.not_terminated.as_ref().is_some_and(|it| it.alerted) {
            self.stays.get_or_insert(Stays::NotTerminated);
        }
    }
}

impl Stepped for Drill {
    fn step(&mut self, by: i64) {
        let Drill { number: _, by: _, reason: _, at, tried, ended_at } = self;
        at.step(by);
        tried.step(by);
        ended_at.step(by);
    }
}

impl Stepped for Tried {
    fn step(&mut self, by: i64) {
        let Tried { token: _, id: _, outcome: _, stays: _, is_free: _, times } = self;
        let Times {
            planned_at,
            accepted_at,
            running_at,
            registered_at,
            ready_at,
            draining_at,
            drained_at,
            terminating_at,
            gone_at,
        } = times;
        let first = [planned_at, accepted_at, running_at, registered_at, ready_at];
        first.into_iter().chain([draining_at, drained_at, terminating_at, gone_at]).for_each(|time| time.step(by));
    }
}

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stays::Wanted { desired } => write!(f, "demand came, and the policy wants it ({desired} desired)"),
            Stays::Held => f.write_str("an operator holds the pool: nothing is scaled in until `spillway resume`"),
            Stays::Cancelled => f.write_str("its drain was cancelled"),
            Stays::Kept => f.write_str("its boot failed, and it is kept for a person (pool.keep_failed_boots)"),
            Stays::NotTerminated => f.write_str("EC2 refuses to terminate it: see `spillway status`"),
        }
    }
}
