//! One intended instance: what is known of it, and what follows from that.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::breaker::FailedBoot;
use crate::config::Config;
use crate::event::{AgentPhase, Ec2State};
use crate::hand_back::{HandBack, Suspect};
use crate::id::{InstanceId, LaunchToken};
use crate::launch_image::LaunchImage;
use crate::phase::{DrainCause, Phase, PhaseKind};
use crate::refusal_class::RefusalClass;
use crate::scheduled::ScheduledEvent;
use crate::time::Timestamp;

/// No message from an agent is in flight for longer than this: silent sessions are closed after some seconds, and a
/// coordinator that is paused loses its lease.
const CROSSED_WITHIN: Duration = Duration::from_secs(180);

/// An instance that ends sooner after its notice ended without one: EC2 gives two minutes, and a listing of spot
/// requests may show the end of one as a notice.
const NOTICE_AT_LEAST: Duration = Duration::from_secs(10);

/// EC2 bills nothing for a spot instance that it interrupts within this time of its launch, whatever its system; one
/// that is terminated by a call is billed (the EC2 User Guide, "Billing for interrupted Spot Instances").
const FREE_IF_INTERRUPTED: Duration = Duration::from_secs(3600);
/// EC2 may take so much longer than its notice says. After that the instance is terminated: the notice came to naught.
const BEYOND_NOTICE: Duration = Duration::from_secs(60);

/// EC2's recommendation to replace an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalance {
    /// When EC2 recommended it, by EC2's clock: it tells one recommendation from the next.
    pub at: Timestamp,
    /// When this was first heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Timestamp>,
    /// Its drain was begun: nothing more follows from this recommendation, also when an operator cancels the drain.
    pub answered: bool,
}

/// One intended instance, from its launch token to Gone. The ledger has its parts side by side, as they were before
/// they had names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub token: LaunchToken,
    /// None until EC2 accepted the launch.
    pub id: Option<InstanceId>,
    pub phase: Phase,
    pub phase_since: Timestamp,
    /// Why it is in this phase, one sentence.
    pub phase_reason: String,
    pub planned_at: Timestamp,
    /// When EC2 accepted the launch (or was first seen to have).
    pub accepted_at: Option<Timestamp>,
    /// When the boot must have succeeded; kept beyond Booting for a drain that finds no agent.
    pub boot_deadline: Option<Timestamp>,
    /// When its worker was first ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// It was found by its token tag rather than launched by this ledger.
    pub adopted: bool,
    /// Its boot counted as failed.
    pub boot_failed: bool,
    /// When it was seen to have ended without notice and by no decision of ours, with a worker that was not stopped.
    /// Whatever reason EC2 shows: it may be late, and there is none where the instance is only missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_suddenly_at: Option<Timestamp>,
    /// It has been ready for so long that its end says nothing about those that were launched after it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_settled: bool,
    /// Its boot failed: until when it is kept for a person to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<Timestamp>,
    /// Why it is drained or terminated, one sentence; None while it is meant to work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_for: Option<String>,
    /// Why this coordinator asked EC2 to terminate it; None while it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminated_for: Option<String>,
    /// What keeps it from going on, by its agent or by EC2.
    #[serde(with = "crate::or_empty")]
    pub problem: Option<String>,
    #[serde(flatten)]
    pub ec2: SaidByEc2,
    #[serde(flatten)]
    pub agent: SaidByAgent,
    /// Active jobs that carry its name, and when the look at Redis that found them began.
    pub jobs_in_redis: Option<(u32, Timestamp)>,
    /// While it is capacity: since when every observation has shown jobs that it could take, and none in Redis that
    /// carries its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes_none_since: Option<Timestamp>,
    /// When the agent was last told to drain.
    pub drain_told_at: Option<Timestamp>,
    /// When a drain was cancelled, until a report shows that the agent knows: that it was drained may be older news.
    #[serde(default)]
    pub cancelled_at: Option<Timestamp>,
    #[serde(flatten)]
    pub owed: Owed,
    /// EC2 has its launch token from a call with other parameters: it is not asked for again, and EC2's list tells what
    /// became of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub token_used: bool,
    /// EC2 refuses to terminate it; None where it has not been asked, or has accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_terminated: Option<NotTerminated>,
    /// The image for which it was drained: it is not drained for that again, also when an operator cancels the drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_for_image: Option<String>,
    /// It was launched to replace another: EC2 recommended it or has scheduled an event, or its image is another.
    #[serde(default)]
    pub is_replacement: bool,
    /// The one it is to replace, which works on until this one is ready.
    #[serde(default)]
    pub replaces: Option<InstanceId>,
    /// Two agents have proved to be it: it is not worked with any more.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub has_two_agents: bool,
    /// It was launched for a drill that is under way, and not drained yet: scale-in leaves it alone.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_for_drill: bool,
}

