//! Booting: EC2 accepted the launch, the worker is not proven ready yet. The agent's report that the boot failed, or
//! the deadline, ends it: an instance that never worked is never capacity and does not block its replacement. Where the
//! agent drains by itself, that is no failed boot.
//!
//! It becomes Ready when its agent reports a proven worker, and Draining otherwise; failed boots in a row open the
//! breaker.

use std::time::Duration;

use super::draining;
use crate::breaker::FailedBoot;
use crate::config::Config;
use crate::event::AgentPhase;
use crate::id::InstanceId;
use crate::instance::Instance;
use crate::phase::{DrainCause, Phase};
use crate::plan::{AlertKind, Plan};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// EC2 accepted the launch, or lists it: the boot deadline runs from here.
pub(crate) fn begin(instance: &mut Instance, now: Timestamp, id: InstanceId, config: &Config, reason: &str) {
    instance.id = Some(id);
    instance.accepted_at = Some(now);
    instance.problem = None;
    // Of one that was gone: it may have been rebooted since, and works again.
    instance.agent.phase = None;
    (instance.kept_until, instance.agent.worker_log) = (None, None);
    (instance.ended_for, instance.terminated_for, instance.ec2.took_back) = (None, None, false);
    (instance.owed.emptied, instance.owed.hand_back) = (false, None);
    (instance.ended_suddenly_at, instance.is_settled) = (None, false);
    // Its drain for it was of before.
    instance.ec2.scheduled.iter_mut().for_each(|event| event.answered = false);
    instance.must_prove_itself(now, now + config.boot_timeout, reason);
}

/// Its agent reported: a worker that is proven to process jobs makes it Ready.
pub(crate) fn reported(state: &mut State, now: Timestamp, id: &InstanceId) {
    let Some(instance) = state.by_id(id) else { return };
    if instance.agent.phase == Some(AgentPhase::Ready) && instance.agent.proven {
        instance.enter(now, Phase::Ready, "its worker is ready to process jobs");
        let is_first = instance.ready_at.is_none();
        instance.ready_at.get_or_insert(now);
        instance.agent.worker_log = None;
        let took = (is_first && !instance.adopted).then(|| now.since(instance.planned_at));
        if let Some(image) = instance.ec2.image.clone().filter(|_| is_first) {
            state.proven_images.became_ready(image);
        }
        took.into_iter().for_each(|took| state.measures.booted(took));
        state.breaker.succeeded();
        state.alerts.remove(&AlertKind::BootsFail);
    }
}

/// Nobody could prove anything while the queues were not seen: that time does not count against a boot, but for what
/// was before it. A ledger that was put back says that they were seen long ago.
pub(crate) fn prolong(instance: &mut Instance, now: Timestamp, blind: Duration) {
    let booted_for = now.since(instance.phase_since);
    if let Phase::Booting { deadline } = &mut instance.phase {
        *deadline = *deadline + blind.min(booted_for);
        instance.boot_deadline = Some(*deadline);
    }
}

/// This coordinator did not hear its agent for a while, in which it may have become ready: before its boot is judged,
/// the agent has the time to come back.
pub(crate) fn wait_for_agent(instance: &mut Instance, now: Timestamp, config: &Config) {
    if let Phase::Booting { deadline } = &mut instance.phase {
        *deadline = (*deadline).max(now + config.heartbeat_timeout);
        instance.boot_deadline = Some(*deadline);
    }
}

/// Its agent had no leader to register with: it has a boot's time from now.
pub(crate) fn begin_deadline_anew(instance: &mut Instance, now: Timestamp, config: &Config) {
    if instance.boot_deadline.is_none() {
        return;
    }
    let from_now = now + config.boot_timeout;
    instance.boot_deadline = Some(from_now);
    if let Phase::Booting { deadline } = &mut instance.phase {
        *deadline = from_now;
    }
}

/// True when the boot failed now.
pub(crate) fn tick(instance: &mut Instance, now: Timestamp, config: &Config, plan: &mut Plan) -> bool {
    let Phase::Booting { deadline } = instance.phase else { return false };
    // Not where that report may have been sent before a cancellation reached the agent.
    if matches!(instance.agent.phase, Some(AgentPhase::Draining | AgentPhase::Drained)) && instance.is_current_word(now)
    {
        let reason = Reason::AgentDrains { detail: instance.problem.clone() };
        plan.decisions.extend(draining::begin(instance, now, now + config.drain_timeout, DrainCause::Agent, reason));
        return false;
    }
    let reason = if instance.agent.phase == Some(AgentPhase::Failed) {
        Reason::BootFailed { detail: instance.problem.clone() }
    } else if now >= deadline {
        let after = now.since(instance.accepted_at.unwrap_or(instance.phase_since));
        let problem = || instance.problem.clone().unwrap_or_else(|| "its worker did not become ready".to_owned());
        let detail = instance.agent.registered.then(problem);
        Reason::BootDeadline { after, detail }
    } else {
        return false;
    };
    plan.decisions.extend(draining::begin(instance, now, now + config.drain_timeout, DrainCause::BootFailed, reason));
    count_once(instance)
}

/// True the first time: an instance counts as one failed boot, also when a drain was cancelled in between.
pub(crate) fn count_once(instance: &mut Instance) -> bool {
    !std::mem::replace(&mut instance.boot_failed, true)
}

/// Of the boots that failed now, one is kept for a person to look at, unless another still is.
pub(crate) fn keep_one(state: &mut State, now: Timestamp, config: &Config) {
    if config.keep_failed_boots.is_zero() || state.instances.iter().any(|instance| instance.is_kept(now)) {
        return;
    }
    let has_failed = |it: &&mut Instance| {
        matches!(it.phase, Phase::Draining { cause: DrainCause::BootFailed, .. }) && it.phase_since == now
    };
    if let Some(instance) = state.instances.iter_mut().filter(|it| it.ec2.interrupted_at.is_none()).find(has_failed) {
        instance.kept_until = Some(now + config.keep_failed_boots);
    }
}

/// These boots failed: `boot_failures` in a row open the breaker, and a person is alerted.
pub(crate) fn count_failures(state: &mut State, now: Timestamp, boots: Vec<FailedBoot>, config: &Config) {
    let mut opens = false;
    for boot in boots {
        opens |= state.breaker.failed(now, boot, config.boot_failures, config.breaker_backoff);
    }
    if opens {
        let until = state.breaker.open_until.unwrap_or(now);
        // Said again each time it opens, since the wait is another one.
        state.alerts.remove(&AlertKind::BootsFail);
        let failures = state.breaker.failures;
        let never_ran = state.never_ran();
        let reason = Reason::BreakerOpened { failures, until, wait: until.since(now), never_ran };
        state.raise(AlertKind::BootsFail, reason);
    }
}
