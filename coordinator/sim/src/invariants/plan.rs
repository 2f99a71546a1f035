//! Checks each plan before it is saved, against what the brain was told and against the true state of the world.

use std::time::Duration;

use spillway_brain::{Decision, EARLY, Note, PhaseKind, Plan, Planned, Reason, RefusalClass, Timestamp};

use super::{Invariant, policy};
use crate::agenda::{C, N};
use crate::bull::Exec;
use crate::clock::{HOUR, MINUTE, SECOND, ms};
use crate::cloud::Stranger;
use crate::coordinator::effects::TOLERATED;
use crate::coordinator::number;
use crate::faults::Fault;
use crate::setup::Naming;
use crate::skip::AHEAD;
use crate::world::World;

/// What two coordinators' clocks may differ by.
const SKEW: u64 = 4 * SECOND;
/// What a drain may need beyond its deadline before an event begins, and how much an event may be told otherwise than
/// before.
const EVENT_MARGIN: u64 = 2 * MINUTE;
const EVENT_MOVED: u64 = 70 * SECOND;
/// Hand-backs in one tick.
const HAND_BACKS: usize = 10;
/// By how much later than it is due the drain of one without a job may come while the queues are unknown.
const BOUND_LATE: u64 = 2 * MINUTE;
/// How long an agent may not be heard after that.
const CORRECTED_WITHIN: u64 = 5 * MINUTE;
/// Every listing that is recent enough to act on shows an unmanaged instance of this age.
const SETTLED: u64 = 5 * MINUTE;

impl World {
    pub fn check_plan(&mut self, c: C, plan: &Plan) {
        let now = self.local(c);
        self.check_desired(c, plan, now);
        self.check_events(c, now);
        self.check_blind(c, plan, now);
        self.check_bound(c, now);
        self.check_drill(c, &plan.decisions);
        let launches = plan.decisions.iter().filter(|planned| self.is_new_launch(planned)).count();
        self.check_breaker(c, launches, now);
        self.check_taken_back(c);
        if launches > 0 {
            self.check_launches(c, launches, now);
            self.check_new_image(c, launches);
        }
        let hand_backs = plan.decisions.iter().filter(|it| matches!(it.decision, Decision::HandBack { .. })).count();
        if hand_backs > HAND_BACKS {
            self.violate(Invariant::Bounded, format!("{hand_backs} hand-backs in one tick"));
        }
        for planned in &plan.decisions {
            self.check_decision(c, planned, now);
        }
    }

    fn is_new_launch(&self, planned: &Planned) -> bool {
        let is_again = matches!(planned.reason, Reason::LaunchUnanswered { .. });
        matches!(&planned.decision, Decision::Launch { token } if !is_again && !self.issued.contains(token))
    }

    /// What has been ready, and waits for jobs, is no failed boot: not by a rate limit, nor by what another leader
    /// heard. Not where its worker has just started, or a fault has hit it. One that is busy may be so with a job that
    /// stalled, which proves nothing.
    fn check_failed_boot(&mut self, n: N, reason: &Reason) {
        let host = &self.hosts[n];
        let is_failed = matches!(reason, Reason::BootFailed { .. } | Reason::BootDeadline { .. });
        let is_free = host.was_ready && host.has_agent() && host.free_processes(self.setup.slots).next().is_some();
        let is_heard = host.heard_at + 30 * SECOND > self.now;
        let is_undisturbed = host.disturbed_at + 10 * MINUTE < self.now && !self.net.redis_down.is_down(self.now);
        // A worker without shim and name cannot give the worker proof while all its slots are busy.
        let is_undisturbed = is_undisturbed && is_heard && self.setup.naming != Naming::None;
        if is_failed && is_free && is_undisturbed {
            let why = if self.is_held_back() { "only a rate limit keeps it from jobs" } else { "it has been ready" };
            let text = format!("i-{n} is a failed boot ({reason}), and {why}");
            self.violate(Invariant::FailedByItself, text);
        }
    }