/// What EC2 says of an instance, in its lists and by its agent's IMDS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SaidByEc2 {
    /// By the last list that had it; never an earlier state than one that was seen.
    #[serde(rename = "ec2_state")]
    pub state: Option<Ec2State>,
    /// When it was launched, where it was adopted; else `accepted_at` is that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launched_at: Option<Timestamp>,
    /// What it was launched from, by the last list that told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When a list last had it.
    pub last_listed: Option<Timestamp>,
    /// When the first list was asked for that did not show it; None while the last one did.
    #[serde(default)]
    pub missing_since: Option<Timestamp>,
    /// When EC2 reclaims it, by an interruption notice.
    pub interrupted_at: Option<Timestamp>,
    /// When that was first heard of; None of ledgers that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noticed_at: Option<Timestamp>,
    /// That notice is a rehearsal: EC2 will not end it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_rehearsed: bool,
    /// EC2's last recommendation to replace it.
    #[serde(default)]
    pub rebalance: Option<Rebalance>,
    /// The first event that EC2 has scheduled for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<ScheduledEvent>,
    /// Which of its tags somebody changed, in words, by the last list that had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retagged: Option<String>,
    /// It accepted the launch, and ended the instance before anything ran there.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub took_back: bool,
}

impl SaidByEc2 {
    /// It is shutting down, or terminated: EC2 bills no more.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, Some(Ec2State::ShuttingDown | Ec2State::Terminated))
    }
}

/// What its agent says of an instance; by its last report, where nothing else is said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SaidByAgent {
    /// It has reported once.
    pub registered: bool,
    pub last_report: Option<Timestamp>,
    /// None also where what it said was said to another leader, or before a reboot.
    #[serde(rename = "agent_phase")]
    pub phase: Option<AgentPhase>,
    /// Its worker is proven to process jobs.
    pub proven: bool,
    /// Its worker has once been proven by name: that Redis shows no job of its name means that there is none.
    pub named: bool,
    /// None where the agent cannot know.
    pub active_jobs: Option<u32>,
    /// Since when every report has said that it holds no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobless_since: Option<Timestamp>,
    /// A rate limit holds its worker back.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub is_rate_limited: bool,
    /// By queue: how many starts in a window the `limiter.max` of its workers allows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limiter_max: BTreeMap<String, u64>,
    /// The end of the worker's own log, as it was last told before the worker was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_log: Option<String>,
}

/// EC2's refusals to terminate an instance, in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTerminated {
    /// Of the last one.
    pub class: RefusalClass,
    /// EC2's code and words.
    pub detail: String,
    /// When the first one came.
    pub since: Timestamp,
    /// A person was told.
    pub alerted: bool,
    /// The agent is to be told to power the instance off.
    pub power_off_due: bool,
}

/// Whether an instance owes a hand-back of jobs, and what has been handed back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Owed {
    /// Agent and Redis both said, after the fence, that no job is left: there is nothing to hand back.
    #[serde(default)]
    pub emptied: bool,
    /// Begun when its worker is dead and it may have held jobs.
    #[serde(default)]
    pub hand_back: Option<HandBack>,
    /// Jobs put back to wait by the coordinator.
    #[serde(default)]
    pub handed_back: u32,
    /// Jobs put back to wait by the agent, as it said when it was drained.
    #[serde(default)]
    pub handed_back_by_agent: u32,
    /// Jobs that may have ended it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<Suspect>,
}

impl Instance {
    pub(crate) fn intended(token: LaunchToken, now: Timestamp, deadline: Timestamp) -> Self {
        Instance {
            token,
            id: None,
            phase: Phase::Launching { attempts: 1, next_try: None, last_try: now, deadline },
            phase_since: now,
            phase_reason: "launch requested".to_owned(),
            planned_at: now,
            accepted_at: None,
            boot_deadline: None,
            ready_at: None,
            adopted: false,
            boot_failed: false,
            ended_suddenly_at: None,
            is_settled: false,
            kept_until: None,
            ended_for: None,
            terminated_for: None,
            problem: None,
            ec2: SaidByEc2::default(),
            agent: SaidByAgent::default(),
            jobs_in_redis: None,
            takes_none_since: None,
            drain_told_at: None,
            cancelled_at: None,
            owed: Owed::default(),
            token_used: false,
            not_terminated: None,
            drained_for_image: None,
            is_replacement: false,
            replaces: None,
            has_two_agents: false,
            is_for_drill: false,
        }
    }

