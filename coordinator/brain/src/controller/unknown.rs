//! What is unknown, and that it has a bound: after a while a person is told, and after as long again instances that say
//! by themselves that they hold no job may go. Nothing else is decided meanwhile (invariant 3).
//!
//! A queue that was there and is no more is not unknown: it was obliterated, and is empty. One that nobody has ever
//! seen may be a misspelt name.

use std::time::Duration;

use crate::backlog::Backlog;
use crate::config::Config;
use crate::event::AgentPhase;
use crate::instance::Instance;
use crate::note::Note;
use crate::phase::{DrainCause, Phase};
use crate::phases::{draining, terminating};
use crate::plan::{AlertKind, Plan};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// What cannot be seen now, each in words.
#[derive(Debug, Default)]
pub(super) struct Unknown {
    queues: Option<Note>,
    instances: Option<Note>,
}

impl Unknown {
    pub(super) fn now(state: &State, now: Timestamp, config: &Config) -> Self {
        let queues = match (&state.observation_problem, &state.backlog) {
            (Some(detail), _) => Some(Note::ObservationFailed { detail: detail.clone() }),
            (None, None) => Some(Note::NotObservedYet),
            (None, Some((_, at))) => {
                let age = now.since(*at);
                (age > config.longest_gap()).then_some(Note::ObservationStale { age })
            }
        };
        let instances = match (&state.listing_problem, state.listed_at) {
            (Some(detail), _) => Some(Note::ListingFailed { detail: detail.clone() }),
            (None, None) => Some(Note::NotListedYet),
            (None, Some(at)) => {
                let age = now.since(at);
                (age > config.longest_listing_age()).then_some(Note::ListingStale { age })
            }
        };
        Unknown { queues, instances }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.queues.is_none() && self.instances.is_none()
    }

    /// What has not been seen for so long that what was seen last is out of date.
    pub(super) fn for_too_long(&self, state: &State, now: Timestamp, config: &Config) -> Option<&Note> {
        let is_old = |last, most| span_since(state, now, last) > most;
        let queues = is_old(state.backlog.as_ref().map(|(_, at)| *at), config.longest_gap());
        let instances = is_old(state.listed_at, config.longest_listing_age());
        let queues = self.queues.as_ref().filter(|_| queues);
        queues.or_else(|| self.instances.as_ref().filter(|_| instances))
    }

    pub(super) fn notes(&self) -> impl Iterator<Item = Note> {
        self.queues.iter().chain(&self.instances).cloned()
    }
}

/// One observation of the queues: what is missing is empty where it was there before. The words of the first queue that
/// is not.
pub(super) fn missing(state: &mut State, backlog: &Backlog) -> Option<String> {
    let (mut gone, mut never_seen) = (None, None);
    for queue in &backlog.queues {
        match &queue.missing {
            None if state.seen_queues.contains(&queue.queue) => {}
            None => drop(state.seen_queues.insert(queue.queue.clone())),
            Some(_) if state.seen_queues.contains(&queue.queue) => {
                gone.get_or_insert(Reason::QueueGone { queue: queue.queue.clone() });
            }
            Some(detail) => never_seen = never_seen.or_else(|| Some(detail.clone())),
        }
    }
    match gone {
        Some(reason) => state.raise(AlertKind::QueueGone, reason),
        None => drop(state.alerts.remove(&AlertKind::QueueGone)),
    }
    never_seen
}

/// Only called while something is unknown.
pub(super) fn tick(state: &mut State, now: Timestamp, config: &Config, unknown: &Unknown, plan: &mut Plan) {
    let bound = config.unknown_bound();
    let queues_for = span_since(state, now, state.backlog.as_ref().map(|(_, at)| *at));
    let instances_for = span_since(state, now, state.listed_at);
    if let Some(note) = unknown.queues.as_ref().filter(|_| queues_for >= bound) {
        state.raise(AlertKind::QueuesUnknown, Reason::QueuesUnknown { span: queues_for, detail: why(note) });
    }
    match &unknown.instances {
        Some(note) if instances_for >= bound => {
            let reason = Reason::InstancesUnknown { span: instances_for, detail: why(note) };
            state.raise(AlertKind::InstancesUnknown, reason);
        }
        Some(_) => {}
        None => each_instance(state, now, config, queues_for, plan),
    }
}