    fn check_decision(&mut self, c: C, planned: &Planned, now: Timestamp) {
        let Planned { decision, reason } = planned;
        let of_event = match (decision, reason) {
            (_, Reason::ReplacesScheduled { id, .. }) => Some(number(id)),
            (Decision::Drain { id, .. }, Reason::EventScheduled { .. } | Reason::ReplacedScheduled { .. }) => {
                Some(number(id))
            }
            _ => None,
        };
        if let Some(n) = of_event.filter(|n| !self.coordinators[c].shadow.events.contains_key(n)) {
            let text = format!("{} for an event of i-{n} that is over or was cancelled", decision.kind());
            self.violate(Invariant::EventAnswered, text);
        }
        let id = match decision {
            Decision::Launch { .. } | Decision::Alert { .. } => return self.check_asks(c, decision),
            Decision::Drain { id, .. }
            | Decision::CancelDrain { id }
            | Decision::Terminate { id }
            | Decision::PowerOff { id }
            | Decision::HandBack { id, .. } => id,
        };
        let n = number(id);
        if self.cloud.machines.get(n).is_none_or(|machine| machine.token.is_none()) {
            return self.violate(Invariant::OnlyOurs, format!("{} of {id}, which is unmanaged", decision.kind()));
        }
        match decision {
            Decision::Drain { deadline, .. } => {
                let deadline = now.stepped(deadline.offset_from(self.pool_time(c)));
                self.hosts[n].told_to_drain(self.now, deadline.0);
                self.coordinators[c].shadow.drained.insert(n);
                if matches!(reason, Reason::TakesNoJob { .. }) {
                    self.check_took_none(n);
                }
                self.check_failed_boot(n, reason);
                if matches!(reason, Reason::BootFailed { .. } | Reason::BootDeadline { .. }) {
                    let config = &self.setup.config;
                    let opens = (config.boot_failures, ms(config.breaker_backoff));
                    let state = self.coordinators[c].state();
                    let planned_at = state.instance(id).map_or(now, |it| self.told_as_local(c, it.planned_at));
                    let until = state.breaker().open_until.map(|until| self.told_as_local(c, until).0);
                    let image = self.cloud.machines[n].image;
                    self.coordinators[c].shadow.boot_failed(n, now, (planned_at, image), opens, until);
                }
            }
            Decision::CancelDrain { .. } => self.coordinators[c].shadow.drain_is_cancelled(n),
            Decision::Terminate { .. } => {
                self.coordinators[c].shadow.drained.insert(n);
                self.check_terminate(c, n, now, matches!(reason, Reason::StoppedUnseen { .. }));
            }
            Decision::HandBack { certain: true, .. } => {
                // Of an agent's lie the look at the locks keeps a job that runs: that it runs once is checked where it
                // would run twice.
                let works = self.works(n) && !self.hosts[n].has_lied;
                if works && !self.hosts[n].is_hung_or_off() {
                    let text = format!("a certain hand-back of the jobs of i-{n} while its worker runs them");
                    self.violate(Invariant::RunsOnce, text);
                }
            }
            _ => {}
        }
    }

    /// One of its processes is running a job.
    pub fn works(&self, n: N) -> bool {
        let runs = self.hosts[n].procs.iter().flat_map(|process| process.runs.iter());
        runs.into_iter().any(|run| self.bull.runs[*run].exec == Exec::Running)
    }

    /// EC2 will reclaim it within its first hour, and has not yet. A minute of that hour is left out: whoever adopts an
    /// instance has its launch time by a clock that is off.
    pub fn should_be_left_to_ec2(&self, n: N) -> bool {
        let machine = &self.cloud.machines[n];
        machine.reclaims_at.is_some_and(|at| self.now < at && at + MINUTE < machine.launched_at + HOUR)
    }

