//! Draining: fenced. Terminated only when two sources agree that no job is left (invariant 4): the agent, by its word
//! that the worker is stopped, and Redis, by an observation made after that. What Redis still shows then is handed back
//! (`hand_back`), which ends with Redis' word too.
//!
//! It becomes Terminating when that is so, when nobody can be told to drain, or when its deadline is long past; Booting
//! when the drain is cancelled. One whose boot failed may be kept until later, for a person, and one that EC2
//! interrupts in its first hour is left to EC2, whatever it drains for.

use std::time::Duration;

use super::terminating;
use crate::config::Config;
use crate::event::{AgentPhase, Ec2State};
use crate::instance::Instance;
use crate::note::Note;
use crate::phase::{DrainCause, Phase};
use crate::plan::{Decision, Plan, Planned};
use crate::reason::Reason;
use crate::time::Timestamp;

/// An agent whose reports this long after a drain command do not show a drain is sent the command again.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// What an agent may need beyond the deadline, to stop the worker and to say so.
const BEYOND_DEADLINE: Duration = Duration::from_secs(120);

/// The longest that EC2 lets a spot instance run on after it gave notice, by its documentation: two minutes.
const NOTICE: Duration = Duration::from_secs(120);
/// What operators may rehearse.
const LONGEST_REHEARSAL: Duration = Duration::from_secs(3600);

/// When EC2 reclaims an instance, by a notice that is told at `now` and says `at`: a moment that EC2 can mean, whatever
/// clock is wrong.
pub fn when_reclaimed(now: Timestamp, at: Timestamp, is_rehearsal: bool) -> Timestamp {
    at.clamp(now, now + if is_rehearsal { LONGEST_REHEARSAL } else { NOTICE })
}

/// An interruption notice was told, maybe not for the first time: the earliest counts, and EC2's own outweighs a
/// rehearsal, whatever time that says.
pub(crate) fn noticed(instance: &mut Instance, now: Timestamp, at: Timestamp, is_rehearsal: bool) {
    let (at, ec2) = (when_reclaimed(now, at, is_rehearsal), &mut instance.ec2);
    let known = ec2.interrupted_at.filter(|_| ec2.is_rehearsed == is_rehearsal);
    if is_rehearsal && ec2.interrupted_at.is_some() && known.is_none() {
        return;
    }
    ec2.is_rehearsed = is_rehearsal;
    ec2.noticed_at.get_or_insert(now);
    ec2.interrupted_at = Some(known.map_or(at, |earlier| earlier.min(at)));
}

/// Begins a drain; the decision that tells the agent, where there is one to be told.
pub(crate) fn begin(
    instance: &mut Instance,
    now: Timestamp,
    deadline: Timestamp,
    cause: DrainCause,
    reason: Reason,
) -> Option<Planned> {
    let id = instance.id.clone()?;
    let deadline = instance.ec2.scheduled.as_ref().map_or(deadline, |event| event.drained_by(now, deadline));
    let is_drained = instance.agent.phase == Some(AgentPhase::Drained) && instance.is_current_word(now);
    let drained_at = is_drained.then_some(now);
    instance.enter(now, Phase::Draining { cause, deadline, drained_at }, reason.to_string());
    instance.drain_told_at = Some(now);
    instance.ended_for = Some(reason.to_string());
    // An earlier drain's speaks for what it held then.
    instance.owed.hand_back = None;
    Some(Planned::new(Decision::Drain { id, deadline }, reason))
}

/// Cancels a drain, unless EC2 reclaims the instance or its worker is stopped already. It must become ready again, by a
/// deadline.
pub(crate) fn cancel(instance: &mut Instance, now: Timestamp, config: &Config, reason: Reason) -> Option<Planned> {
    let id = instance.id.clone()?;
    if !instance.drain_can_be_cancelled() {
        return None;
    }
    instance.must_prove_itself(now, now + config.boot_timeout, reason.to_string());
    instance.cancelled_at = Some(now);
    instance.ended_for = None;
    Some(Planned::new(Decision::CancelDrain { id }, reason))
}

/// An interruption notice: the agent starts to drain by itself, this command only makes sure. A drain that is under way
/// for another reason has only until then.
pub(crate) fn interrupted(instance: &mut Instance, now: Timestamp) -> Option<Planned> {
    let at = instance.ec2.interrupted_at?;
    let reason = Reason::Interrupted { at, left: now.until(at) };
    match &mut instance.phase {
        Phase::Booting { .. } | Phase::Ready => begin(instance, now, at, DrainCause::Interruption, reason),
        Phase::Draining { deadline, drained_at: None, .. } if at < *deadline => {
            *deadline = at;
            instance.drain_told_at = Some(now);
            Some(Planned::new(Decision::Drain { id: instance.id.clone()?, deadline: at }, reason))
        }
        _ => None,
    }
}

/// EC2 has scheduled an event, which leaves no time for more than a drain. One that is under way for another reason has
/// only until then.
pub(crate) fn scheduled(instance: &mut Instance, now: Timestamp, config: &Config, plan: &mut Plan) -> Option<Planned> {
    let event = instance.ec2.scheduled.as_mut()?;
    // A notice leaves less time.
    let id = instance.id.clone().filter(|_| instance.ec2.interrupted_at.is_none())?;
    let (code, left) = (event.code.clone(), now.until(event.at));
    match &mut instance.phase {
        Phase::Booting { .. } | Phase::Ready if event.answered => None,
        Phase::Booting { .. } | Phase::Ready if now >= event.drained_from(config) => {
            event.answered = true;
            let reason = Reason::EventScheduled { code, left };
            begin(instance, now, now + config.drain_timeout, DrainCause::ScheduledEvent, reason)
        }
        Phase::Booting { .. } | Phase::Ready => {
            let acts_in = now.until(event.replaced_from(config));
            if !acts_in.is_zero() {
                plan.notes.push(Note::EventScheduled { id, code, left, acts_in });
            }
            None
        }
        Phase::Draining { deadline, drained_at: None, .. } if event.drained_by(now, *deadline) < *deadline => {
            *deadline = event.at;
            instance.drain_told_at = Some(now);
            Some(Planned::new(Decision::Drain { id, deadline: event.at }, Reason::EventScheduled { code, left }))
        }
        _ => None,
    }
}