    pub(crate) fn enter(&mut self, now: Timestamp, phase: Phase, reason: impl Into<String>) {
        self.phase = phase;
        self.not_terminated = None;
        self.phase_since = now;
        self.phase_reason = reason.into();
    }

    /// Its worker must prove itself until `deadline`: it is no capacity before that.
    pub(crate) fn must_prove_itself(&mut self, now: Timestamp, deadline: Timestamp, reason: impl Into<String>) {
        self.boot_deadline = Some(deadline);
        self.enter(now, Phase::Booting { deadline }, reason);
    }

    /// It bills or may bill: it counts against the cap (invariant 1). EC2 bills until `shutting-down`.
    pub fn may_bill(&self) -> bool {
        match self.phase {
            Phase::Gone => false,
            _ => !matches!(self.ec2.state, Some(Ec2State::ShuttingDown | Ec2State::Terminated)),
        }
    }

    /// It is capacity: proven to process jobs, and not about to go (invariant 6).
    pub fn is_capacity(&self) -> bool {
        matches!(self.phase, Phase::Ready) && self.ec2.interrupted_at.is_none()
    }

    /// Its worker was ready once. An older ledger does not say when.
    pub(crate) fn has_been_ready(&self) -> bool {
        self.ready_at.is_some() || matches!(self.phase, Phase::Ready)
    }

    /// Its boot failed: what the breaker counts.
    pub(crate) fn failed_boot(&self) -> FailedBoot {
        FailedBoot { launched_at: self.planned_at, image: self.ec2.image.clone() }
    }

    /// It is on its way to be capacity, and holds back further launches until its deadline (invariant 6).
    pub fn is_on_its_way(&self, now: Timestamp) -> bool {
        self.ec2.interrupted_at.is_none()
            && match self.phase {
                Phase::Launching { deadline, .. } | Phase::Booting { deadline } => now < deadline,
                _ => false,
            }
    }

    /// EC2 ends it, or it is there no more, and nobody here has decided that.
    pub(crate) fn ends_by_itself(&mut self, now: Timestamp) {
        let is_decided = matches!(self.phase_kind(), PhaseKind::Terminating | PhaseKind::Gone);
        if !self.is_stopped() && !is_decided && !self.had_notice(now) {
            self.ended_suddenly_at = Some(now);
        }
    }

    /// EC2 gave notice long enough before now: one that nobody could act on is none.
    fn had_notice(&self, now: Timestamp) -> bool {
        let is_in_time = |at| now.since(at) >= NOTICE_AT_LEAST;
        self.ec2.interrupted_at.is_some() && self.ec2.noticed_at.is_none_or(is_in_time)
    }

    /// Only because it was not needed.
    pub(crate) fn is_draining_for_scale_in(&self) -> bool {
        matches!(self.phase, Phase::Draining { cause: DrainCause::ScaleIn | DrainCause::Drill, .. })
    }