    /// The coordinator was told of EC2's notice, and of a time that has not come yet. Not where a clock was off since
    /// the launch: EC2 tells the launch time of what is adopted, and the ledger hands it on.
    fn knows_notice(&self, c: C, n: N) -> bool {
        let instance = self.coordinators[c].state().instance(&self.cloud.machines[n].id);
        let at = instance.filter(|it| !it.ec2.is_rehearsed).and_then(|it| it.ec2.interrupted_at);
        let launched_at = self.cloud.machines[n].launched_at;
        let is_right = |c: C| self.stepped[c] == 0 && self.clock_right_at[c] < launched_at;
        (0..self.coordinators.len()).all(is_right) && at.is_some_and(|at| self.pool_time(c) < at)
    }

    /// Invariant 4, against the true state of the world.
    fn check_terminate(&mut self, c: C, n: N, now: Timestamp, is_unseen: bool) {
        let config = &self.setup.config;
        let last = self.coordinators[c].shadow.terminated_at.insert(n, now.0);
        if last.is_some_and(|last| now.0.saturating_sub(last) < 2 * SECOND) && self.coordinators.len() == 1 {
            let text = format!("the termination of i-{n} is retried within 2 s");
            return self.violate(Invariant::Bounded, text);
        }
        let machine = &self.cloud.machines[n];
        // Weaker: a termination decided by two sources is retried whatever an agent that restarted meanwhile does.
        if !machine.is_running() || last.is_some() {
            return;
        }
        if self.should_be_left_to_ec2(n) && self.knows_notice(c, n) {
            let text = format!("i-{n} is terminated before EC2 reclaims it in its first hour");
            return self.violate(Invariant::LeftToEc2, text);
        }
        let (machine, host) = (&self.cloud.machines[n], &self.hosts[n]);
        let Some(told_at) = host.told_at else {
            // Weaker: an agent that is not connected cannot be told, and a drain that the previous leader decided has a
            // deadline.
            if host.heard_at + 120 * SECOND <= self.now + SKEW {
                return;
            }
            let text = format!("i-{n} is terminated without having been drained");
            return self.violate(Invariant::FencedAndEmpty, text);
        };
        if now.0 + SKEW > host.told_deadline + 120 * SECOND {
            return;
        }
        let redis_agrees = host.zero_seen_at + SKEW >= told_at || host.emptied_at >= told_at;
        let silent = match host.heard_at {
            0 => machine.launched_at + ms(config.boot_timeout) <= self.now + SKEW,
            heard_at => heard_at + ms(config.lost_after()) <= self.now + SKEW,
        };
        // Weaker: an agent that lies about its worker is believed where Redis shows no job, or cannot be asked for
        // long; and nobody knows yet that it has started anew.
        let is_believed = host.has_lied || host.was_drained_before_restart();
        let is_stopped = !host.has_worker() || is_believed || !self.works(n) && host.is_hung_or_off();
        if is_unseen {
            if !is_stopped {
                let text = format!("i-{n} is terminated by its agent's word while its worker runs");
                self.violate(Invariant::FencedAndEmpty, text);
            }
        } else if !redis_agrees {
            let text = format!("i-{n} is terminated, but Redis has not shown it without jobs since its fence");
            self.violate(Invariant::FencedAndEmpty, text);
        } else if !is_stopped && !silent {
            let text = format!("i-{n} is terminated while its worker runs and its agent is connected");
            self.violate(Invariant::FencedAndEmpty, text);
        }
    }

