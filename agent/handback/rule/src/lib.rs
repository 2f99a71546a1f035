//! Which of an instance's jobs may be handed back: those whose worker is dead. A worker renews its job's lock at
//! half of the lock's duration (30 s by default, so each 15 s), and a lock that is not renewed shows that it is dead.
//!
//! A job whose lock is being renewed is never handed back, whoever reports its worker dead: an agent may be wrong or
//! lie, and then the job would run twice. Certainty only shortens the proof: one lock, read twice.
//!
//! Pure. Times are durations since an arbitrary start, by a monotonic clock.

use std::time::Duration;

/// Within this time a lock of less than 28 s, which is renewed each 14 s, has been renewed.
pub const APART: Duration = Duration::from_secs(16);
/// A lock with more left is being renewed: BullMQ's of 30 s, renewed at half of it, has 15.9 to 30 s left (measured).
pub const RENEWED_ABOVE: Duration = Duration::from_secs(14);
/// The expiry computed from two readings of one lock may differ by this where it was not renewed. A lock that is
/// renewed moves by more in 16 s, and by at least half of what was left of it before half of that is over.
pub const SAME_EXPIRY: Duration = Duration::from_secs(1);

/// What shows that a job is an instance's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Its lock: the token begins with the instance id, or the worker has reported it. Proof.
    Token,
    /// Only its `pb`, the name of the worker that took it. BullMQ never clears it, and a worker without a name leaves
    /// the last one's: after a retry the job may be another worker's.
    Name,
}

/// A job in `active` that names an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The job's id.
    pub id: String,
    /// The lock's value; None where the lock has expired, or was never set.
    pub token: Option<String>,
    /// Until the lock expires, when it was read; None where there is none, or where it is unknown.
    pub lock_left: Option<Duration>,
    pub claim: Claim,
    /// Instances that ended without notice while they ran it, as its hand-backs have counted them.
    pub sudden_ends: u32,
    /// As BullMQ's stall check has counted them.
    pub stalls: u32,
}

impl Held {
    /// A job that the worker itself has reported to hold, with the token of its lock.
    pub fn reported(id: impl Into<String>, token: impl Into<String>) -> Self {
        let token = Some(token.into());
        Held { id: id.into(), token, lock_left: None, claim: Claim::Token, sudden_ends: 0, stalls: 0 }
    }
}

/// How a job goes back whose worker is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the front, as if it had never been taken: its instance was to end.
    Front,
    /// To the front, and that its instance ended without notice is counted.
    FrontCounted,
    /// Behind the others, and as a stall: an earlier instance ended without notice too while it ran this job, which may
    /// be what ends them. Counted as well.
    Behind,
    /// Not at all: BullMQ's own stall check decides, which fails a job that stalls too often.
    LeftToStallCheck,
}

impl Way {
    /// `sudden`: the instance ended without notice, and nobody here had decided that.
    ///
    /// The first such end costs a job nothing: any instance may fail. From the second on each one spends a stall, so
    /// that BullMQ's `maxStalledCount` bounds how many instances one job can end.
    pub fn of(job: &Held, sudden: bool) -> Self {
        match (sudden, job.sudden_ends, job.stalls) {
            (false, ..) => Way::Front,
            (true, 0, _) => Way::FrontCounted,
            (true, _, 0) => Way::Behind,
            (true, ..) => Way::LeftToStallCheck,
        }
    }

    /// The job is suspected to end its instances.
    pub fn is_of_a_suspect(self) -> bool {
        matches!(self, Way::Behind | Way::LeftToStallCheck)
    }
}

/// A job's lock, as the readings so far show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    token: Option<String>,
    /// The first of the readings with this token and this expiry.
    since: Reading,
    last: Reading,
    /// The lock was renewed between two readings.
    renewed: bool,
}

/// One reading: when the request was sent and answered, and what was left of the lock in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    sent: Duration,
    answered: Duration,
    left: Option<Duration>,
}

/// What to do with a job that names the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    HandBack,
    /// It may run, or it is too early to decide.
    Wait,
    /// Another worker's by now.
    NotIts,
}

impl Look {
    pub fn new((sent, answered): (Duration, Duration), job: &Held, before: Option<&Look>) -> Self {
        let last = Reading { sent, answered, left: job.lock_left };
        let token = job.token.clone();
        match before {
            Some(before) if before.token == token && !last.has_other_expiry_than(before.since) => {
                Look { token, last, ..before.clone() }
            }
            Some(before) => {
                let renewed =
                    before.token == token && token.is_some() && last.certainly_expires_later_than(before.last);
                Look { renewed, token, since: last, last }
            }
            None => Look { token, since: last, last, renewed: false },
        }
    }

