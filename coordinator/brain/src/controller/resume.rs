//! What a resume would come to: what it forgets, and what still holds launches back after it.

use std::fmt;
use std::time::Duration;

use super::{handle, tick};
use crate::config::Config;
use crate::event::Event;
use crate::instance::Instance;
use crate::or_empty;
use crate::phase::Phase;
use crate::refusal::Refusal;
use crate::refusal_class::RefusalClass;
use crate::state::State;
use crate::time::Timestamp;
use crate::words::{counted, in_words};

/// What a resume comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    pub cleared: Vec<Cleared>,
    /// Why nothing is launched all the same, one sentence each.
    pub still: Vec<String>,
}

/// What a resume ends or forgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cleared {
    Hold {
        reason: Option<String>,
    },
    Refusal {
        class: RefusalClass,
        code: String,
        left: Duration,
    },
    Breaker {
        failures: u32,
        left: Duration,
    },
    EarlyEnds {
        ends: u32,
        left: Duration,
    },
    /// Calls of single instances that wait for their next attempt.
    Launches {
        waiting: u32,
    },
    Terminations {
        waiting: u32,
    },
    HandBacks {
        waiting: u32,
    },
}

/// What a resume at `now` would come to.
pub(super) fn would(state: &State, now: Timestamp, config: &Config) -> Resumed {
    let mut after = state.clone();
    handle::handle(&mut after, now, Event::OperatorResume { by: String::new() }, config);
    let notes = tick::tick(&mut after, now, config).notes;
    let still = notes.iter().filter(|note| note.holds_launches()).map(ToString::to_string).collect();
    Resumed { cleared: cleared(state, now), still }
}

fn cleared(state: &State, now: Timestamp) -> Vec<Cleared> {
    let hold = state.hold.clone().map(|reason| Cleared::Hold { reason: or_empty::some(reason) });
    let refusal = |it: &Refusal| Cleared::Refusal { class: it.class, code: it.code.clone(), left: it.left(now) };
    let refusals = state.refusals().filter(|refusal| refusal.blocks(now)).map(refusal);
    let failures = state.breaker.failures;
    let breaker = state.breaker.open_until.map(|until| Cleared::Breaker { failures, left: now.until(until) });
    let ends = state.early_ends.count();
    let early_ends = state.early_ends.open_until().map(|until| Cleared::EarlyEnds { ends, left: now.until(until) });
    let count = |waits: fn(&Instance, Timestamp) -> bool| {
        u32::try_from(state.instances.iter().filter(|it| waits(it, now)).count()).unwrap_or(u32::MAX)
    };
    let launches = count(|it, now| matches!(it.phase, Phase::Launching { next_try: Some(at), .. } if now < at));
    let terminations = count(|it, _| it.not_terminated.is_some());
    let hand_backs = count(|it, now| {
        let fails = it.owed.hand_back.as_ref().filter(|hand_back| hand_back.problem.is_some());
        fails.and_then(|hand_back| hand_back.due_at()).is_some_and(|at| now < at)
    });
    let calls = [
        (launches > 0).then_some(Cleared::Launches { waiting: launches }),
        (terminations > 0).then_some(Cleared::Terminations { waiting: terminations }),
        (hand_backs > 0).then_some(Cleared::HandBacks { waiting: hand_backs }),
    ];
    hold.into_iter().chain(refusals).chain(breaker).chain(early_ends).chain(calls.into_iter().flatten()).collect()
}

impl fmt::Display for Cleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cleared::Hold { reason: Some(reason) } => write!(f, "the hold is lifted ({reason})"),
            Cleared::Hold { reason: None } => f.write_str("the hold is lifted"),
            Cleared::Refusal { class, code, left } if left.is_zero() => {
                write!(f, "the refusal {code} ({}) is forgotten", class.in_words())
            }
            Cleared::Refusal { class, code, left } => {
                let (class, left) = (class.in_words(), in_words(*left));
                write!(f, "the back-off after {code} ({class}, {left} left) is forgotten")
            }
            Cleared::Breaker { failures, left } if left.is_zero() => {
                write!(f, "the breaker is closed ({} failed in a row)", counted(*failures, "boot"))
            }
            Cleared::Breaker { failures, left } => {
                let (boots, left) = (counted(*failures, "boot"), in_words(*left));
                write!(f, "the breaker is closed ({boots} failed in a row, {left} left)")
            }
            Cleared::EarlyEnds { ends, .. } => {
                let ends = counted(*ends, "instance");
                write!(f, "launches are no longer held back by early ends ({ends} in a row)")
            }
            Cleared::Launches { waiting } => write!(f, "unanswered launches are retried at once ({waiting})"),
            Cleared::Terminations { waiting } => write!(f, "refused terminations are retried at once ({waiting})"),
            Cleared::HandBacks { waiting } => write!(f, "failed hand-backs are retried at once ({waiting})"),
        }
    }
}

impl fmt::Display for Resumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentences = |parts: Vec<String>| parts.join("; ");
        match self.cleared.as_slice() {
            [] => f.write_str("resumed: nothing was held or backed off")?,
            cleared => write!(f, "resumed: {}", sentences(cleared.iter().map(ToString::to_string).collect()))?,
        }
        match self.still.as_slice() {
            [] => f.write_str(". The next tick decides again"),
            still => write!(f, ". Still in the way: {}", sentences(still.to_vec())),
        }
    }
}
