//! What is decided: a plan of decisions, each with its reason, and the notes that say why nothing more.

use std::mem::discriminant;

use serde::{Deserialize, Serialize};

use crate::id::{InstanceId, LaunchToken};
use crate::note::Note;
use crate::reason::Reason;
use crate::refusal_class::RefusalClass;
use crate::time::Timestamp;

/// What one tick decided. Also when nothing is done, the notes say why not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub at: Timestamp,
    /// By the last observation; None before the first.
    pub demand: Option<u64>,
    /// None before the first observation.
    pub desired: Option<u32>,
    pub decisions: Vec<Planned>,
    pub notes: Vec<Note>,
}

impl Plan {
    /// Nothing was decided in either, for the same kinds of reasons: only the numbers moved on.
    pub fn is_repeated_by(&self, next: &Plan) -> bool {
        let of_one_kind = || self.notes.iter().map(discriminant).eq(next.notes.iter().map(discriminant));
        let decides_nothing = self.decisions.is_empty() && next.decisions.is_empty();
        decides_nothing && self.desired == next.desired && self.at <= next.at && of_one_kind()
    }
}

/// A decision with its reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub decision: Decision,
    pub reason: Reason,
}

impl Planned {
    pub(crate) fn new(decision: Decision, reason: Reason) -> Self {
        Planned { decision, reason }
    }
}

/// Everything we ever do. The outcome comes back as an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Decision {
    /// RunInstances with this token as ClientToken: a new intent, or an unanswered one again.
    Launch {
        token: LaunchToken,
    },
    /// Tell the agent to take no new job and to have stopped the worker by `deadline`.
    Drain {
        id: InstanceId,
        deadline: Timestamp,
    },
    CancelDrain {
        id: InstanceId,
    },
    /// TerminateInstances.
    Terminate {
        id: InstanceId,
    },
    /// Put the instance's jobs back to wait. `certain`: its worker is dead. Otherwise it may still run, and only those
    /// jobs are put back whose locks nobody renews. `sudden`: it ended without notice, and nobody here had decided
    /// that.
    HandBack {
        id: InstanceId,
        certain: bool,
        #[serde(default)]
        sudden: bool,
    },
    /// Tell the agent, whose worker is stopped, to power the instance off: EC2 refuses to terminate it.
    PowerOff {
        id: InstanceId,
    },
    /// A person is needed.
    Alert {
        alert: AlertKind,
    },
}

impl Decision {
    /// As the interfaces write it.
    pub fn kind(&self) -> &'static str {
        match self {
            Decision::Launch { .. } => "launch",
            Decision::Drain { .. } => "drain",
            Decision::CancelDrain { .. } => "cancel_drain",
            Decision::Terminate { .. } => "terminate",
            Decision::HandBack { .. } => "hand_back",
            Decision::PowerOff { .. } => "power_off",
            Decision::Alert { .. } => "alert",
        }
    }

    /// The instance's id or launch token; empty where none is meant.
    pub fn subject(&self) -> &str {
        match self {
            Decision::Launch { token } => &token.0,
            Decision::Drain { id, .. }
            | Decision::CancelDrain { id }
            | Decision::Terminate { id }
            | Decision::PowerOff { id }
            | Decision::HandBack { id, .. } => &id.0,
            Decision::Alert { .. } => "",
        }
    }
}

/// What an alert is about; raised once, until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    BootsFail,
    /// EC2 refuses launches, by class.
    Quota,
    #[serde(alias = "fatal_refusal")]
    NotPermitted,
    WrongConfiguration,
    UnknownRefusal,
    /// EC2 refuses to terminate an instance.
    NotTerminated,
    DrainOverdue,
    UnknownInstance,
    /// Instances with a launch token that is not ours carry the pool's name.
    Strangers,
    /// Somebody changed the tags of an instance of ours.
    TagsChanged,
    /// EC2 does not show an instance whose agent reports.
    Unlisted,
    /// Jobs of an instance that ended cannot be handed back.
    HandBackFails,
    /// Some are left, and their worker seems to live.
    JobsLeft,
    /// A job was running on instance after instance that ended without notice.
    SuspectJob,
    /// Jobs are ready to run, an instance is ready, and none is taken.
    NothingTaken,
    /// The queues have not been known for long.
    QueuesUnknown,
    /// EC2's list of instances has not been known for long.
    InstancesUnknown,
    /// A queue that was there is there no more.
    QueueGone,
    /// Instances end without notice soon after they became ready.
    EarlyEnds,
    /// Two agents have proved to be one instance.
    TwoAgents,
}

impl AlertKind {
    pub const ALL: [AlertKind; 20] = [
        AlertKind::BootsFail,
        AlertKind::Quota,
        AlertKind::NotPermitted,
        AlertKind::WrongConfiguration,
        AlertKind::UnknownRefusal,
        AlertKind::NotTerminated,
        AlertKind::DrainOverdue,
        AlertKind::UnknownInstance,
        AlertKind::Strangers,
        AlertKind::TagsChanged,
        AlertKind::Unlisted,
        AlertKind::HandBackFails,
        AlertKind::JobsLeft,
        AlertKind::SuspectJob,
        AlertKind::NothingTaken,
        AlertKind::QueuesUnknown,
        AlertKind::InstancesUnknown,
        AlertKind::QueueGone,
        AlertKind::EarlyEnds,
        AlertKind::TwoAgents,
    ];

    /// As metrics write it, and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::BootsFail => "boots_fail",
            AlertKind::Quota => "quota",
            AlertKind::NotPermitted => "not_permitted",
            AlertKind::WrongConfiguration => "wrong_configuration",
            AlertKind::UnknownRefusal => "unknown_refusal",
            AlertKind::NotTerminated => "not_terminated",
            AlertKind::DrainOverdue => "drain_overdue",
            AlertKind::UnknownInstance => "unknown_instance",
            AlertKind::Strangers => "strangers",
            AlertKind::TagsChanged => "tags_changed",
            AlertKind::Unlisted => "unlisted",
            AlertKind::HandBackFails => "hand_back_fails",
            AlertKind::JobsLeft => "jobs_left",
            AlertKind::SuspectJob => "suspect_job",
            AlertKind::NothingTaken => "nothing_taken",
            AlertKind::QueuesUnknown => "queues_unknown",
            AlertKind::InstancesUnknown => "instances_unknown",
            AlertKind::QueueGone => "queue_gone",
            AlertKind::EarlyEnds => "early_ends",
            AlertKind::TwoAgents => "two_agents",
        }
    }

    /// The alert that a refused launch raises, where it needs a person.
    pub(crate) fn of_refusal(class: RefusalClass) -> Option<AlertKind> {
        match class {
            RefusalClass::Quota => Some(AlertKind::Quota),
            RefusalClass::Permission => Some(AlertKind::NotPermitted),
            RefusalClass::Configuration => Some(AlertKind::WrongConfiguration),
            RefusalClass::Unknown => Some(AlertKind::UnknownRefusal),
            RefusalClass::Retry | RefusalClass::Capacity | RefusalClass::TokenUsed | RefusalClass::TokenEnded => None,
        }
    }
}