    /// The lock was not renewed between two readings, although less than half is left of what the first one read: its
    /// worker would have renewed it at half of its duration, which is at least that long. Or there is no lock: BullMQ
    /// sets it as the job enters `active`, and never renews one that is gone.
    fn is_overdue(&self) -> bool {
        match (&self.token, self.since.left, self.last.left) {
            (Some(_), Some(before), Some(left)) => left + SAME_EXPIRY < before / 2,
            (Some(_), ..) => false,
            (None, ..) => true,
        }
    }

    /// The lock was not renewed between readings far enough apart for a lock of any duration.
    fn is_not_renewed(&self) -> bool {
        let apart = self.last.sent.saturating_sub(self.since.answered);
        match &self.token {
            Some(_) => apart >= APART && self.last.left.is_some_and(|left| left < RENEWED_ABOVE),
            // No lock in two readings.
            None => self.last != self.since,
        }
    }
}

impl Reading {
    /// The expiries differ by more than the time between request and answer explains. An earlier one is another lock
    /// too: the job's own code shortened it, or Redis' clock was set forward.
    fn has_other_expiry_than(self, other: Reading) -> bool {
        match (self.left, other.left) {
            (Some(left), Some(before)) => {
                self.answered + left > other.sent + before + SAME_EXPIRY
                    || self.sent + left + SAME_EXPIRY < other.answered + before
            }
            (left, before) => left != before,
        }
    }

    /// At the earliest that its expiry can be, against the latest that the other's can.
    fn certainly_expires_later_than(self, other: Reading) -> bool {
        match (self.left, other.left) {
            (Some(left), Some(before)) => self.sent + left > other.answered + before + SAME_EXPIRY,
            _ => false,
        }
    }
}

/// `certain`: EC2 or the agent reports the worker of the instance dead.
pub fn verdict(look: &Look, job: &Held, certain: bool) -> Verdict {
    let has_token_claim = job.claim == Claim::Token;
    if !has_token_claim && job.token.as_deref().is_some_and(names_an_instance) {
        return Verdict::NotIts;
    }
    // Only `pb` names the instance, and a worker without a name leaves `pb` as it is.
    if certain && !has_token_claim && look.renewed {
        return Verdict::NotIts;
    }
    if look.is_not_renewed() || (certain && look.is_overdue()) { Verdict::HandBack } else { Verdict::Wait }
}

/// Whether the token has the form that our shim writes: here, another instance's.
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
            let job = Held { lock_left, claim, ..Held::reported("7", "") };
            let job = Held { token: token.map(str::to_owned), ..job };
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
        let job = Held::reported("7", "i-1:5e0c:0");
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
            // Nobody can renew a lock that has expired.
            (&[(0, None, 0.0)], HandBack),
            // A lock of 30 s is renewed at 15 s: less than half of what was left is proof.
            (&[(0, MINE, 30.0), (15, MINE, 15.0)], Wait),
            (&[(0, MINE, 30.0), (17, MINE, 13.0)], HandBack),
            (&[(0, MINE, 16.0), (5, MINE, 11.0)], Wait),
            (&[(0, MINE, 16.0), (5, MINE, 11.0), (10, MINE, 6.0)], HandBack),
            (&[(0, MINE, 4.0), (5, None, 0.0)], HandBack),
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

    #[test]
    fn a_job_whose_instances_end_without_notice_is_bounded_by_its_stalls() {
        use Way::{Behind, Front, FrontCounted, LeftToStallCheck};
        let way = |sudden_ends, stalls, sudden| {
            Way::of(&Held { sudden_ends, stalls, ..Held::reported("7", "i-1:5e0c:0") }, sudden)
        };
        let table = [
            // An end that was announced, or decided: nobody's fault, however often.
            (9, 9, false, Front),
            // The first without notice is the instance's, also of a job that has stalled elsewhere.
            (0, 0, true, FrontCounted),
            (0, 1, true, FrontCounted),
            (1, 0, true, Behind),
            (1, 1, true, LeftToStallCheck),
            (2, 1, true, LeftToStallCheck),
        ];
        for (sudden_ends, stalls, sudden, expected) in table {
            assert_eq!(way(sudden_ends, stalls, sudden), expected, "{sudden_ends} {stalls} {sudden}");
        }
    }
}
