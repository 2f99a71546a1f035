//! What a brain was told, recorded for the invariant checks beside its state: saved, loaded and undone together with
//! it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use spillway_brain::{
    AgentPhase, Config, EARLY, Ec2State, LaunchAnswer, LaunchToken, Listed, QueueBacklog, RateLimit, RefusalClass,
    Schedule, Timestamp,
};
use spillway_pool::{FromAgent, Input, Wish};

use crate::agenda::N;
use crate::clock::{HOUR, MINUTE, SECOND, ms};
use crate::coordinator::number;
use crate::invariants::taken_back::Row;
use crate::invariants::takes_none;

/// Longer than any window of a policy (10 min), and the longest gap before its first observation (90 s).
const KEPT: u64 = 12 * MINUTE;

/// What an instance does in a longer silence nobody knows: a heartbeat's time-out.
const HEARD_WITHIN: u64 = 30 * SECOND;

/// One observation of the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    pub at: u64,
    pub demand: u64,
    /// Jobs run, and a rate limit lets no other start.
    pub is_paced: bool,
    /// The steps' numbers of jobs then.
    pub thresholds: Vec<u64>,
    /// No window goes on from the one before: too long a gap lies in between, or a clock that was set back.
    pub is_first: bool,
}

/// By the coordinators' clocks.
#[derive(Debug, Default)]
pub struct Shadow {
    pub observed: VecDeque<Observation>,
    pub observation_failed: bool,
    /// Since when every observation has shown jobs that a free worker takes, and when the last one came.
    pub waits: Option<(u64, u64)>,
    /// The queue was there in an observation.
    pub queue_seen: bool,
    /// Since when every heartbeat of an instance has said that it holds no job, and when the last one came.
    pub jobless: BTreeMap<N, (u64, u64)>,
    pub listed_at: Option<u64>,
    /// A list that was asked for earlier is not decided upon.
    pub listed_since: u64,
    /// Since when EC2's lists have come without a gap.
    pub seen_since: u64,
    pub listing_failed: bool,
    /// Instances whose last heartbeat said ready; instances with a notice.
    pub ready: BTreeSet<N>,
    pub noticed: BTreeSet<N>,
    /// When an event of theirs begins, by EC2's clock; and where an operator took a drain back.
    pub events: BTreeMap<N, u64>,
    pub waived: BTreeSet<N>,
    /// Whose drain an operator takes back, and no plan says so yet; whether its agent has said ready since.
    taken_back_by_operator: BTreeMap<N, bool>,
    /// When each class was last refused.
    pub refused: BTreeMap<RefusalClass, u64>,
    /// Launches that lists showed as taken back, and no plan has followed yet: by which class, and when.
    pub taken_back: Vec<(N, RefusalClass, u64)>,
    /// Those in a row.
    pub rows: BTreeMap<RefusalClass, Row>,
    /// What lists have shown to run, and to have ended or stopped.
    pub ran: BTreeSet<N>,
    pub ended: BTreeSet<N>,
    /// Tokens that EC2 said were used.
    pub used: BTreeSet<LaunchToken>,
    pub held: bool,
    pub boots_failed: u32,
    /// The images that these were of.
    failed_images: BTreeSet<usize>,
    /// When the breaker opened last, by the failures that were seen here.
    pub breaker_opened_at: Option<u64>,
    /// Launches decided while it was open.
    pub tries: u32,
    /// Boots launched before the last resume say nothing.
    pub resumed_at: u64,
    pub failed: BTreeSet<N>,
    pub desired: Option<u32>,
    /// Without what is scheduled; None where that hides it.
    pub by_policy: Option<u32>,
    /// The image that launches take, as told last, and those of which an instance was ready.
    pub launch_image: Option<usize>,
    pub ready_images: BTreeSet<usize>,
    pub terminated_at: BTreeMap<N, u64>,
    /// When they were first ready; which of them were told to drain, and which have ended or lasted.
    first_ready: BTreeMap<N, u64>,
    pub drained: BTreeSet<N>,
    judged: BTreeSet<N>,
    /// When instances ended without notice soon after they were first ready, in a row.
    pub early_ends: Vec<u64>,
}

impl Clone for Shadow {
    fn clone(&self) -> Shadow {
        let mut shadow = Shadow::default();
        shadow.clone_from(self);
        shadow
    }

