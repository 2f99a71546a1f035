//! Ready: capacity. A silent agent is unknown, not gone: the instance goes on counting until the agent has been silent
//! for long *and* Redis shows no job there.

use super::draining;
use crate::Timestamp;
use crate::config::Config;
use crate::decision::{Note, Plan, Reason};
use crate::instance::{DrainCause, Instance};

pub(super) fn tick(instance: &mut Instance, now: Timestamp, config: &Config, plan: &mut Plan) {
    if !instance.is_silent(now, config.heartbeat_timeout) {
        return;
    }
    let silent = now.since(instance.last_report.unwrap_or(instance.phase_since));
    // Of a worker without a name Redis shows nothing, whatever it runs.
    let no_job = instance.named
        && instance.jobs_in_redis.is_some_and(|(jobs, at)| jobs == 0 && now.since(at) <= config.longest_gap());
    if silent > config.lost_after() && no_job {
        let reason = Reason::AgentLost { silent };
        let deadline = now + config.drain_timeout;
        plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::AgentLost, reason));
    } else if let Some(id) = instance.id.clone() {
        plan.notes.push(Note::AgentSilent { id, silent });
    }
}
