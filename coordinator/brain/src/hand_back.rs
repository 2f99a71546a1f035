//! The hand-back of an instance's jobs once its worker is dead: asked for until an answer says that none is left.
//!
//! ```text
//!   owed ──► asked ──► answered: none left ───────────────────────────────► done
//!             ▲ ├───── answered: some left ─── again in 5 s ──┬─ 10 min ──► given up
//!             │ └───── failed, or no answer ── 2 s … 60 s ────┼─ 24 h ────► given up
//!             └───────────────────────────────────────────────┘
//! ```
//!
//! The ten minutes are of answers in a row: who has just come back has seen nothing yet.
//! What is given up is not lost: BullMQ's stall check takes such jobs back when nobody renews their locks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::backoff;
use crate::stepped::Stepped;
use crate::time::Timestamp;

/// After an answer that left jobs: how long until the next attempt, which sees whether their locks were renewed
/// meanwhile.
const LOOKED_AT_AGAIN: Duration = Duration::from_secs(5);
/// Jobs still left after this have a worker that renews their locks: given up, and a person is alerted.
const LEFT_FOR_LONG: Duration = Duration::from_secs(600);
/// Attempts that fail for this long are given up: every lock has expired, and BullMQ's stall check has requeued the
/// jobs.
const FAILED_FOR_LONG: Duration = Duration::from_secs(24 * 3600);
/// An attempt without an answer for this long counts as lost, and is made again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// One instance's hand-back; a new one begins when uncertainty ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandBack {
    /// The worker is dead: EC2 shows the instance terminated, or the agent said so. Otherwise only those jobs are
    /// handed back whose locks nobody renews.
    pub certain: bool,
    pub began_at: Timestamp,
    pub next: Next,
    /// Jobs that the last answer left; None before the first.
    pub left: Option<u32>,
    /// Since when every answer has left some; a failure or a restart begins anew.
    #[serde(default)]
    left_since: Option<Timestamp>,
    /// Why the last attempt failed; None when it did not.
    #[serde(with = "crate::or_empty")]
    pub problem: Option<String>,
    /// In a row.
    failures: u32,
}

/// A job that was running on an instance that ended without notice, and on others before: it may be what ends them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspect {
    pub queue: String,
    pub job: String,
    /// Instances that ended without notice while they ran it.
    pub ends: u32,
    /// It is left in `active` to BullMQ's stall check. Otherwise it counts as stalled, and is behind the other jobs.
    pub is_left: bool,
}

/// What a hand-back waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// To be asked for.
    Ask {
        at: Timestamp,
    },
    /// For the answer.
    Answer {
        asked_at: Timestamp,
    },
    /// For nothing: no job is left.
    Done {
        at: Timestamp,
    },
    GivenUp {
        at: Timestamp,
    },
}

/// What an answer changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    GoesOn,
    Done,
    GivenUp,
    /// It fails for so long that a person should know.
    FailsForLong,
}

impl HandBack {
    pub(crate) fn begin(now: Timestamp, certain: bool) -> Self {
        let next = Next::Ask { at: now };
        HandBack { certain, began_at: now, next, left: None, left_since: None, problem: None, failures: 0 }
    }

    /// When it is to be asked for; None when it is over.
    pub fn due_at(&self) -> Option<Timestamp> {
        match self.next {
            Next::Ask { at } => Some(at),
            Next::Answer { asked_at } => Some(asked_at + ANSWERED_WITHIN),
            Next::Done { .. } | Next::GivenUp { .. } => None,
        }
    }

    pub fn is_over(&self) -> bool {
        self.due_at().is_none()
    }

    /// No job is left.
    pub fn is_done(&self) -> bool {
        self.done_at().is_some()
    }

    /// Since when no job is left.
    pub(crate) fn done_at(&self) -> Option<Timestamp> {
        match self.next {
            Next::Done { at } => Some(at),
            _ => None,
        }
    }

    pub(crate) fn asked(&mut self, now: Timestamp) {
        self.next = Next::Answer { asked_at: now };
    }

    pub(crate) fn answered(&mut self, now: Timestamp, left: u32) -> Turn {
        self.left = Some(left);
        self.problem = None;
        self.failures = 0;
        let left_since = *self.left_since.get_or_insert(now);
        let (next, turn) = match left {
            0 => (Next::Done { at: now }, Turn::Done),
            _ if now.since(left_since) >= LEFT_FOR_LONG => (Next::GivenUp { at: now }, Turn::GivenUp),
            _ => (Next::Ask { at: now + LOOKED_AT_AGAIN }, Turn::GoesOn),
        };
        self.next = next;
        turn
    }