    /// Copies only what differs: most of it is as it was the last time.
    fn clone_from(&mut self, other: &Shadow) {
        fn renew<T: Clone + PartialEq>(mine: &mut T, theirs: &T) {
            if mine != theirs {
                mine.clone_from(theirs);
            }
        }
        renew(&mut self.observed, &other.observed);
        renew(&mut self.ready, &other.ready);
        renew(&mut self.noticed, &other.noticed);
        renew(&mut self.events, &other.events);
        renew(&mut self.waived, &other.waived);
        renew(&mut self.taken_back_by_operator, &other.taken_back_by_operator);
        renew(&mut self.failed, &other.failed);
        renew(&mut self.terminated_at, &other.terminated_at);
        renew(&mut self.first_ready, &other.first_ready);
        renew(&mut self.drained, &other.drained);
        renew(&mut self.judged, &other.judged);
        renew(&mut self.early_ends, &other.early_ends);
        renew(&mut self.jobless, &other.jobless);
        self.observation_failed = other.observation_failed;
        self.waits = other.waits;
        self.queue_seen = other.queue_seen;
        self.listed_at = other.listed_at;
        self.listed_since = other.listed_since;
        self.seen_since = other.seen_since;
        self.listing_failed = other.listing_failed;
        renew(&mut self.refused, &other.refused);
        renew(&mut self.used, &other.used);
        renew(&mut self.taken_back, &other.taken_back);
        renew(&mut self.rows, &other.rows);
        renew(&mut self.ran, &other.ran);
        renew(&mut self.ended, &other.ended);
        self.held = other.held;
        self.boots_failed = other.boots_failed;
        renew(&mut self.failed_images, &other.failed_images);
        self.breaker_opened_at = other.breaker_opened_at;
        self.tries = other.tries;
        self.resumed_at = other.resumed_at;
        (self.desired, self.by_policy) = (other.desired, other.by_policy);
        self.launch_image = other.launch_image;
        renew(&mut self.ready_images, &other.ready_images);
    }
}

/// What the pause and the rate limit of a queue let start: the brain's demand, told a second time.
fn could_start(queue: &QueueBacklog) -> u64 {
    let waits = queue.waiting + queue.prioritized + queue.delayed_due;
    match (queue.paused, &queue.rate_limit) {
        (true, _) => 0,
        (false, Some(RateLimit { allows: Some(allows), .. })) => waits.min(*allows),
        (false, _) => waits,
    }
}