/// How long it was not looked at. That nobody looked while nobody led is not held against anybody.
fn span_since(state: &State, now: Timestamp, last: Option<Timestamp>) -> Duration {
    let since = last.max(state.led_since);
    since.map_or(Duration::ZERO, |since| now.since(since))
}

fn why(note: &Note) -> String {
    match note {
        Note::ObservationFailed { detail } | Note::ListingFailed { detail } => detail.clone(),
        other => other.to_string(),
    }
}

/// All is seen again, or what of it is.
pub(super) fn clear(state: &mut State, unknown: &Unknown) {
    if unknown.queues.is_none() {
        state.alerts.remove(&AlertKind::QueuesUnknown);
    }
    if unknown.instances.is_none() {
        state.alerts.remove(&AlertKind::InstancesUnknown);
    }
}

/// EC2 is seen, and the queues have been unknown for `span`.
fn each_instance(state: &mut State, now: Timestamp, config: &Config, span: Duration, plan: &mut Plan) {
    let is_over = span >= config.unknown_bound() * 2;
    // A hold keeps what is there; what drains goes on.
    let may_begin = is_over && state.hold.is_none();
    let mut refused = Vec::new();
    for instance in &mut state.instances {
        match instance.phase {
            // That was decided while all was known.
            Phase::Terminating { .. } => refused.extend(terminating::tick(instance, now, config, plan)),
            Phase::Booting { .. } | Phase::Ready if may_begin => {
                let Some(jobless) = jobless_for(instance, now, config) else { continue };
                let deadline = now + config.drain_timeout;
                let reason = Reason::NoJobByItsAgent { span, jobless };
                plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::QueuesUnknown, reason));
            }
            // Not in the tick that began the drain.
            Phase::Draining { cause, drained_at: Some(at), .. }
                if is_over && at < now && is_stopped(instance, cause) && !is_kept_back(instance, now) =>
            {
                let reason = Reason::StoppedUnseen { cause };
                plan.decisions.extend(terminating::begin(instance, now, config, reason));
            }
            _ => {}
        }
    }
    for reason in refused {
        state.raise(AlertKind::NotTerminated, reason);
    }
}

/// EC2 is about to end it, and will not bill it; or a person is to look at it.
fn is_kept_back(instance: &Instance, now: Timestamp) -> bool {
    instance.left_to_ec2_until().is_some_and(|until| now < until) || instance.is_kept(now)
}

/// For how long its agent, which is there, has said that the worker holds no job; None where that is shorter than
/// idleness takes.
fn jobless_for(instance: &Instance, now: Timestamp, config: &Config) -> Option<Duration> {
    let span = now.since(instance.agent.jobless_since?);
    (span >= config.policy.idle && !instance.is_silent(now, config.heartbeat_timeout)).then_some(span)
}

/// Its agent says that the worker is stopped and held no job; or cannot ask Redis how many, of a worker that held none
/// when it was told to drain. A hand-back stays owed: what it may have held all the same goes back once Redis answers.
fn is_stopped(instance: &Instance, cause: DrainCause) -> bool {
    let jobs = instance.agent.active_jobs;
    let held_none = jobs == Some(0) || (jobs.is_none() && cause == DrainCause::QueuesUnknown);
    held_none && instance.agent.phase == Some(AgentPhase::Drained)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backlog::QueueBacklog;

    #[test]
    fn a_queue_is_seen_beside_one_that_never_was_and_may_be_gone_later() {
        let mut state = State::new("t");
        let queue = |name: &str, is_missing: bool| QueueBacklog {
            queue: name.to_owned(),
            missing: is_missing.then(|| format!("{name} has never existed")),
            ..QueueBacklog::default()
        };
        let mut observe = |queues: Vec<QueueBacklog>| {
            let never_seen = missing(&mut state, &Backlog { queues });
            (never_seen, state.alerts.contains(&AlertKind::QueueGone))
        };
        let never = Some("a has never existed".to_owned());
        assert_eq!(observe(vec![queue("a", true), queue("b", false)]), (never.clone(), false));
        assert_eq!(observe(vec![queue("a", true), queue("b", true)]), (never, true));
        assert_eq!(observe(vec![queue("a", false), queue("b", true)]), (None, true));
        assert_eq!(observe(vec![queue("a", false), queue("b", false)]), (None, false));
    }
}
