//! Draining: fenced. Terminated only when two sources agree that no job is left (invariant 4): the agent, by its word
//! that the worker is stopped, and Redis, by an observation made after that. What Redis still shows then is handed back
//! (`handing_back`), which ends with Redis' word too.

use std::time::Duration;

use super::{planned, terminating};
use crate::Timestamp;
use crate::config::Config;
use crate::decision::{Decision, Note, Plan, Planned, Reason};
use crate::event::AgentPhase;
use crate::instance::{DrainCause, Instance, Phase};

/// An agent that goes on working so long after it was told to drain is told again.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// What an agent may need beyond the deadline, to stop the worker and to say so.
const BEYOND_DEADLINE: Duration = Duration::from_secs(120);

/// Begins a drain; the decision that tells the agent, where there is one to be told.
pub(crate) fn begin(
    instance: &mut Instance,
    now: Timestamp,
    deadline: Timestamp,
    cause: DrainCause,
    reason: Reason,
) -> Option<Planned> {
    let id = instance.id.clone()?;
    let is_drained = instance.agent_phase == Some(AgentPhase::Drained) && instance.is_news(now);
    let drained_at = is_drained.then_some(now);
    instance.enter(now, Phase::Draining { cause, deadline, drained_at }, reason.to_string());
    instance.drain_told_at = Some(now);
    // An earlier drain's speaks for what it held then.
    instance.hand_back = None;
    Some(planned(Decision::Drain { id, deadline }, reason))
}

/// Takes a drain back, unless EC2 takes the instance or its worker is stopped already. It must prove itself again.
pub(crate) fn cancel(instance: &mut Instance, now: Timestamp, config: &Config, reason: Reason) -> Option<Planned> {
    let id = instance.id.clone()?;
    if !instance.drain_can_be_cancelled() {
        return None;
    }
    let deadline = now + config.boot_timeout;
    instance.boot_deadline = Some(deadline);
    instance.enter(now, Phase::Booting { deadline }, reason.to_string());
    instance.cancelled_at = Some(now);
    Some(planned(Decision::CancelDrain { id }, reason))
}

/// The reason for an alert, when the deadline is long past.
pub(super) fn tick(
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
    let is_handed_back = instance.hand_back.as_ref().is_some_and(|it| it.certain && it.is_done());
    // Nobody told the agent while nobody led.
    let overdue = now > led_since.map_or(deadline, |since| deadline.max(since)) + BEYOND_DEADLINE;
    match (drained_at, in_redis) {
        (Some(_), Some(0)) if !is_handed_back => {
            instance.emptied = instance.active_jobs == Some(0);
            instance.hand_back.iter_mut().for_each(|hand_back| hand_back.ends(now));
            plan.decisions.extend(terminating::begin(instance, now, config, Reason::Drained { cause }));
            return None;
        }
        (Some(_), _) if is_handed_back => {
            let reason = Reason::HandedBack { cause, jobs: instance.handed_back };
            plan.decisions.extend(terminating::begin(instance, now, config, reason));
            return None;
        }
        (None, Some(0)) if is_unreachable(instance, now, config) => {
            plan.decisions.extend(terminating::begin(instance, now, config, Reason::NoAgentNoJob { cause }));
            return None;
        }
        _ if overdue => {
            let reason = Reason::DrainOverdue { by: now.since(deadline) };
            plan.decisions.extend(terminating::begin(instance, now, config, reason.clone()));
            return Some(reason);
        }
        (Some(_), Some(redis)) => plan.notes.push(Note::SourcesDisagree { id: id.clone(), redis }),
        (Some(_), None) => plan.notes.push(Note::RedisViewMissing { id: id.clone() }),
        (None, _) => plan.notes.push(Note::WaitsForDrain {
            name: instance.name().to_owned(),
            jobs: instance.active_jobs,
            silent: instance.is_silent(now, config.heartbeat_timeout),
        }),
    }
    // The command may have been lost with the connection; a report made since shows it.
    let obeys = match instance.agent_phase {
        Some(AgentPhase::Drained) => instance.is_news(now),
        phase => phase == Some(AgentPhase::Draining),
    };
    let told_at = instance.drain_told_at.unwrap_or(instance.phase_since);
    if !obeys && instance.last_report.is_some_and(|at| at > told_at + TOLD_AGAIN_AFTER) {
        instance.drain_told_at = Some(now);
        let reason = Reason::ToldAgain { cause };
        plan.decisions.push(planned(Decision::Drain { id, deadline }, reason));
    }
    None
}

/// Nobody can be told to fence: the agent never registered by the boot's deadline, or has been silent for too long.
fn is_unreachable(instance: &Instance, now: Timestamp, config: &Config) -> bool {
    if instance.registered {
        // Of a worker without a name Redis shows nothing: its jobs get the whole drain.
        instance.named && instance.is_silent(now, config.lost_after())
    } else {
        instance.boot_deadline.is_none_or(|deadline| now >= deadline)
    }
}
