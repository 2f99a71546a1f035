//! What an operator may ask for, and what is answered: what will happen, or why not.

use std::fmt;
use std::time::Duration;

use spillway_brain::{Controller, Event, InstanceId, PhaseKind, Rejection, Resumed, Timestamp, in_words};

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Hold {
        reason: String,
    },
    Resume {
        by: String,
    },
    Drain {
        id: InstanceId,
        reason: String,
    },
    CancelDrain {
        id: InstanceId,
        by: String,
    },
    /// So many instances are to be launched, to be ready once, and to be ended after that.
    Drill {
        instances: u32,
        by: String,
        reason: String,
    },
    /// An agent is to behave as if EC2 took its instance in so long.
    Rehearse {
        id: InstanceId,
        notice: Duration,
    },
}

/// What will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    Held,
    Resumed(Resumed),
    Drains {
        id: InstanceId,
    },
    /// It was kept because its boot failed.
    KeptNoLonger {
        id: InstanceId,
    },
    WorksAgain {
        id: InstanceId,
    },
    /// The pool's drill of this number; `within`: what a boot may take.
    Drills {
        number: u64,
        instances: u32,
        within: Duration,
    },
    Rehearses {
        id: InstanceId,
        notice: Duration,
    },
}

/// Why it will not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    NotTheLeader,
    /// By the brain.
    Rejected(Rejection),
    CannotRehearse {
        id: InstanceId,
        phase: PhaseKind,
        interrupted: bool,
    },
    NotConnected {
        id: InstanceId,
    },
}

impl From<Rejection> for Denied {
    fn from(rejection: Rejection) -> Self {
        Denied::Rejected(rejection)
    }
}

impl Wish {
    /// What is answered, by what is known now.
    pub(crate) fn judge(&self, now: Timestamp, controller: &Controller) -> Result<Granted, Denied> {
        let state = controller.state();
        if !state.is_leader() {
            return Err(Denied::NotTheLeader);
        }
        if let Some(event) = self.clone().event() {
            controller.check_operator(now, &event)?;
        }
        Ok(match self {
            Wish::Hold { .. } => Granted::Held,
            Wish::Resume { .. } => Granted::Resumed(controller.would_resume(now)),
            Wish::Drain { id, .. } if state.instance(id).is_some_and(|instance| instance.is_kept(now)) => {
                Granted::KeptNoLonger { id: id.clone() }
            }
            Wish::Drain { id, .. } => Granted::Drains { id: id.clone() },
            Wish::CancelDrain { id, .. } => Granted::WorksAgain { id: id.clone() },
            Wish::Drill { instances, .. } => Granted::Drills {
                number: state.drill().map_or(0, |last| last.number) + 1,
                instances: *instances,
                within: controller.config().boot_timeout,
            },
            Wish::Rehearse { id, notice } => {
                let instance = state.instance(id).ok_or_else(|| Rejection::NoSuchInstance { id: id.clone() })?;
                let (phase, interrupted) = (instance.phase_kind(), instance.ec2.interrupted_at.is_some());
                if interrupted || !phase.can_be_drained() {
                    return Err(Denied::CannotRehearse { id: id.clone(), phase, interrupted });
                }
                Granted::Rehearses { id: id.clone(), notice: *notice }
            }
        })
    }

    /// What the brain is told once it is granted; a rehearsal is told to the agent alone.
    pub(crate) fn event(self) -> Option<Event> {
        Some(match self {
            Wish::Hold { reason } => Event::OperatorHold { reason },
            Wish::Resume { by } => Event::OperatorResume { by },
            Wish::Drain { id, reason } => Event::OperatorDrain { id, reason },
            Wish::CancelDrain { id, by } => Event::OperatorCancelDrain { id, by },
            Wish::Drill { instances, by, reason } => Event::OperatorDrill { instances, by, reason },
            Wish::Rehearse { .. } => return None,
        })
    }
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Granted::Held => {
                write!(
                    f,
                    "held: no launches and no scale-in until `spillway resume`; boots, drains and terminations in progress continue"
                )
            }
            Granted::Resumed(resumed) => resumed.fmt(f),
            Granted::Drains { id } => write!(f, "{id} takes no new job; it is terminated once its jobs are finished"),
            Granted::KeptNoLonger { id } => write!(f, "{id} is kept no longer: it is terminated at the next tick"),
            Granted::WorksAgain { id } => write!(f, "{id} goes back to work"),
            Granted::Drills { instances, within, .. } => {
                let (launched, each) = match instances {
                    1 => ("1 instance is".to_owned(), "it"),
                    many => (format!("{many} instances are"), "each"),
                };
                write!(
                    f,
                    "{launched} launched for this drill: {each} must be ready within {} of its launch, and is drained and \
                     terminated after that, unless the policy wants it by then",
                    in_words(*within)
                )
            }
            Granted::Rehearses { id, notice } => write!(
                f,
                "{id} behaves as if EC2 reclaimed it in {}: it takes no new job, hands back the jobs that cannot finish in \
                 time, and is replaced and terminated",
                in_words(*notice)
            ),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::NotTheLeader => write!(f, "this coordinator is not the leader: ask the one that is"),
            Denied::Rejected(rejection) => rejection.fmt(f),
            Denied::CannotRehearse { id, phase, interrupted } => {
                let going = if *interrupted { " and interrupted" } else { "" };
                write!(f, "{id} is {phase}{going}: only a booting or ready instance can rehearse an interruption")
            }
            Denied::NotConnected { id } => write!(f, "the agent of {id} is not connected"),
        }
    }
}