    /// Invariant 3: unknown is not zero.
    fn check_blind(&mut self, c: C, plan: &Plan, now: Timestamp) {
        if plan.decisions.is_empty() {
            return;
        }
        let (config, shadow) = (&self.setup.config, &self.coordinators[c].shadow);
        let is_old = |at: Option<u64>, most: u64| at.is_none_or(|at| now.0.saturating_sub(at) > most);
        let observed_at = shadow.observed.back().map(|seen| seen.at);
        let queue = shadow.observation_failed || is_old(observed_at, ms(config.longest_gap()));
        let ec2 = shadow.listing_failed || is_old(shadow.listed_at, ms(config.longest_listing_age()));
        let may_hand_back = !shadow.observation_failed;
        let bound = ms(config.unknown_bound()) * 2;
        let is_beyond = is_old(observed_at, bound.saturating_sub(SKEW)) && !ec2;
        let is_jobless = |n: N| {
            let most = now.0.saturating_sub(ms(config.policy.idle).saturating_sub(SKEW));
            shadow.jobless.get(&n).is_some_and(|(since, _)| *since <= most)
        };
        for Planned { decision, reason } in &plan.decisions {
            let is_allowed = match decision {
                Decision::Alert { .. } => true,
                Decision::HandBack { .. } => may_hand_back,
                Decision::Drain { id, .. } if matches!(reason, Reason::NoJobByItsAgent { .. }) => {
                    is_beyond && !shadow.held && is_jobless(number(id))
                }
                Decision::Terminate { .. } if matches!(reason, Reason::StoppedUnseen { .. }) => is_beyond,
                // It was decided while all was known.
                _ if matches!(reason, Reason::TerminateAgain { .. } | Reason::NotTerminated { .. }) => !ec2,
                _ => matches!(reason, Reason::OperatorAsked { .. }) || !(queue || ec2),
            };
            if !is_allowed {
                let what = if queue { "the queue" } else { "EC2" };
                let text = format!("{} {} while {what} cannot be read", decision.kind(), decision.subject());
                return self.violate(Invariant::UnknownIsNotZero, text);
            }
        }
    }

    /// Invariant 3: unknown is bounded. Weaker: only where this leader has seen EC2 for two minutes without a gap, and
    /// hears the agent.
    fn check_bound(&mut self, c: C, now: Timestamp) {
        let (config, shadow) = (&self.setup.config, &self.coordinators[c].shadow);
        let is_old = |at: u64, most: u64| now.0.saturating_sub(at) > most + BOUND_LATE;
        let observed_at = shadow.observed.back().map_or(0, |seen| seen.at).max(shadow.listed_since);
        let is_beyond = shadow.observation_failed && is_old(observed_at, ms(config.unknown_bound()) * 2);
        let longest = ms(config.longest_listing_age());
        let is_listed = shadow.listed_at.is_some_and(|at| now.0 <= at + longest) && !shadow.listing_failed;
        if !is_beyond || !is_listed || shadow.held || self.coordinators.len() > 1 || !is_old(shadow.seen_since, 0) {
            return;
        }
        let is_due = |(_, (since, last)): &(&N, &(u64, u64))| {
            is_old(*since, ms(config.policy.idle)) && now.0.saturating_sub(*last) < 10 * SECOND
        };
        let state = self.coordinators[c].state();
        let works = |n: &N| {
            let phase = state.instance(&self.cloud.machines[*n].id).map(|instance| instance.phase_kind());
            matches!(phase, Some(PhaseKind::Booting | PhaseKind::Ready))
        };
        let left = shadow.jobless.iter().filter(is_due).map(|(n, _)| *n).find(works);
        if let Some(n) = left {
            let text = format!("i-{n} has no job by its agent, and the queues have been unknown for too long");
            self.violate(Invariant::UnknownIsNotZero, text);
        }
    }

    pub(super) fn is_blind(&self, c: C, now: Timestamp) -> bool {
        let (config, shadow) = (&self.setup.config, &self.coordinators[c].shadow);
        let is_old = |at: Option<u64>, most: u64| at.is_none_or(|at| now.0.saturating_sub(at) > most);
        let observed_at = shadow.observed.back().map(|seen| seen.at);
        shadow.observation_failed
            || shadow.listing_failed
            || is_old(observed_at, ms(config.longest_gap()))
            || is_old(shadow.listed_at, ms(config.longest_listing_age()))
    }

