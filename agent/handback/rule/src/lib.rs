//! Which of an instance's jobs may be handed back: those that nobody works on any more. A worker renews its job's lock at
//! half of the lock's duration (30 s by default, so each 15 s), and a lock that is not renewed says that it is dead.
//!
//! A job whose lock is being renewed is never handed back, whoever says that its worker is dead: an agent may be wrong or
//! lie, and then the job would run twice. Certainty only shortens the proof: one lock, seen twice.
//!
//! Pure. Times are spans since any one beginning, by a clock that never jumps.

use std::time::Duration;

/// A lock of less than 28 s, which is renewed each 14 s, is seen to have been renewed in so long.
pub const APART: Duration = Duration::from_secs(16);
/// A lock with more left is being renewed: BullMQ's of 30 s, renewed at half of it, has 15.9 to 30 s left (measured).
pub const RENEWED_ABOVE: Duration = Duration::from_secs(14);
/// Looks at one lock differ by this where nobody renewed it. A lock that is renewed moves by more in 16 s, and by at least
/// half of what was left of it before half of that is over.
pub const SAME_EXPIRY: Duration = Duration::from_secs(1);

/// What says that a job is an instance's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Its lock does: the token begins with the instance id, or the worker has reported it. Proof.
    Token,
    /// Only its `pb`, the name of the worker that took it. BullMQ never clears it, and a worker without a name leaves the
    /// last one's: after a retry the job may be somebody else's.
    Name,
}

/// A job in `active` that says it is an instance's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The job's id.
    pub id: String,
    /// The lock's value; None where the lock has expired, or was never set.
    pub token: Option<String>,
    /// Until the lock expires, when it was read; None where there is none, or where it is not known.
    pub lock_left: Option<Duration>,
    pub claim: Claim,
}

impl Held {
    /// A job that the worker itself has said it holds, with the token of its lock.
    pub fn reported(id: impl Into<String>, token: impl Into<String>) -> Self {
        Held { id: id.into(), token: Some(token.into()), lock_left: None, claim: Claim::Token }
    }
}

/// A job's lock as the looks so far saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    token: Option<String>,
    /// Since when every look saw this token, and one expiry: the first of these looks.
    since: Seen,
    last: Seen,
    /// The lock was renewed between looks.
    renewed: bool,
}

/// One look: when its question was sent and its answer came, and what was left of the lock in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    asked: Duration,
    answered: Duration,
    left: Option<Duration>,
}

/// What to do with a job that says it is the instance's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    HandBack,
    /// It may run, or it is too early to tell.
    Wait,
    /// Somebody else's by now.
    NotIts,
}

impl Look {
    pub fn new((asked, answered): (Duration, Duration), job: &Held, before: Option<&Look>) -> Self {
        let last = Seen { asked, answered, left: job.lock_left };
        let token = job.token.clone();
        match before {
            Some(before) if before.token == token && !last.expires_otherwise_than(before.since) => {
                Look { token, last, ..before.clone() }
            }
            Some(before) => {
                let renewed = before.token == token && token.is_some() && last.expires_later_for_sure(before.last);
                Look { renewed, token, since: last, last }
            }
            None => Look { token, since: last, last, renewed: false },
        }
    }

    /// In two looks nobody renewed the lock, although less than half is left of what the first one saw. A lock of which so
    /// much was left lasts at least that long, and its worker would have renewed it at half of that. Gone in two looks.
    fn is_overdue(&self) -> bool {
        match (&self.token, self.since.left, self.last.left) {
            (Some(_), Some(before), Some(left)) => left + SAME_EXPIRY < before / 2,
            (Some(_), ..) => false,
            (None, ..) => self.last != self.since,
        }
    }

    /// In looks far enough apart nobody renewed the lock, and a lock of whatever duration would have been.
    fn is_not_renewed(&self) -> bool {
        let apart = self.last.asked.saturating_sub(self.since.answered);
        match &self.token {
            Some(_) => apart >= APART && self.last.left.is_some_and(|left| left < RENEWED_ABOVE),
            // Gone in two looks.
            None => self.last != self.since,
        }
    }
}

impl Seen {
    /// The expiries may differ, by what the time between question and answer leaves open. An earlier one is another lock too:
    /// the job's own code shortened it, or Redis' clock was set forward.
    fn expires_otherwise_than(self, other: Seen) -> bool {
        match (self.left, other.left) {
            (Some(left), Some(before)) => {
                self.answered + left > other.asked + before + SAME_EXPIRY
                    || self.asked + left + SAME_EXPIRY < other.answered + before
            }
            (left, before) => left != before,
        }
    }

