//! What is known of one pool: how events change it, and what a tick does about it.

mod launches;
mod queries;

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::decision::{AlertKind, Decision, Note, Plan, Planned, Reason};
use crate::event::{AgentPhase, Backlog, Ec2State, Event, RefusalClass, Report};
use crate::hand_back::Turn;
use crate::instance::{DrainCause, Instance, InstanceId, LaunchToken, Phase, Rebalance};
use crate::policy::{self, Sustain};
use crate::refusal::{self, Refusal};
use crate::{Breaker, Timestamp, phases};

pub(crate) use launches::accepted;

/// Instances that are gone are kept for `status`, this many.
const GONE_KEPT: usize = 20;

/// All that is known and intended for one pool. Serializable: the shell keeps it in the ledger before acting on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Makes this ledger's launch tokens unlike any other's.
    nonce: String,
    launches: u64,
    pub(crate) leader: bool,
    /// When it began to lead, or to go on: what came due before nobody could do.
    #[serde(default)]
    pub(crate) led_since: Option<Timestamp>,
    pub(crate) backlog: Option<(Backlog, Timestamp)>,
    pub(crate) observation_problem: Option<String>,
    pub(crate) listed_at: Option<Timestamp>,
    pub(crate) listing_problem: Option<String>,
    pub(crate) sustain: Sustain,
    pub(crate) desired: Option<u32>,
    pub(crate) instances: VecDeque<Instance>,
    /// Instances with the pool's tag but no launch token: counted, never touched.
    pub(crate) foreign: Vec<InstanceId>,
    pub(crate) hold: Option<String>,
    pub(crate) breaker: Breaker,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) alerts: BTreeSet<AlertKind>,
    /// Decided while handling an event; given out by the next tick.
    pub(crate) pending: Vec<Planned>,
    /// When replacements on EC2's recommendation were begun, oldest first.
    #[serde(default)]
    pub(crate) rebalances: VecDeque<Timestamp>,
    launched_total: u64,
    terminated_total: u64,
    #[serde(default)]
    handed_back_total: u64,
}

/// The fleet in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ready: u32,
    pub on_the_way: u32,
    /// All that bills or may bill, foreign instances included.
    pub billing: u32,
    /// Those of them that EC2 is about to take.
    pub interrupted: u32,
    /// Those on the way that are to take the place of one that is still ready.
    pub replacements: u32,
}

impl Counts {
    /// Capacity once all that is on the way is ready, and what is replaced is gone.
    pub(crate) fn capacity_to_be(self) -> u32 {
        (self.ready + self.on_the_way).saturating_sub(self.replacements)
    }
}

impl State {
    pub(crate) fn new(nonce: impl Into<String>) -> Self {
        State {
            nonce: nonce.into(),
            launches: 0,
            leader: false,
            led_since: None,
            backlog: None,
            observation_problem: None,
            listed_at: None,
            listing_problem: None,
            sustain: Sustain::default(),
            desired: None,
            instances: VecDeque::new(),
            foreign: Vec::new(),
            hold: None,
            breaker: Breaker::default(),
            refusal: None,
            alerts: BTreeSet::new(),
            pending: Vec::new(),
            rebalances: VecDeque::new(),
            launched_total: 0,
            terminated_total: 0,
            handed_back_total: 0,
        }
    }