    /// What works although an event of EC2's leaves its jobs no more time than they may need was not drained. Not where
    /// both clocks that could tell are slow.
    fn check_events(&mut self, c: C, now: Timestamp) {
        let shadow = &self.coordinators[c].shadow;
        // What a ledger that was put back knows, or a clock that was wrong made of EC2's time, is learnt anew with the
        // next heartbeats.
        let is_lately = |at: u64| at > 0 && self.now < at + CORRECTED_WITHIN;
        let is_new = is_lately(self.ledger_deleted_at) || is_lately(self.clock_right_at[c]);
        if shadow.events.is_empty() || is_new || self.is_blind(c, now) {
            return;
        }
        let needed = ms(self.setup.config.drain_timeout) + EVENT_MARGIN;
        let state = self.coordinators[c].state();
        let is_late = |n: &N, at: u64| {
            let is_slow = self.hosts[*n].skew < -(SKEW as i64) || is_lately(self.hosts[*n].clock_right_at);
            let are_slow = self.stepped[c] < 0 && is_slow;
            let instance = state.instance(&self.cloud.machines[*n].id).filter(|it| it.phase_kind().can_be_drained());
            // Of what was found again its agent alone tells.
            let works = instance.is_some_and(|it| it.ec2.scheduled.is_some() || self.hosts[*n].has_agent());
            works && !are_slow && !shadow.waived.contains(n) && self.now + needed >= at + EVENT_MOVED
        };
        if let Some((n, at)) = shadow.events.iter().find(|(n, at)| is_late(n, **at)) {
            let left = at.saturating_sub(self.now) / SECOND;
            let known = state.instance(&self.cloud.machines[*n].id).and_then(|it| it.ec2.scheduled.clone());
            let now = self.pool_time(c).0;
            let text = format!("i-{n} works on, and its event begins in {left} s; at {now} the brain knows {known:?}");
            self.violate(Invariant::EventAnswered, text);
        }
    }

    fn check_desired(&mut self, c: C, plan: &Plan, now: Timestamp) {
        let blind = self.is_blind(c, now);
        if !blind && self.setup.config.wait.is_some() && !plan.notes.contains(&Note::NothingMeasured) {
            return self.check_forecast(c, plan);
        }
        let floors = self.floors(c);
        let (config, shadow) = (&self.setup.config, &self.coordinators[c].shadow);
        let (by_policy, expected) = match (shadow.desired, shadow.by_policy) {
            (before, by_policy) if blind => (by_policy, before),
            // A leader without a saved value adopts what it finds; what a schedule asks for hides it.
            (_, None) => (plan.desired.filter(|_| floors == [0]), plan.desired),
            (_, Some(before)) => {
                // Weaker: another coordinator's clock that is off by no more than is tolerated moves the windows by
                // that.
                let off = if self.coordinators.len() == 1 { 0 } else { TOLERATED };
                let by_policy = [0, -off, off].map(|by| policy::desired(config, shadow, before, by));
                let may_be = |by_policy: &u32| floors.iter().any(|floor| plan.desired == Some(*floor.max(by_policy)));
                let by_policy = by_policy.into_iter().find(may_be).ok_or(by_policy[0].max(floors[0]));
                (by_policy.ok(), by_policy.map_or_else(Some, |_| plan.desired))
            }
        };
        if plan.desired != expected {
            let text = format!("desired is {:?}, but the observations give {expected:?}", plan.desired);
            self.violate(if blind { Invariant::UnknownIsNotZero } else { Invariant::Policy }, text);
        }
        let shadow = &mut self.coordinators[c].shadow;
        (shadow.desired, shadow.by_policy) = (plan.desired, by_policy);
    }

