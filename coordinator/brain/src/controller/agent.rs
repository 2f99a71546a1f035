//! What an agent says: kept as it was said, then handed to the phase that its instance is in.

use super::leadership;
use crate::config::Config;
use crate::event::{AgentPhase, Report};
use crate::id::InstanceId;
use crate::phase::PhaseKind;
use crate::phases::{booting, draining, launching, ready};
use crate::scheduled;
use crate::state::State;
use crate::time::Timestamp;

pub(super) fn registered(state: &mut State, now: Timestamp, id: &InstanceId) {
    if let Some(instance) = state.by_id(id) {
        let launched_at = Some(instance.planned_at).filter(|_| !instance.adopted);
        instance.agent.registered = true;
        instance.agent.last_report = Some(now);
        instance.agent.jobless_since = None;
        // A session goes on without it: this agent knows nothing of before, as after a reboot.
        leadership::expect_to_hear_again(instance);
        launched_at.into_iter().for_each(|at| launching::got_through(state, at));
    }
}

pub(super) fn reported(state: &mut State, now: Timestamp, report: Report, config: &Config) {
    if let Some(slots) = report.slots.filter(|_| report.proven && state.instance(&report.id).is_some()) {
        state.measures.told_slots(slots);
    }
    let Some(instance) = state.by_id(&report.id) else { return };
    instance.agent.registered = true;
    // What it did in a silence is not known.
    let was_heard = !instance.is_silent(now, config.heartbeat_timeout);
    let jobless_since = instance.agent.jobless_since.filter(|_| was_heard).unwrap_or(now);
    instance.agent.jobless_since = (report.active_jobs == Some(0)).then_some(jobless_since);
    instance.agent.last_report = Some(now);
    instance.agent.phase = Some(report.phase);
    // An agent that restarted may have started its worker again.
    instance.owed.emptied &= report.phase == AgentPhase::Drained;
    if !matches!(report.phase, AgentPhase::Draining | AgentPhase::Drained) {
        instance.cancelled_at = None;
    }
    instance.agent.proven = report.proven;
    instance.agent.named |= report.named;
    instance.agent.active_jobs = report.active_jobs;
    instance.agent.is_rate_limited = report.is_rate_limited;
    instance.agent.limiter_max = report.limiter_max;
    instance.problem = report.problem;
    scheduled::told(&mut instance.ec2.scheduled, now, report.schedule);
    if instance.boot_failed || instance.phase_kind() == PhaseKind::Booting {
        instance.agent.worker_log = report.worker_log.or(instance.agent.worker_log.take());
    }
    match instance.phase_kind() {
        PhaseKind::Booting => booting::reported(state, now, &report.id),
        PhaseKind::Ready => ready::reported(instance, now, config),
        PhaseKind::Draining => draining::reported(instance, now),
        PhaseKind::Launching | PhaseKind::Terminating | PhaseKind::Gone => {}
    }
}

/// The agent reports its worker stopped. Repeated when it reconnects; a heartbeat may have said so before.
pub(super) fn drained(state: &mut State, now: Timestamp, id: &InstanceId, jobs_left: Option<u32>, handed_back: u32) {
    let Some(instance) = state.by_id(id) else { return };
    let more = handed_back.saturating_sub(instance.owed.handed_back_by_agent);
    instance.owed.handed_back_by_agent += more;
    draining::drained(instance, now, jobs_left);
    state.handed_back_total += u64::from(more);
}