    /// It drains, and its agent has said that the worker is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.phase, Phase::Draining { drained_at: Some(_), .. })
    }

    /// It drains by choice, and its worker is neither stopped yet nor failed to start: it can go back to work.
    pub fn drain_can_be_cancelled(&self) -> bool {
        matches!(
            self.phase,
            Phase::Draining {
                cause: DrainCause::ScaleIn
                    | DrainCause::Operator
                    | DrainCause::Rebalance
                    | DrainCause::ScheduledEvent
                    | DrainCause::Drift
                    | DrainCause::Drill,
                drained_at: None,
                ..
            }
        ) && self.ec2.interrupted_at.is_none()
            && !self.has_two_agents
            && self.agent.registered
            && self.agent.phase != Some(AgentPhase::Failed)
    }

    /// Its worker may have taken jobs, and not both sources have said that none is left.
    pub fn may_hold_jobs(&self) -> bool {
        let seen_in_redis = self.jobs_in_redis.is_some_and(|(jobs, _)| jobs > 0);
        self.id.is_some() && (self.agent.registered || self.adopted || seen_in_redis) && !self.owed.emptied
    }

    /// Whether the agent's report that it drains, or is drained, is about the present drain. One that may have been
    /// sent before the last cancellation reached the agent is not.
    pub(crate) fn is_current_word(&self, now: Timestamp) -> bool {
        self.cancelled_at.is_none_or(|at| now.since(at) > CROSSED_WITHIN)
    }

    /// It ended, and what it may have held is not handed back yet: it must not be forgotten.
    pub fn owes_hand_back(&self) -> bool {
        self.is_gone()
            && self.may_hold_jobs()
            && self.owed.hand_back.as_ref().is_none_or(|hand_back| !hand_back.is_over())
    }

    /// Jobs put back to wait, by whomever.
    pub fn jobs_handed_back(&self) -> u32 {
        self.owed.handed_back.saturating_add(self.owed.handed_back_by_agent)
    }

    /// Its active jobs in Redis, by a look that began after the drain did (and after the agent reported the worker
    /// stopped).
    pub(crate) fn jobs_after_fence(&self) -> Option<u32> {
        let Phase::Draining { drained_at, .. } = self.phase else { return None };
        let since = drained_at.unwrap_or(self.phase_since);
        self.jobs_in_redis.filter(|(_, at)| *at > since).map(|(jobs, _)| jobs)
    }

    /// Until when EC2 is left to end it, by a notice in its first hour: what EC2 interrupts then it does not bill.
    /// `stop` and `hibernate` are interruptions as well.
    pub fn left_to_ec2_until(&self) -> Option<Timestamp> {
        let at = self.ec2.interrupted_at.filter(|_| !self.ec2.is_rehearsed)?;
        let launched_at = self.ec2.launched_at.or(self.accepted_at)?;
        (at < launched_at + FREE_IF_INTERRUPTED).then(|| at + BEYOND_NOTICE)
    }

    /// EC2 recommends to replace it, and nothing has been done about that yet.
    pub(crate) fn is_rebalance_due(&self) -> bool {
        self.ec2.rebalance.is_some_and(|rebalance| !rebalance.answered)
    }

    /// The event that EC2 has scheduled for it, once it is time to replace it.
    pub(crate) fn scheduled_and_due(&self, now: Timestamp, config: &Config) -> Option<&ScheduledEvent> {
        let is_due = |event: &&ScheduledEvent| !event.answered && now >= event.replaced_from(config);
        self.ec2.scheduled.as_ref().filter(is_due)
    }

    /// It is of another image than launches take, and was launched before that was known.
    pub(crate) fn is_drifted(&self, image: &LaunchImage) -> bool {
        self.planned_at < image.since
            && self.ec2.image.as_ref().is_some_and(|of| *of != image.id)
            && self.drained_for_image.as_ref() != Some(&image.id)
    }

    /// Its boot failed, and it is not terminated yet: a person may look at it.
    pub fn is_kept(&self, now: Timestamp) -> bool {
        matches!(self.phase, Phase::Draining { .. }) && self.kept_until.is_some_and(|until| now < until)
    }

    pub fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    /// The agent has said nothing for longer than `timeout`, or nothing yet.
    pub fn is_silent(&self, now: Timestamp, timeout: Duration) -> bool {
        self.agent.last_report.is_none_or(|at| now.since(at) > timeout)
    }

    /// Its agent reports. What EC2's lists do not show while it does is there nevertheless: tags can be edited, and
    /// lists be late. Not of one that is being terminated: its agent may be anybody's.
    pub(crate) fn is_reporting(&self, now: Timestamp, timeout: Duration) -> bool {
        self.agent.registered
            && !self.is_silent(now, timeout)
            && matches!(self.phase_kind(), PhaseKind::Booting | PhaseKind::Ready | PhaseKind::Draining)
    }

    /// EC2's id where there is one, the launch token before that.
    pub fn name(&self) -> &str {
        self.id.as_ref().map_or(&self.token.0, |id| &id.0)
    }

    pub fn phase_kind(&self) -> PhaseKind {
        self.phase.kind()
    }

    /// The phase as the interfaces write it.
    pub fn phase_name(&self) -> &'static str {
        self.phase_kind().as_str()
    }

    pub fn phase_deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Launching { deadline, .. } | Phase::Booting { deadline } => Some(deadline),
            Phase::Draining { deadline, .. } => Some(self.kept_until.unwrap_or(deadline)),
            Phase::Terminating { next_try, .. } => Some(next_try),
            Phase::Ready | Phase::Gone => None,
        }
    }
}