    pub(crate) fn handle(&mut self, now: Timestamp, event: Event, config: &Config) {
        match event {
            Event::Started => self.started(now),
            Event::LeadershipGained => self.leads(now, config),
            Event::LeadershipLost => self.leader = false,
            Event::BacklogObserved(backlog) => self.observed(now, backlog, config),
            Event::ObservationFailed { detail } => self.observation_problem = Some(detail),
            Event::JobsSeen { asked_at, seen } => {
                for instance in &mut self.instances {
                    let jobs = instance.id.as_ref().and_then(|id| seen.jobs.get(id)).copied().unwrap_or(0);
                    instance.jobs_in_redis = Some((jobs, asked_at));
                    instance.emptied &= jobs == 0;
                }
            }
            Event::InstancesListed { asked_at, instances } => self.listed(now, asked_at, instances, config),
            Event::ListingFailed { detail } => self.listing_problem = Some(detail),
            Event::LaunchAnswered { token, answer } => self.launch_answered(now, token, answer, config),
            Event::TerminateAccepted { .. } => {} // EC2's list confirms it, or it is asked again
            Event::TerminateFailed { id, class, code } => {
                if let Some(instance) = self.by_id(&id)
                    && let Phase::Terminating { attempts, .. } = instance.phase
                {
                    let wait = refusal::backoff(config, class, attempts).unwrap_or(config.terminate_timeout);
                    instance.phase = Phase::Terminating { attempts, next_try: now + wait };
                    instance.problem = format!("EC2 refused to terminate it: {code}");
                }
            }
            Event::AgentRegistered { id } => {
                if let Some(instance) = self.by_id(&id) {
                    instance.registered = true;
                    instance.last_report = Some(now);
                    // A session goes on without it: this agent knows nothing of before, as after a reboot.
                    listens_anew(instance);
                }
            }
            Event::AgentReported(report) => self.reported(now, report, config),
            Event::AgentDrained { id, jobs_left, jobs_handed_back } => {
                self.agent_drained(now, &id, jobs_left, jobs_handed_back);
            }
            Event::NoticeSeen { id, at } => {
                if let Some(instance) = self.by_id(&id) {
                    instance.interrupted_at = Some(instance.interrupted_at.map_or(at, |earlier| earlier.min(at)));
                }
            }
            Event::RebalanceRecommended { id, at } => {
                // Agents repeat what they saw when they come back.
                if let Some(instance) = self.by_id(&id)
                    && instance.rebalance.is_none_or(|known| known.at < at)
                {
                    instance.rebalance = Some(Rebalance { at, answered: false });
                }
            }
            Event::HandedBack { id, certain, handed_back, left } => {
                self.handed_back(now, id, certain, handed_back, left);
            }
            Event::HandBackFailed { id, certain, detail } => self.hand_back_failed(now, id, certain, detail),
            Event::OperatorHold { reason } => self.hold = Some(reason),
            Event::OperatorResume => {
                self.hold = None;
                self.forget_fatal();
                self.breaker = Breaker::default();
                self.alerts.remove(&AlertKind::BootsFail);
            }
            Event::OperatorDrain { id, reason } => {
                let deadline = now + config.drain_timeout;
                if let Some(instance) = self.by_id(&id)
                    && matches!(instance.phase, Phase::Booting { .. } | Phase::Ready)
                {
                    let reason = Reason::OperatorAsked { reason };
                    let planned = phases::draining::begin(instance, now, deadline, DrainCause::Operator, reason);
                    self.pending.extend(planned);
                }
            }
            Event::OperatorCancelDrain { id } => {
                let reason = Reason::OperatorAsked { reason: String::new() };
                if self.would_drain_again() {
                    return;
                }
                if let Some(instance) = self.by_id(&id) {
                    let planned = phases::draining::cancel(instance, now, config, reason);
                    self.pending.extend(planned);
                }
            }
        }
    }

    pub(crate) fn tick(&mut self, now: Timestamp, config: &Config) -> Plan {
        let mut plan = Plan { at: now, ..Plan::default() };
        if !self.leader {
            plan.notes.push(Note::NotLeader);
            self.summarize(&mut plan);
            return plan;
        }
        plan.decisions.append(&mut self.pending);
        let blind = self.blind(now, config);
        if blind.is_empty() {
            phases::tick(self, now, config, &mut plan);
            self.decide_capacity(now, config, &mut plan);
        } else {
            plan.notes = blind;
        }
        // What EC2 and the agent have said stays true while EC2 does not answer; without Redis it cannot be done.
        if self.observation_problem.is_none() {
            phases::hand_back(self, now, &mut plan);
        }
        plan.decisions.append(&mut self.pending);
        self.forget_gone();
        self.summarize(&mut plan);
        plan
    }