    /// At the earliest that its expiry can be, against the latest that the other's can.
    fn expires_later_for_sure(self, other: Seen) -> bool {
        match (self.left, other.left) {
            (Some(left), Some(before)) => self.asked + left > other.answered + before + SAME_EXPIRY,
            _ => false,
        }
    }
}

/// `certain`: the worker of the instance is said to be dead, by EC2 or by the agent.
pub fn verdict(look: &Look, job: &Held, certain: bool) -> Verdict {
    let its_own = job.claim == Claim::Token;
    if !its_own && job.token.as_deref().is_some_and(names_an_instance) {
        return Verdict::NotIts;
    }
    // Only `pb` says that it is the instance's, and a worker without a name leaves it as it is.
    if certain && !its_own && look.renewed {
        return Verdict::NotIts;
    }
    if look.is_not_renewed() || (certain && look.is_overdue()) { Verdict::HandBack } else { Verdict::Wait }
}

/// Whose the token is, as our shim writes it: here, another's.
fn names_an_instance(token: &str) -> bool {
    token.split_once(':').is_some_and(|(name, _)| name.starts_with("i-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job as one look finds it: seconds since the first look, the lock's token, seconds that are left of it.
    type Found<'a> = (u64, Option<&'a str>, f64);

    /// What is done at the last of these looks.
    fn check(certain: bool, claim: Claim, looks: &[Found<'_>]) -> Verdict {
        let start = Duration::from_secs(7);
        let mut before: Option<Look> = None;
        let mut verdict = Verdict::Wait;
        for (at, token, left) in looks {
            let at = start + Duration::from_secs(*at);
            let lock_left = token.map(|_| Duration::from_secs_f64(*left));
            let job = Held { id: "7".to_owned(), token: token.map(str::to_owned), lock_left, claim };
            let look = Look::new((at, at + Duration::from_millis(20)), &job, before.as_ref());
            verdict = super::verdict(&look, &job, certain);
            before = Some(look);
        }
        verdict
    }

    const MINE: Option<&str> = Some("i-1:5e0c:0");
    const UUID: Option<&str> = Some("5e0c:0");

    #[test]
    fn without_certainty_a_lock_must_be_seen_not_to_be_renewed() {
        use Verdict::{HandBack, Wait};
        let table: &[(&[Found<'_>], Verdict)] = &[
            (&[(0, MINE, 13.0)], Wait),
            // Both: looks at least 16 s apart, and less than 14 s left.
            (&[(0, MINE, 29.9), (16, MINE, 13.9)], Wait),
            (&[(0, MINE, 29.9), (17, MINE, 12.9)], HandBack),
            (&[(0, MINE, 31.0), (17, MINE, 14.0)], Wait),
            (&[(0, MINE, 31.0), (17, MINE, 14.0), (18, MINE, 13.0)], HandBack),
            (&[(0, MINE, 20.0), (5, MINE, 15.0), (10, MINE, 10.0), (15, MINE, 5.0)], Wait),
            (&[(0, MINE, 20.0), (5, MINE, 15.0), (10, MINE, 10.0), (17, MINE, 3.0)], HandBack),
            // A lock of 30 s that is renewed each 15 s.
            (&[(0, MINE, 16.0), (17, MINE, 29.0), (31, MINE, 15.5)], Wait),
            // One of 6 s that is renewed each 3 s: never above 14 s.
            (&[(0, MINE, 3.5), (17, MINE, 4.5), (34, MINE, 5.5)], Wait),
            // As it happens the same is left each time.
            (&[(0, MINE, 4.0), (18, MINE, 4.0), (36, MINE, 4.0)], Wait),
            // One of a minute that is renewed each 30 s, and one whose worker is dead.
            (&[(0, MINE, 50.0), (17, MINE, 33.0)], Wait),
            (&[(0, MINE, 50.0), (17, MINE, 33.0), (40, MINE, 10.0)], HandBack),
            // Another's run in between: looked at anew.
            (&[(0, Some("i-1:aa:0"), 20.0), (17, MINE, 3.0)], Wait),
            // Gone in two looks, and not in one.
            (&[(0, None, 0.0)], Wait),
            (&[(0, MINE, 4.0), (5, None, 0.0)], Wait),
            (&[(0, MINE, 4.0), (5, None, 0.0), (10, None, 0.0)], HandBack),
            (&[(0, None, 0.0), (5, MINE, 29.0), (10, None, 0.0)], Wait),
        ];
        for (looks, expected) in table {
            assert_eq!(check(false, Claim::Token, looks), *expected, "{looks:?}");
            if looks.iter().all(|(_, token, _)| token.is_none()) {
                assert_eq!(check(false, Claim::Name, looks), *expected, "{looks:?}");
            }
        }
    }

    #[test]
    fn a_lock_that_never_expires_is_nobodys_to_hand_back() {
        let start = Duration::from_secs(7);
        let job = Held { id: "7".to_owned(), token: MINE.map(str::to_owned), lock_left: None, claim: Claim::Token };
        let first = Look::new((start, start), &job, None);
        let later = start + Duration::from_secs(60);
        let second = Look::new((later, later), &job, Some(&first));
        assert_eq!(verdict(&second, &job, false), Verdict::Wait);
        assert_eq!(verdict(&second, &job, true), Verdict::Wait);
    }

    #[test]
    fn a_lock_that_is_renewed_is_never_handed_back_however_certain() {
        use Verdict::{HandBack, Wait};
        let table: &[(&[Found<'_>], Verdict)] = &[
            // One look proves nothing: the agent that calls its worker dead may be wrong.
            (&[(0, MINE, 29.0)], Wait),
            (&[(0, MINE, 0.1)], Wait),
            (&[(0, None, 0.0)], Wait),
            (&[(0, None, 0.0), (5, None, 0.0)], HandBack),
            // A lock of 30 s is renewed at 15 s: less than half of what was left is proof.
            (&[(0, MINE, 30.0), (15, MINE, 15.0)], Wait),
            (&[(0, MINE, 30.0), (17, MINE, 13.0)], HandBack),
            (&[(0, MINE, 16.0), (5, MINE, 11.0)], Wait),
            (&[(0, MINE, 16.0), (5, MINE, 11.0), (10, MINE, 6.0)], HandBack),
            (&[(0, MINE, 4.0), (5, None, 0.0)], Wait),
            (&[(0, MINE, 4.0), (5, None, 0.0), (10, None, 0.0)], HandBack),
            // Renewed in between: begun anew each time.
            (&[(0, MINE, 16.0), (5, MINE, 26.0), (10, MINE, 21.0), (15, MINE, 16.0), (20, MINE, 26.0)], Wait),
            // A lock of 6 s that is renewed each 3 s, and one whose worker is dead.
            (&[(0, MINE, 3.5), (5, MINE, 4.5), (10, MINE, 5.5), (15, MINE, 3.5)], Wait),
            (&[(0, MINE, 5.5), (5, MINE, 0.5)], HandBack),
            // Extended by the job's own code, then renewed by its worker: the expiry moved back, and somebody lives.
            (&[(0, MINE, 600.0), (5, MINE, 29.0)], Wait),
            (&[(0, MINE, 600.0), (5, MINE, 29.0), (10, MINE, 24.0)], Wait),
            // Redis' clock was set forward by 20 s.
            (&[(0, MINE, 28.0), (5, MINE, 3.0)], Wait),
            // One of ten minutes, renewed each five.
            (&[(0, MINE, 600.0), (290, MINE, 310.0)], Wait),
            (&[(0, MINE, 600.0), (310, MINE, 290.0)], HandBack),
        ];
        for (looks, expected) in table {
            assert_eq!(check(true, Claim::Token, looks), *expected, "{looks:?}");
        }
    }

    #[test]
    fn what_only_pb_names_is_told_apart() {
        use Verdict::{HandBack, NotIts, Wait};
        let table: &[(&[Found<'_>], Verdict)] = &[
            (&[(0, UUID, 29.0)], Wait),
            (&[(0, UUID, 5.0)], Wait),
            (&[(0, UUID, 29.0), (17, UUID, 12.0)], HandBack),
            // The primary works on it: not the dead instance's, and not waited for.
            (&[(0, UUID, 16.0), (5, UUID, 26.0)], NotIts),
            (&[(0, UUID, 3.0), (5, UUID, 4.5)], NotIts),
            (&[(0, Some("i-2:5e0c:0"), 29.0)], NotIts),
            // It took the job between two looks: told by the next.
            (&[(0, None, 0.0), (5, UUID, 29.0)], Wait),
            (&[(0, Some("9a9a:0"), 9.0), (5, UUID, 29.0)], Wait),
        ];
        for (looks, expected) in table {
            assert_eq!(check(true, Claim::Name, looks), *expected, "{looks:?}");
        }
    }
}