    /// What may be scheduled now, as far as the brain was told: what is for sure, then what also is where an instance
    /// takes its time to boot.
    fn floors(&self, c: C) -> Vec<u32> {
        let (now, cap) = (self.pool_time(c), self.setup.config.max_instances);
        let told = self.coordinators[c].state().floors().iter().filter(|floor| now < floor.until);
        let sure =
            told.clone().filter(|floor| floor.from <= now).map(|floor| floor.instances.min(cap)).max().unwrap_or(0);
        let soon =
            told.filter(|floor| now.until(floor.from) < Duration::from_millis(AHEAD)).map(|it| it.instances.min(cap));
        std::iter::once(sure).chain(soon.filter(|floor| *floor > sure)).collect()
    }

    /// Instances are launched for jobs that wait, or as scheduled, and desired capacity is within the cap.
    fn check_forecast(&mut self, c: C, plan: &Plan) {
        let floors = self.floors(c);
        let shadow = &self.coordinators[c].shadow;
        let waits = shadow.observed.back().is_some_and(|seen| seen.demand > 0);
        let is_for_jobs = |reason: &Reason| matches!(reason, Reason::StartsLate { .. } | Reason::BelowDesired { .. });
        let launches = plan.decisions.iter().filter(|it| is_for_jobs(&it.reason)).count();
        let after = plan.desired;
        if after.is_none_or(|desired| desired > self.setup.config.max_instances) {
            self.violate(Invariant::Policy, format!("desired is {after:?}, above the cap"));
        } else if launches > 0 && !waits {
            self.violate(Invariant::Policy, format!("{launches} launches while no job waits"));
        } else if after.is_some_and(|desired| desired < floors[0]) {
            self.violate(Invariant::Policy, format!("desired is {after:?}, and {} are scheduled", floors[0]));
        }
        let shadow = &mut self.coordinators[c].shadow;
        (shadow.desired, shadow.by_policy) = (after, after.filter(|_| floors == [0]));
    }

    /// The breaker keeps launches away for so long as failed tries have doubled, and not for longer. Without a ledger a
    /// leader does not know the tries of the one before.
    fn check_breaker(&mut self, c: C, launches: usize, now: Timestamp) {
        let backoff = self.setup.config.breaker_backoff;
        let Some(until) = self.coordinators[c].state().breaker().open_until else {
            // Weaker: with new images in the run it may be set aside, and come back with the tries of before.
            if !self.setup.has(Fault::NewImage) {
                self.coordinators[c].shadow.tries = 0;
            }
            return;
        };
        let until = self.told_as_local(c, until);
        let shadow = &mut self.coordinators[c].shadow;
        let tries = shadow.tries;
        shadow.tries += u32::try_from(launches).unwrap_or(u32::MAX);
        let most = (backoff * 2u32.saturating_pow(tries.min(16))).min(backoff.max(Duration::from_millis(HOUR)));
        let knows_tries = self.ledger_deleted_at == 0;
        if knows_tries && now.until(until) > most {
            let (left, most) = (now.until(until).as_secs(), most.as_secs());
            let text = format!("the breaker is open for {left} s after {tries} tries: {most} s are the most");
            self.violate(Invariant::Bounded, text);
        }
    }