    /// What is unknown now: nothing is scaled, launched or terminated while this is not empty (invariant 3).
    fn blind(&self, now: Timestamp, config: &Config) -> Vec<Note> {
        let mut notes = Vec::new();
        match (&self.observation_problem, &self.backlog) {
            (Some(detail), _) => notes.push(Note::ObservationFailed { detail: detail.clone() }),
            (None, None) => notes.push(Note::NotObservedYet),
            (None, Some((_, at))) if now.since(*at) > config.longest_gap() => {
                notes.push(Note::ObservationStale { age: now.since(*at) });
            }
            _ => {}
        }
        match (&self.listing_problem, self.listed_at) {
            (Some(detail), _) => notes.push(Note::ListingFailed { detail: detail.clone() }),
            (None, None) => notes.push(Note::NotListedYet),
            (None, Some(at)) if now.since(at) > config.longest_listing_age() => {
                notes.push(Note::ListingStale { age: now.since(at) });
            }
            _ => {}
        }
        notes
    }

    fn decide_capacity(&mut self, now: Timestamp, config: &Config, plan: &mut Plan) {
        // A ledger that knows no desired capacity takes what it finds: capacity falls only by the idle rule.
        let found = self.instances.iter().filter(|instance| instance.may_bill()).count();
        let before = self.desired.unwrap_or(u32::try_from(found).unwrap_or(u32::MAX)).min(config.max_instances);
        let (desired, notes) = policy::desired(&config.policy, &self.sustain, before);
        let desired = desired.min(config.max_instances);
        self.desired = Some(desired);
        plan.notes.extend(notes);
        let paused = self.backlog.iter().flat_map(|(backlog, _)| &backlog.queues).filter(|queue| queue.paused);
        let waiting: u64 = paused.map(|queue| queue.waiting + queue.prioritized + queue.delayed_due).sum();
        if waiting > 0 {
            plan.notes.push(Note::Paused { waiting });
        }
        for id in &self.foreign {
            plan.notes.push(Note::NotOurs { id: id.clone() });
        }
        if let Some(reason) = &self.hold {
            plan.notes.push(Note::Held { reason: reason.clone() });
            return;
        }
        phases::scale_in(self, now, config, desired, plan);
        phases::fence(self, now, config, plan);
        phases::scale_out(self, now, config, desired, plan);
        phases::replace(self, now, config, plan);
    }

    fn started(&mut self, now: Timestamp) {
        self.forget_fatal();
        self.led_since = Some(now);
        for instance in &mut self.instances {
            listens_anew(instance);
            match &mut instance.phase {
                Phase::Launching { next_try: next_try @ None, .. } => *next_try = Some(now),
                Phase::Terminating { next_try, .. } => *next_try = now,
                _ => {}
            }
            if let Some(hand_back) = &mut instance.hand_back {
                hand_back.unanswered(now);
            }
            // Agents need time to come back before they are called silent.
            if instance.registered {
                instance.last_report = Some(now);
            }
        }
    }

    /// Agents spoke with another leader meanwhile. Where no ledger tells what they said (it was wiped), they have time to
    /// come here before they are called silent, and one that never came here has a boot's time from now.
    fn leads(&mut self, now: Timestamp, config: &Config) {
        if std::mem::replace(&mut self.leader, true) {
            return;
        }
        self.led_since = Some(now);
        for instance in &mut self.instances {
            listens_anew(instance);
            if instance.registered {
                instance.last_report = Some(now);
            } else if instance.boot_deadline.is_some() {
                let from_now = now + config.boot_timeout;
                instance.boot_deadline = Some(from_now);
                if let Phase::Booting { deadline } = &mut instance.phase {
                    *deadline = from_now;
                }
            }
        }
    }