impl Shadow {
    pub fn feed(&mut self, now: Timestamp, skew: i64, input: &Input, config: &Config) {
        match input {
            Input::Observed(Ok(seen)) => {
                let is_missing = seen.backlog.queues.iter().any(|queue| queue.missing.is_some());
                self.queue_seen |= !is_missing;
                // It may be a misspelt name.
                self.observation_failed = !self.queue_seen;
                if self.observation_failed {
                    return;
                }
                self.waits = takes_none::waits(self.waits, now.0, &seen.backlog);
                let longest_gap = ms(config.longest_gap());
                let goes_on = |last: &Observation| last.at <= now.0 && now.0 - last.at <= longest_gap;
                self.observed.push_back(Observation {
                    at: now.0,
                    demand: seen.backlog.queues.iter().map(could_start).sum(),
                    is_paced: seen.backlog.queues.iter().any(|queue| {
                        let is_limited = queue.rate_limit.is_some() && !queue.paused && could_start(queue) == 0;
                        is_limited && queue.active > 0 && queue.waiting + queue.prioritized + queue.delayed_due > 0
                    }),
                    thresholds: config.policy.steps.iter().map(|step| step.jobs).collect(),
                    is_first: !self.observed.back().is_some_and(goes_on),
                });
                while self.observed.front().is_some_and(|first| first.at + KEPT < now.0) {
                    self.observed.pop_front();
                }
            }
            Input::Observed(Err(_)) => self.observation_failed = true,
            Input::Listed { asked_at, answer: Ok(listed) } => {
                self.judge(now, listed);
                self.lists_taken_back(now, listed);
                let asked_at = ms(*asked_at).saturating_add_signed(skew);
                if asked_at >= self.listed_since {
                    let longest = ms(config.longest_listing_age());
                    if self.listing_failed || self.listed_at.is_none_or(|last| asked_at > last + longest) {
                        self.seen_since = now.0;
                    }
                    self.listed_at = Some(asked_at);
                }
                self.listing_failed = false;
            }
            Input::Listed { answer: Err(_), .. } => self.listing_failed = true,
            Input::FromAgent(_, FromAgent::Reported(report)) => {
                let n = number(&report.id);
                self.jobless.retain(|it, (_, last)| *it != n || now.0.saturating_sub(*last) <= HEARD_WITHIN);
                match report.active_jobs {
                    Some(0) => self.jobless.entry(n).or_insert((now.0, now.0)).1 = now.0,
                    _ => drop(self.jobless.remove(&n)),
                }
                match &report.schedule {
                    Schedule::Unknown => {}
                    Schedule::Empty => drop(self.events.remove(&n)),
                    Schedule::Next { at, .. } => drop(self.events.insert(n, at.0)),
                }
                if let Some(says_ready) = self.taken_back_by_operator.get_mut(&n) {
                    *says_ready = report.phase == AgentPhase::Ready && report.proven;
                }
                if report.phase != AgentPhase::Ready {
                    self.ready.remove(&n);
                } else if report.proven && self.ready.insert(n) {
                    self.boots_failed = 0;
                    self.breaker_opened_at = None;
                    self.failed_images.clear();
                    self.first_ready.entry(n).or_insert(now.0);
                }
            }
            Input::FromAgent(id, FromAgent::Registered) => drop(self.jobless.remove(&number(id))),
            Input::FromAgent(id, FromAgent::Notice { .. }) => drop(self.noticed.insert(number(id))),
            Input::Interruptions(ids) => self.noticed.extend(ids.iter().map(number)),
            Input::LaunchAnswered { answer: LaunchAnswer::Accepted { .. }, .. } => self.refused.clear(),
            Input::LaunchAnswered { token, answer: LaunchAnswer::Refused { class, .. } } => {
                self.refused.insert(*class, now.0);
                if matches!(class, RefusalClass::TokenUsed | RefusalClass::TokenEnded) {
                    self.used.insert(token.clone());
                }
            }
            Input::Operator(_, Wish::CancelDrain { id, .. }) => {
                self.waived.insert(number(id));
                self.taken_back_by_operator.insert(number(id), false);
            }
            Input::Operator(_, Wish::Hold { .. }) => self.held = true,
            Input::Operator(_, Wish::Resume { .. }) => {
                self.held = false;
                self.no_boot_has_failed(now);
                self.forget_refusals();
                // Terminations that were refused are retried at once.
                self.terminated_at.values_mut().for_each(|at| *at = 0);
                self.early_ends.clear();
            }
            _ => {}
        }
    }

    fn no_boot_has_failed(&mut self, now: Timestamp) {
        (self.boots_failed, self.breaker_opened_at, self.resumed_at) = (0, None, now.0);
        self.failed_images.clear();
    }

    /// Launches take this image. Boots that failed on one other say nothing about one that has run. Weaker: not told
    /// apart is whether that other one has.
    pub fn takes_image(&mut self, now: Timestamp, image: usize) {
        let is_other = self.failed_images.len() == 1 && !self.failed_images.contains(&image);
        if self.launch_image.replace(image) != Some(image) && is_other && self.ready_images.contains(&image) {
            self.no_boot_has_failed(now);
        }
    }

    /// The plan has its drain taken back: it needs a new worker proof, which may have come before the plan.
    pub fn drain_is_cancelled(&mut self, n: N) {
        if self.taken_back_by_operator.remove(&n) != Some(true) {
            self.ready.remove(&n);
        }
    }

    /// What was said of them.
    pub fn forgets_instances(&mut self) {
        self.ready.clear();
        self.noticed.clear();
        self.first_ready.clear();
    }

    /// Those that have been ready for long end the row, and so does an hour without an early end.
    pub fn lasts(&mut self, now: Timestamp) {
        let early = ms(EARLY);
        let aged = |at: u64| now.0.saturating_sub(at) >= early;
        let lasted: Vec<N> = self.first_ready.iter().filter(|(_, at)| aged(**at)).map(|(n, _)| *n).collect();
        let has_lasted = lasted.into_iter().filter(|n| self.judged.insert(*n)).count() > 0;
        if has_lasted || self.early_ends.last().is_some_and(|last| now.0.saturating_sub(*last) > HOUR) {
            self.early_ends.clear();
        }
    }

