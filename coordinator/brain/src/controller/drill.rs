//! A drill from its request to its end: why it is rejected, what each event means for its instances, and that what
//! cannot be seen for long ends it. What it launches and drains is `capacity::drill`'s.

use std::fmt;

use super::unknown::Unknown;
use crate::capacity::drill::launchable;
use crate::config::Config;
use crate::drill::Drill;
use crate::event::Event;
use crate::note::Note;
use crate::or_empty;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::state::State;
use crate::time::Timestamp;
use crate::words::{counted, in_words};

/// Why a drill is not begun, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoDrill {
    /// It would launch nothing.
    NoInstances,
    UnderWay {
        asked: String,
    },
    Held {
        reason: Option<String>,
    },
    PoolRetired,
    /// Nothing is decided now; why.
    Unknown {
        why: String,
    },
    /// Nothing may be launched now; why.
    Blocked {
        why: String,
    },
    /// Launches failed before: one is tried at a time.
    OneAtATime,
    NoRoom {
        asked: u32,
        room: u32,
        max_instances: u32,
        billing: u32,
    },
}

impl fmt::Display for NoDrill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoDrill::NoInstances => f.write_str("a drill needs at least one instance: ask for --instances 1"),
            NoDrill::UnderWay { asked } => write!(
                f,
                "a drill is under way already ({asked}): `spillway status` shows it. Ask again once it is over"
            ),
            NoDrill::Held { reason: Some(reason) } => {
                write!(f, "an operator holds the pool ({reason}): run `spillway resume` first, then the drill")
            }
            NoDrill::Held { reason: None } => {
                f.write_str("an operator holds the pool: run `spillway resume` first, then the drill")
            }
            NoDrill::PoolRetired => {
                f.write_str("this pool is in no settings any more, and launches nothing: put its [[pool]] back first")
            }
            NoDrill::Unknown { why } => write!(f, "nothing can be launched now, so no drill is begun: {why}"),
            NoDrill::Blocked { why } => {
                write!(
                    f,
                    "nothing can be launched now, so no drill is begun: {why}. Wait, or run `spillway resume` first"
                )
            }
            NoDrill::OneAtATime => {
                f.write_str("launches failed before, so one instance is tried at a time: ask for --instances 1")
            }
            NoDrill::NoRoom { asked, room, max_instances, billing } => write!(
                f,
                "at the cap: {billing} of max_instances {max_instances} are running or starting, which leaves room for {room}, \
                 and the drill needs {}: {}wait until some have ended, or raise max_instances",
                counted(*asked, "instance"),
                if *room > 0 { format!("ask for --instances {room}, ") } else { String::new() }
            ),
        }
    }
}

/// Whether it would be begun now.
pub(super) fn check(state: &State, now: Timestamp, instances: u32, config: &Config) -> Result<(), NoDrill> {
    if instances == 0 {
        return Err(NoDrill::NoInstances);
    }
    if config.retired {
        return Err(NoDrill::PoolRetired);
    }
    if let Some(drill) = state.drill.as_ref().filter(|drill| drill.ended_at.is_none()) {
        return Err(NoDrill::UnderWay { asked: drill.asked() });
    }
    if let Some(reason) = &state.hold {
        return Err(NoDrill::Held { reason: or_empty::some(reason.clone()) });
    }
    if let Some(note) = Unknown::now(state, now, config).notes().next() {
        return Err(NoDrill::Unknown { why: note.to_string() });
    }
    match launchable(state, now, config) {
        (possible, _) if possible >= instances => Ok(()),
        (room, Some(Note::AtCap { max_instances, billing, .. })) => {
            Err(NoDrill::NoRoom { asked: instances, room, max_instances, billing })
        }
        (1, Some(Note::BreakerTries)) => Err(NoDrill::OneAtATime),
        (_, note) => Err(NoDrill::Blocked { why: note.map(|note| note.to_string()).unwrap_or_default() }),
    }
}

/// An operator asks for a drill; the next tick launches.
pub(super) fn begin(state: &mut State, now: Timestamp, event: Event, config: &Config) {
    let Event::OperatorDrill { instances, by, reason } = event else { return };
    if check(state, now, instances, config).is_ok() {
        let number = state.drill.as_ref().map_or(0, |drill| drill.number) + 1;
        state.drill = Some(Drill::new(number, now, instances, by, or_empty::some(reason)));
    }
}

/// A launch that nobody answered in time will not be ready; EC2's list tells whether anything came of it.
pub(super) fn unanswered(state: &mut State, now: Timestamp) {
    let Some(drill) = state.drill.as_mut().filter(|drill| drill.ended_at.is_none()) else { return };
    for instance in state.instances.iter().filter(|instance| instance.is_for_drill) {
        if let Phase::Launching { deadline, .. } = instance.phase
            && now >= deadline
        {
            let last = instance.problem.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
            let cause =
                format!("EC2 did not answer its launch within {}{last}", in_words(now.since(instance.planned_at)));
            drill.fails(&cause, |tried| tried.token.as_ref() == Some(&instance.token));
        }
    }
}

/// Nothing can be decided: after as long as makes what is known out of date, nobody can say that an instance is ready.
pub(super) fn unseen(state: &mut State, now: Timestamp, unknown: &Unknown, config: &Config) {
    let Some(note) = unknown.for_too_long(state, now, config) else { return };
    if let Some(drill) = state.drill.as_mut().filter(|drill| drill.ended_at.is_none()) {
        drill.fails(&note.to_string(), |_| true);
    }
}

/// What is said of it.
pub(super) fn note(state: &State, plan: &mut Plan) {
    let Some(drill) = state.drill.as_ref().filter(|drill| drill.ended_at.is_none()) else { return };
    let (ready, failed) = drill.outcomes();
    let instances = u32::try_from(drill.tried.len()).unwrap_or(u32::MAX);
    plan.notes.push(Note::Drill { instances, asked: drill.asked(), ready, failed });
}