/// Its agent reported, in a heartbeat.
pub(crate) fn reported(instance: &mut Instance, now: Timestamp) {
    let is_drained = instance.agent.phase == Some(AgentPhase::Drained);
    let is_current_word = instance.is_current_word(now);
    match &mut instance.phase {
        Phase::Draining { drained_at: drained_at @ None, .. } if is_drained && is_current_word => {
            *drained_at = Some(now)
        }
        // It started over: whatever it was handed back for runs again.
        Phase::Draining { drained_at: drained_at @ Some(_), .. } if !is_drained => {
            (*drained_at, instance.owed.hand_back) = (None, None);
        }
        _ => {}
    }
}

/// Its agent says that the drain is over: its worker is stopped.
pub(crate) fn drained(instance: &mut Instance, now: Timestamp, jobs_left: Option<u32>) {
    let is_current_word = instance.is_current_word(now);
    if let Phase::Draining { drained_at, .. } = &mut instance.phase
        && is_current_word
    {
        drained_at.get_or_insert(now);
        instance.agent.active_jobs = jobs_left;
        instance.agent.last_report = Some(now);
    }
}

/// That it is drained was said to another leader: it counts once the agent says it to this one.
pub(crate) fn expect_to_hear_again(instance: &mut Instance) {
    if let Phase::Draining { drained_at, .. } = &mut instance.phase {
        *drained_at = None;
        if instance.ec2.state != Some(Ec2State::Terminated) {
            instance.owed.hand_back = None;
        }
    }
}

/// Terminates it once its drain is over, and says what that waits for until then. The reason for an alert, where the
/// deadline is long past.
pub(crate) fn tick(
    instance: &mut Instance,
    now: Timestamp,
    led_since: Option<Timestamp>,
    config: &Config,
    plan: &mut Plan,
) -> Option<Reason> {
    let Phase::Draining { cause, deadline, drained_at } = instance.phase else { return None };
    let id = instance.id.clone()?;
    // Seen after the fence: what was observed before it proves nothing about now.
    let in_redis = instance.jobs_after_fence();
    let is_handed_back = instance.owed.hand_back.as_ref().is_some_and(|it| it.certain && it.is_done());
    // Nobody told the agent while nobody led.
    let overdue = now > led_since.map_or(deadline, |since| deadline.max(since)) + BEYOND_DEADLINE;
    let over = match (drained_at, in_redis) {
        (Some(_), _) if is_handed_back => Some(Reason::HandedBack { cause, jobs: instance.owed.handed_back }),
        (Some(_), Some(0)) => Some(Reason::Drained { cause }),
        (None, Some(0)) if is_unreachable(instance, now, config) => Some(Reason::NoAgentNoJob { cause }),
        _ if overdue => Some(Reason::DrainOverdue { by: now.since(deadline) }),
        _ => None,
    };
    if let Some(reason) = over {
        if let Some(until) = instance.kept_until.filter(|until| now < *until) {
            plan.notes.push(Note::Kept { id, left: now.until(until) });
            return None;
        }
        if matches!(reason, Reason::Drained { .. }) {
            instance.owed.emptied = instance.agent.active_jobs == Some(0);
            instance.owed.hand_back.iter_mut().for_each(|hand_back| hand_back.ends(now));
        }
        if let Some(until) = instance.left_to_ec2_until().filter(|until| now < *until) {
            plan.notes.push(Note::LeftToEc2 { id, left: now.until(until) });
            return None;
        }
        plan.decisions.extend(terminating::begin(instance, now, config, reason.clone()));
        return matches!(reason, Reason::DrainOverdue { .. }).then_some(reason);
    }
    match (drained_at, in_redis) {
        (Some(_), Some(redis)) => plan.notes.push(Note::SourcesDisagree { id: id.clone(), redis }),
        (Some(_), None) => plan.notes.push(Note::RedisViewMissing { id: id.clone() }),
        (None, _) => plan.notes.push(Note::WaitsForDrain {
            name: instance.name().to_owned(),
            jobs: instance.agent.active_jobs,
            silent: instance.is_silent(now, config.heartbeat_timeout),
        }),
    }
    // The command may have been lost with the connection; a report made since shows it.
    let obeys = match instance.agent.phase {
        Some(AgentPhase::Drained) => instance.is_current_word(now),
        phase => phase == Some(AgentPhase::Draining),
    };
    let told_at = instance.drain_told_at.unwrap_or(instance.phase_since);
    if !obeys && instance.agent.last_report.is_some_and(|at| at > told_at + TOLD_AGAIN_AFTER) {
        instance.drain_told_at = Some(now);
        let reason = Reason::ToldAgain { cause };
        plan.decisions.push(Planned::new(Decision::Drain { id, deadline }, reason));
    }
    None
}

/// No agent can be told to drain: it never registered by the boot's deadline, or has been silent for too long.
fn is_unreachable(instance: &Instance, now: Timestamp, config: &Config) -> bool {
    if instance.agent.registered {
        // Of a worker without a name Redis shows nothing: its jobs get the whole drain.
        instance.agent.named && instance.is_silent(now, config.lost_after())
    } else {
        instance.boot_deadline.is_none_or(|deadline| now >= deadline)
    }
}
