//! What an operator may ask for, and what is answered: what will happen, or why not.

use std::fmt;
use std::time::Duration;

use spillway_brain::{Event, InstanceId, PhaseKind, State, in_words};

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Hold {
        reason: String,
    },
    Resume,
    Drain {
        id: InstanceId,
        reason: String,
    },
    CancelDrain {
        id: InstanceId,
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
    Resumed,
    Drains { id: InstanceId },
    WorksAgain { id: InstanceId },
    Rehearses { id: InstanceId, notice: Duration },
}

/// Why it will not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    NotTheLeader,
    NoInstance { id: InstanceId },
    CannotDrain { id: InstanceId, phase: PhaseKind },
    CannotRehearse { id: InstanceId, phase: PhaseKind, is_interrupted: bool },
    NoDrain { id: InstanceId, phase: PhaseKind, is_interrupted: bool },
    WouldDrainAgain { id: InstanceId },
    NotConnected { id: InstanceId },
}

impl Wish {
    /// What is answered, by what is known now.
    pub(crate) fn judge(&self, state: &State) -> Result<Granted, Denied> {
        if !state.is_leader() {
            return Err(Denied::NotTheLeader);
        }
        let known = |id: &InstanceId| state.instance(id).ok_or_else(|| Denied::NoInstance { id: id.clone() });
        match self {
            Wish::Hold { .. } => Ok(Granted::Held),
            Wish::Resume => Ok(Granted::Resumed),
            Wish::Drain { id, .. } => {
                let instance = known(id)?;
                if !instance.phase_kind().can_be_drained() {
                    return Err(Denied::CannotDrain { id: id.clone(), phase: instance.phase_kind() });
                }
                Ok(Granted::Drains { id: id.clone() })
            }
            Wish::CancelDrain { id } => {
                let instance = known(id)?;
                if !instance.drain_can_be_cancelled() {
                    let is_interrupted = instance.ec2.interrupted_at.is_some();
                    return Err(Denied::NoDrain { id: id.clone(), phase: instance.phase_kind(), is_interrupted });
                }
                if state.would_drain_again() {
                    return Err(Denied::WouldDrainAgain { id: id.clone() });
                }
                Ok(Granted::WorksAgain { id: id.clone() })
            }
            Wish::Rehearse { id, notice } => {
                let instance = known(id)?;
                let is_interrupted = instance.ec2.interrupted_at.is_some();
                if is_interrupted || !instance.phase_kind().can_be_drained() {
                    return Err(Denied::CannotRehearse {
                        id: id.clone(),
                        phase: instance.phase_kind(),
                        is_interrupted,
                    });
                }
                Ok(Granted::Rehearses { id: id.clone(), notice: *notice })
            }
        }
    }

    /// What the brain is told once it is granted; a rehearsal is told to the agent alone.
    pub(crate) fn event(self) -> Option<Event> {
        Some(match self {
            Wish::Hold { reason } => Event::OperatorHold { reason },
            Wish::Resume => Event::OperatorResume,
            Wish::Drain { id, reason } => Event::OperatorDrain { id, reason },
            Wish::CancelDrain { id } => Event::OperatorCancelDrain { id },
            Wish::Rehearse { .. } => return None,
        })
    }
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Granted::Held => {
                write!(f, "held: nothing is launched or scaled in until `spillway resume`; what is under way goes on")
            }
            Granted::Resumed => write!(f, "resumed: the next tick decides again"),
            Granted::Drains { id } => write!(f, "{id} takes no new job; it is terminated once its jobs are finished"),
            Granted::WorksAgain { id } => write!(f, "{id} goes back to work"),
            Granted::Rehearses { id, notice } => write!(
                f,
                "{id} behaves as if EC2 took it in {}: it takes no new job, hands back what does not end in time, and is \
                 replaced and terminated",
                in_words(*notice)
            ),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::NotTheLeader => write!(f, "this coordinator is not the leader: ask the one that is"),
            Denied::NoInstance { id } => write!(f, "no instance {id} here: `spillway status` lists them"),
            Denied::CannotDrain { id, phase } => {
                write!(f, "{id} is {phase}: only a booting or ready instance can be drained")
            }
            Denied::CannotRehearse { id, phase, is_interrupted } => {
                let going = if *is_interrupted { " and interrupted" } else { "" };
                write!(f, "{id} is {phase}{going}: only a booting or ready instance can rehearse an interruption")
            }
            Denied::NoDrain { id, phase, is_interrupted } => {
                let going = if *is_interrupted { " and EC2 takes it" } else { "" };
                write!(f, "{id} is {phase}{going}: there is no drain that could be taken back")
            }
            Denied::WouldDrainAgain { id } => write!(
                f,
                "{id} would be drained again at once: 0 instances are wanted. `spillway hold` keeps what there is; cancel \
                 the drain after that"
            ),
            Denied::NotConnected { id } => write!(f, "the agent of {id} is not connected"),
        }
    }
}