    fn forget_fatal(&mut self) {
        self.refusal.take_if(|refusal| refusal.class == RefusalClass::Fatal);
        self.alerts.remove(&AlertKind::FatalRefusal);
    }

    fn observed(&mut self, now: Timestamp, backlog: Backlog, config: &Config) {
        if let Some((_, last)) = self.backlog {
            let blind = now.since(last);
            if blind > config.longest_gap() {
                // Nobody could prove anything meanwhile: it does not count against a boot.
                for instance in &mut self.instances {
                    if let Phase::Booting { deadline } = &mut instance.phase {
                        *deadline = *deadline + blind;
                        instance.boot_deadline = Some(*deadline);
                    }
                }
            }
        }
        self.sustain.observe(now, backlog.demand(), config);
        self.backlog = Some((backlog, now));
        self.observation_problem = None;
    }

    fn reported(&mut self, now: Timestamp, report: Report, config: &Config) {
        let Some(instance) = self.by_id(&report.id) else { return };
        instance.registered = true;
        instance.last_report = Some(now);
        instance.agent_phase = Some(report.phase);
        // An agent that restarted may have started its worker again.
        instance.emptied &= report.phase == AgentPhase::Drained;
        if !matches!(report.phase, AgentPhase::Draining | AgentPhase::Drained) {
            instance.cancelled_at = None;
        }
        let is_drained = report.phase == AgentPhase::Drained && instance.is_news(now);
        instance.proven = report.proven;
        instance.named |= report.named;
        instance.active_jobs = report.active_jobs;
        instance.problem = report.problem;
        let proven = report.phase == AgentPhase::Ready && report.proven;
        match &mut instance.phase {
            Phase::Booting { .. } if proven => {
                instance.enter(now, Phase::Ready, "its worker is proven to process jobs");
                self.breaker.succeeded();
                self.alerts.remove(&AlertKind::BootsFail);
            }
            // The proof was lost: it is no capacity until it proves itself again, by a deadline.
            Phase::Ready if report.phase != AgentPhase::Ready => {
                let deadline = now + config.boot_timeout;
                instance.boot_deadline = Some(deadline);
                let reason = match instance.problem.as_str() {
                    "" => "its worker no longer proves itself".to_owned(),
                    problem => format!("its worker no longer proves itself: {problem}"),
                };
                instance.enter(now, Phase::Booting { deadline }, reason);
            }
            Phase::Draining { drained_at: drained_at @ None, .. } if is_drained => *drained_at = Some(now),
            // It started over: whatever it was handed back for runs again.
            Phase::Draining { drained_at: drained_at @ Some(_), .. } if report.phase != AgentPhase::Drained => {
                (*drained_at, instance.hand_back) = (None, None);
            }
            _ => {}
        }
    }

    fn agent_drained(&mut self, now: Timestamp, id: &InstanceId, jobs_left: Option<u32>, handed_back: u32) {
        let Some(instance) = self.by_id(id) else { return };
        // Said again when the agent comes back; a heartbeat may have told of the end before.
        let more = handed_back.saturating_sub(instance.handed_back_by_agent);
        instance.handed_back_by_agent += more;
        let is_news = instance.is_news(now);
        if let Phase::Draining { drained_at, .. } = &mut instance.phase
            && is_news
        {
            drained_at.get_or_insert(now);
            instance.active_jobs = jobs_left;
            instance.last_report = Some(now);
        }
        self.handed_back_total += u64::from(more);
    }

    fn handed_back(&mut self, now: Timestamp, id: InstanceId, certain: bool, jobs: u32, left: u32) {
        self.handed_back_total += u64::from(jobs);
        self.alerts.remove(&AlertKind::HandBackFails);
        let Some(instance) = self.by_id(&id) else { return };
        instance.handed_back += jobs;
        // An answer to what was asked while it was uncertain does not speak for after.
        if let Some(hand_back) = instance.hand_back.as_mut().filter(|it| it.certain == certain && !it.is_over())
            && hand_back.answered(now, left) == Turn::GivenUp
        {
            let span = now.since(hand_back.began_at);
            self.alerts.remove(&AlertKind::JobsLeft);
            self.raise(AlertKind::JobsLeft, Reason::JobsLeft { id, left, span });
        }
    }