    /// Which of those that were ready have ended early.
    fn judge(&mut self, now: Timestamp, listed: &[Listed]) {
        self.lasts(now);
        for entry in listed {
            let n = number(&entry.id);
            let has_ended = matches!(entry.state, Ec2State::ShuttingDown | Ec2State::Terminated);
            let is_sudden = !self.noticed.contains(&n) && !self.drained.contains(&n);
            // That it was ready may be heard after its end was seen: then its boot has failed.
            if has_ended && self.judged.insert(n) && self.first_ready.contains_key(&n) && is_sudden {
                self.early_ends.push(now.0);
            }
        }
    }

    /// It was saved by another coordinator, whose clock is that far behind.
    pub fn step(&mut self, by: i64) {
        let Shadow {
            observed,
            waits,
            jobless,
            listed_at,
            refused,
            breaker_opened_at,
            resumed_at,
            terminated_at,
            listed_since,
            seen_since,
            first_ready,
            early_ends,
            rows,
            taken_back,
            ..
        } = self;
        let times = observed.iter_mut().map(|seen| &mut seen.at).chain(listed_at.as_mut());
        let times = times.chain(refused.values_mut()).chain(breaker_opened_at.as_mut());
        let times = times.chain([resumed_at, listed_since, seen_since]);
        let times = times.chain(rows.values_mut().map(|row| &mut row.at));
        let times = times.chain(taken_back.iter_mut().map(|(.., at)| at));
        let times = times.chain(first_ready.values_mut()).chain(early_ends.iter_mut());
        let times = times.chain(waits.iter_mut().flat_map(|(since, last)| [since, last]));
        let times = times.chain(jobless.values_mut().flat_map(|(since, last)| [since, last]));
        times.chain(terminated_at.values_mut()).for_each(|at| *at = at.saturating_add_signed(by));
    }

    /// It leads from now on: nothing is decided before EC2 is listed anew.
    pub fn leads(&mut self, now: Timestamp) {
        (self.listed_at, self.listed_since) = (None, now.0);
    }

    /// The brain continues from the saved state.
    pub fn started(&mut self) {
        self.forget_refusals();
    }

    fn forget_refusals(&mut self) {
        self.refused.clear();
        self.rows.clear();
        self.taken_back.clear();
    }

    /// The boot of an instance that was planned at `planned_at` failed; each instance counts once. From `allowed`
    /// failures on the breaker opens for `backoff` or longer, and again only by a failed try. The brain knows of
    /// further failures (instances that EC2 ended while they booted): where it opened earlier, `until` says so.
    pub fn boot_failed(
        &mut self,
        n: N,
        now: Timestamp,
        (planned_at, image): (Timestamp, usize),
        (allowed, backoff): (u32, u64),
        until: Option<u64>,
    ) {
        if !self.failed.insert(n) || planned_at.0 < self.resumed_at {
            return;
        }
        self.boots_failed += 1;
        self.failed_images.insert(image);
        let is_try = self.breaker_opened_at.is_none_or(|at| planned_at.0 >= at + backoff);
        if self.boots_failed >= allowed && is_try {
            self.breaker_opened_at = Some(until.map_or(now.0, |until| now.0.min(until.saturating_sub(backoff))));
        }
    }

    /// Drops instances that have been gone for long.
    pub fn forget(&mut self, is_over: impl Fn(N) -> bool) {
        self.ready.retain(|n| !is_over(*n));
        self.noticed.retain(|n| !is_over(*n));
        self.jobless.retain(|n, _| !is_over(*n));
        self.events.retain(|n, _| !is_over(*n));
        self.waived.retain(|n| !is_over(*n));
        self.failed.retain(|n| !is_over(*n));
        self.terminated_at.retain(|n, _| !is_over(*n));
        self.first_ready.retain(|n, _| !is_over(*n));
        self.drained.retain(|n| !is_over(*n));
        self.judged.retain(|n| !is_over(*n));
        self.ran.retain(|n| !is_over(*n));
        self.ended.retain(|n| !is_over(*n));
    }
}