    pub(crate) fn failed(&mut self, now: Timestamp, problem: String) -> Turn {
        self.problem = Some(problem);
        self.failures += 1;
        self.left_since = None;
        let span = now.since(self.began_at);
        if span >= FAILED_FOR_LONG {
            self.next = Next::GivenUp { at: now };
            return Turn::GivenUp;
        }
        let wait = backoff::retried_after(self.failures);
        self.next = Next::Ask { at: now + wait };
        if span >= LEFT_FOR_LONG { Turn::FailsForLong } else { Turn::GoesOn }
    }

    /// What made attempts fail may be fixed: the next is made at once.
    pub(crate) fn forget_back_off(&mut self, now: Timestamp) {
        if let Next::Ask { at } = &mut self.next
            && self.problem.is_some()
        {
            *at = now.min(*at);
        }
    }

    /// Redis shows by itself that no job is left.
    pub(crate) fn ends(&mut self, now: Timestamp) {
        self.left = Some(0);
        self.next = Next::Done { at: now };
    }

    /// Whoever was asked is gone, with what was seen.
    pub(crate) fn unanswered(&mut self, now: Timestamp) {
        self.left_since = None;
        if let Next::Answer { .. } = self.next {
            self.next = Next::Ask { at: now };
        }
    }
}

impl Stepped for HandBack {
    fn step(&mut self, by: i64) {
        let HandBack { certain: _, began_at, next, left: _, left_since, problem: _, failures: _ } = self;
        began_at.step(by);
        left_since.step(by);
        match next {
            Next::Ask { at } | Next::Done { at } | Next::GivenUp { at } => at.step(by),
            Next::Answer { asked_at } => asked_at.step(by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    #[test]
    fn failures_are_asked_again_ever_more_slowly_and_an_answer_ends_that() {
        let mut hand_back = HandBack::begin(at(100), true);
        assert_eq!(hand_back.due_at(), Some(at(100)));
        let mut now = at(100);
        for wait in [2, 4, 8, 16, 32, 60, 60] {
            hand_back.asked(now);
            assert_eq!(hand_back.failed(now, "no".to_owned()), Turn::GoesOn);
            assert_eq!(hand_back.due_at(), Some(now + Duration::from_secs(wait)));
            now = now + Duration::from_secs(wait);
        }
        assert_eq!(hand_back.answered(now, 1), Turn::GoesOn);
        assert_eq!((hand_back.due_at(), hand_back.problem.as_deref()), (Some(now + Duration::from_secs(5)), None));
        hand_back.failed(now, "no".to_owned());
        assert_eq!(hand_back.due_at(), Some(now + Duration::from_secs(2)), "the back-off begins anew");
        assert_eq!(hand_back.answered(now, 0), Turn::Done);
        assert!(hand_back.is_done() && hand_back.is_over());
    }

    /// Whether a lock is renewed takes two looks: the first answer after an hour without Redis is only the first look.
    #[test]
    fn the_ten_minutes_run_from_the_first_answer_after_a_failure_or_a_restart() {
        let mut hand_back = HandBack::begin(at(0), false);
        hand_back.failed(at(1), "Redis does not answer".to_owned());
        assert_eq!(hand_back.answered(at(3600), 2), Turn::GoesOn);
        assert_eq!(hand_back.answered(at(3605), 2), Turn::GoesOn);
        hand_back.unanswered(at(4300));
        assert_eq!(hand_back.answered(at(4300), 2), Turn::GoesOn);
        hand_back.failed(at(4899), "Redis does not answer".to_owned());
        assert_eq!(hand_back.answered(at(4901), 2), Turn::GoesOn);
        assert_eq!(hand_back.answered(at(5501), 2), Turn::GivenUp);
    }

    #[test]
    fn an_answer_that_never_comes_is_not_waited_for() {
        let mut hand_back = HandBack::begin(at(0), false);
        hand_back.asked(at(1));
        assert_eq!(hand_back.due_at(), Some(at(61)));
        hand_back.unanswered(at(3));
        assert_eq!(hand_back.due_at(), Some(at(3)));
    }

    #[test]
    fn jobs_that_stay_are_given_up_after_ten_minutes_and_failures_after_a_day() {
        let mut hand_back = HandBack::begin(at(0), false);
        assert_eq!(hand_back.answered(at(0), 1), Turn::GoesOn);
        assert_eq!(hand_back.answered(at(599), 1), Turn::GoesOn);
        assert_eq!(hand_back.answered(at(600), 1), Turn::GivenUp);
        assert!(hand_back.is_over() && !hand_back.is_done());
        let mut hand_back = HandBack::begin(at(0), true);
        assert_eq!(hand_back.failed(at(599), String::new()), Turn::GoesOn);
        assert_eq!(hand_back.failed(at(600), String::new()), Turn::FailsForLong);
        assert_eq!(hand_back.failed(at(86_399), String::new()), Turn::FailsForLong);
        assert_eq!(hand_back.failed(at(86_400), String::new()), Turn::GivenUp);
    }
}