    /// Invariants 1 and 10, for new launches.
    fn check_launches(&mut self, c: C, launches: usize, now: Timestamp) {
        self.coordinators[c].shadow.lasts(now);
        let (config, shadow) = (&self.setup.config, &self.coordinators[c].shadow);
        let skew = if self.coordinators.len() == 1 { 0 } else { SKEW };
        if launches > config.launches_per_tick as usize {
            self.violate(Invariant::Bounded, format!("{launches} launches in one tick"));
        } else if shadow.held {
            self.violate(Invariant::Bounded, "a launch while an operator holds the pool".to_owned());
        } else if let Some((class, at)) = shadow.refused.iter().find(|(class, at)| {
            let wait = match class {
                RefusalClass::Retry => 2 * SECOND,
                RefusalClass::Capacity => ms(config.capacity_backoff),
                RefusalClass::TokenUsed | RefusalClass::TokenEnded => 0,
                _ => ms(config.quota_backoff),
            };
            now.0 + skew < *at + wait
        }) {
            let text = format!("a launch {} s after a refusal ({class:?})", now.0.saturating_sub(*at) / SECOND);
            self.violate(Invariant::Bounded, text);
        }
        if let Some(text) = self.waits_for_taken_back(c, now, skew) {
            self.violate(Invariant::Bounded, text);
        }
        let (config, shadow) = (&self.setup.config, &self.coordinators[c].shadow);
        if shadow.breaker_opened_at.is_some_and(|at| now.0 + skew < at + ms(config.breaker_backoff)) {
            let text = format!("a launch after {} failed boots in a row", shadow.boots_failed);
            self.violate(Invariant::Bounded, text);
        }
        let (config, shadow) = (&self.setup.config, &self.coordinators[c].shadow);
        // Weaker: an end that no listing shows may have stopped launches before, as the brain says, or from the first
        // of these on. That a try which ends early too prolongs it is shown by a scenario.
        let is_row = shadow.early_ends.len() >= config.boot_failures as usize;
        // When each was ready is the brain's word: a report that came while it drained makes none ready.
        let lasted_since = |first: u64| {
            self.coordinators[c].state().instances().any(|it| {
                let Some(ready_at) = it.ready_at else { return false };
                let ended_early = it.ended_suddenly_at.is_some_and(|at| at.since(ready_at) < EARLY);
                let lasted_at = self.told_as_local(c, ready_at + EARLY);
                !ended_early && (first..=now.0).contains(&lasted_at.0)
            })
        };
        let wait = ms(config.breaker_backoff);
        let until = self.coordinators[c].state().early_ends().open_until();
        let until = until.map_or(u64::MAX, |until| self.told_as_local(c, until).0);
        let opened_at = shadow.early_ends.first().filter(|first| is_row && !lasted_since(**first));
        // One that was over by then opens anew.
        let before = |first: u64| if until > first { until.saturating_sub(wait) } else { first };
        let opened_at = opened_at.map(|first| before(*first).min(*first));
        if opened_at.is_some_and(|at| now.0 + skew < at + wait) {
            let text =
                format!("a launch after {} instances ended soon after they became ready", shadow.early_ends.len());
            self.violate(Invariant::Bounded, text);
        }
        let cap = self.setup.config.max_instances as usize * if self.setup.config.interrupted_counts { 1 } else { 2 };
        let is_settled = |n: &&N| {
            let machine = &self.cloud.machines[**n];
            let is_anothers = machine.stranger == Some(Stranger::Another);
            let shown_since = machine.launched_at.max(machine.unlisted.until);
            machine.token.is_none() && !is_anothers && machine.is_live() && shown_since + SETTLED < self.now
        };
        let foreign = self.cloud.listed.iter().filter(is_settled).count();
        let live = self.cloud.listed.iter().filter(|n| {
            let machine = &self.cloud.machines[**n];
            machine.token.is_some() && machine.is_live() && !machine.forgotten
        });
        let live = live.count();
        if live + foreign + launches > cap {
            let text = format!(
                "{launches} launches beside {live} managed and {foreign} unmanaged instances; the cap is {cap}"
            );
            self.violate(Invariant::Cap, text);
        }
    }

    /// Invariant 10: the retries of one launch intent are bounded.
    fn check_asks(&mut self, c: C, decision: &Decision) {
        let Decision::Launch { token } = decision else { return };
        if self.coordinators[c].shadow.used.contains(token) {
            let text = format!("launch {token} is tried again, although EC2 has said that its token is used");
            return self.violate(Invariant::Bounded, text);
        }
        let starts: u32 = self.coordinators.iter().map(|coordinator| coordinator.generation).sum();
        let asks = self.asks.entry(token.clone()).or_default();
        *asks += 1;
        let asks = *asks;
        if asks > 12 + 2 * starts {
            self.violate(Invariant::Bounded, format!("launch {token} is tried {asks} times"));
        }
    }
}