    fn hand_back_failed(&mut self, now: Timestamp, id: InstanceId, certain: bool, detail: String) {
        let hand_back = self.by_id(&id).and_then(|instance| instance.hand_back.as_mut());
        let Some(hand_back) = hand_back.filter(|it| it.certain == certain && !it.is_over()) else { return };
        if hand_back.failed(now, detail.clone()) != Turn::GoesOn {
            self.raise(AlertKind::HandBackFails, Reason::HandBackFails { id, detail });
        }
    }

    pub(crate) fn raise(&mut self, alert: AlertKind, reason: Reason) {
        if self.alerts.insert(alert) {
            self.pending.push(Planned { decision: Decision::Alert { alert }, reason });
        }
    }

    pub(crate) fn boot_failed(&mut self, now: Timestamp, config: &Config) {
        if self.breaker.failed(now, config.boot_failures, config.breaker_backoff) {
            let until = self.breaker.open_until.unwrap_or(now);
            // Said again each time it opens, since the wait is another one.
            self.alerts.remove(&AlertKind::BootsFail);
            let failures = self.breaker.failures;
            self.raise(AlertKind::BootsFail, Reason::BreakerOpened { failures, until, wait: until.since(now) });
        }
    }

    pub(crate) fn by_id(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.id.as_ref() == Some(id))
    }

    pub(crate) fn by_token(&mut self, token: &LaunchToken) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|instance| instance.token == *token)
    }

    pub(crate) fn due_at(&self) -> Option<Timestamp> {
        if self.observation_problem.is_some() {
            return None;
        }
        self.instances.iter().filter_map(|instance| instance.hand_back.as_ref()?.due_at()).min()
    }

    pub(crate) fn count_terminated(&mut self) {
        self.terminated_total += 1;
    }

    fn forget_gone(&mut self) {
        let mut gone = self.instances.iter().filter(|instance| instance.is_gone()).count();
        self.instances.retain(|instance| {
            let forget = gone > GONE_KEPT && instance.is_gone() && !instance.owes_hand_back();
            gone -= usize::from(forget);
            !forget
        });
    }

    fn summarize(&self, plan: &mut Plan) {
        plan.demand = self.demand();
        plan.desired = self.desired;
    }

    pub fn counts(&self, now: Timestamp) -> Counts {
        let count = |test: &dyn Fn(&Instance) -> bool| {
            u32::try_from(self.instances.iter().filter(|instance| test(instance)).count()).unwrap_or(u32::MAX)
        };
        Counts {
            ready: count(&Instance::is_capacity),
            on_the_way: count(&|instance| instance.is_on_its_way(now)),
            billing: count(&Instance::may_bill).saturating_add(u32::try_from(self.foreign.len()).unwrap_or(u32::MAX)),
            interrupted: count(&|instance| instance.may_bill() && instance.interrupted_at.is_some()),
            replacements: count(&|instance| instance.replaces.is_some() && instance.is_on_its_way(now)),
        }
    }

    /// What goes back to work now is drained again at once: no instance is wanted. Not while the pool is held.
    pub fn would_drain_again(&self) -> bool {
        self.hold.is_none() && self.desired == Some(0)
    }
}

/// What its agent said was said to another leader, or before a while in which it may have worked again: it says it anew.
fn listens_anew(instance: &mut Instance) {
    instance.agent_phase = None;
    if let Phase::Draining { drained_at, .. } = &mut instance.phase {
        *drained_at = None;
    }
    if matches!(instance.phase, Phase::Draining { .. } | Phase::Terminating { .. })
        && instance.ec2_state != Some(Ec2State::Terminated)
    {
        instance.hand_back = None;
    }
}
