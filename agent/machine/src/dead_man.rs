//! The dead-man's switch: an instance without coordinator and job, or older than `max_life`, ends itself; and one that
//! EC2 refuses to terminate, when it is told to. One that EC2 interrupts in its first hour is left to EC2 until then.
//! Owns when; what a power-off is, is the shell's. Instances are launched so that a power-off terminates them.

use core::time::Duration;

use crate::{Config, Timestamp};

/// Where it is unknown whether a job runs, this multiple of `orphan_after` must pass: by then every lock has expired.
const UNKNOWN_TIMES: u32 = 4;
/// Between two power-offs, where one has no effect.
const AGAIN: Duration = Duration::from_secs(60);
/// EC2 bills nothing for a spot instance that it interrupts within this time of its launch; one that ends itself is
/// billed.
const FREE_IF_INTERRUPTED: Duration = Duration::from_secs(3600);
/// EC2 may take so much longer than its notice says.
const BEYOND_NOTICE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct DeadMan {
    /// When the machine began to count, and how old the instance was then.
    began: Timestamp,
    age: Duration,
    /// Since when the coordinator is unreachable; `None` while connected.
    alone_since: Option<Timestamp>,
    /// Since when the coordinator is unreachable and the jobs are unknown; `None` once they are.
    blind_since: Option<Timestamp>,
    powered_off_at: Option<Timestamp>,
    /// EC2 is left to end it until then.
    left_to_ec2_until: Option<Timestamp>,
}

/// Why the instance ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LastReason {
    /// No coordinator for `orphan_after`, and no active job.
    Orphaned,
    /// It is older than `max_life`.
    TooOld,
    /// The coordinator asks for it, since EC2 refuses to terminate the instance.
    Told,
}

impl DeadMan {
    pub(crate) fn new() -> Self {
        let start = Timestamp(0);
        Self {
            began: start,
            age: Duration::ZERO,
            alone_since: None,
            blind_since: None,
            powered_off_at: None,
            left_to_ec2_until: None,
        }
    }

    /// The machine begins to count: the instance is that old already.
    pub(crate) fn begin(&mut self, now: Timestamp, age: Duration) {
        self.began = now;
        self.age = age;
        self.alone_since = Some(now);
        self.blind_since = Some(now);
    }

    pub(crate) fn connected(&mut self) {
        self.alone_since = None;
        self.blind_since = None;
    }

    pub(crate) fn disconnected(&mut self, now: Timestamp) {
        self.alone_since = self.alone_since.or(Some(now));
        self.blind_since = self.blind_since.or(Some(now));
    }

    /// What is known of its jobs: so many, or nothing.
    pub(crate) fn jobs(&mut self, now: Timestamp, jobs: Option<u32>) {
        self.blind_since = if jobs.is_some() { None } else { self.blind_since.or(self.alone_since.map(|_| now)) };
    }

    /// Whether it is time, given the jobs that are known to run.
    pub(crate) fn reason(&self, now: Timestamp, jobs: Option<u32>, config: &Config) -> Option<LastReason> {
        if config.max_life.is_some_and(|most| now.since(self.began).saturating_add(self.age) >= most) {
            return Some(LastReason::TooOld);
        }
        let over = match jobs {
            Some(0) => self.alone_since.is_some_and(|since| now.since(since) >= config.orphan_after),
            Some(_) => false,
            None => self.blind_since.is_some_and(|since| now.since(since) >= config.orphan_after * UNKNOWN_TIMES),
        };
        over.then_some(LastReason::Orphaned)
    }

    /// When `reason` may come to another answer by time alone.
    pub(crate) fn next(&self, now: Timestamp, jobs: Option<u32>, config: &Config) -> Option<Timestamp> {
        let alone = match jobs {
            Some(0) => self.alone_since.map(|since| since.plus(config.orphan_after)),
            Some(_) => None,
            None => self.blind_since.map(|since| since.plus(config.orphan_after * UNKNOWN_TIMES)),
        };
        let old = config.max_life.map(|most| self.began.plus(most.saturating_sub(self.age)));
        [alone, old].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// EC2 gave notice that it interrupts the instance at `at`.
    pub(crate) fn interrupted(&mut self, at: Timestamp) {
        if at.since(self.began).saturating_add(self.age) < FREE_IF_INTERRUPTED {
            self.left_to_ec2_until = Some(at.plus(BEYOND_NOTICE));
        }
    }

    /// The power is to go off now (again).
    pub(crate) fn power_off(&mut self, now: Timestamp) -> bool {
        let due = self.power_off_from().is_none_or(|at| now >= at);
        if due {
            self.powered_off_at = Some(now);
        }
        due
    }

    /// Before which the power does not go off (again).
    pub(crate) fn power_off_from(&self) -> Option<Timestamp> {
        self.powered_off_at.map(|at| at.plus(AGAIN)).max(self.left_to_ec2_until)
    }
}
