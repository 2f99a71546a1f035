//! Ready: capacity. An agent that sends no heartbeat is unknown, not gone: its instance remains capacity until that has
//! lasted for long *and* Redis shows no job there.
//!
//! It becomes Booting when its worker loses its proof, and Draining when its agent is lost (or by scale-in, a notice, a
//! recommendation, an operator).

use super::draining;
use crate::config::Config;
use crate::event::AgentPhase;
use crate::instance::Instance;
use crate::note::Note;
use crate::phase::DrainCause;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::time::Timestamp;

/// Its agent reported. Where the proof was lost it is no capacity until it proves itself again, by a deadline.
pub(crate) fn reported(instance: &mut Instance, now: Timestamp, config: &Config) {
    if instance.agent.phase != Some(AgentPhase::Ready) {
        let reason = match &instance.problem {
            None => "its worker is no longer ready".to_owned(),
            Some(problem) => format!("its worker is no longer ready: {problem}"),
        };
        instance.must_prove_itself(now, now + config.boot_timeout, reason);
    }
}

pub(crate) fn tick(instance: &mut Instance, now: Timestamp, config: &Config, plan: &mut Plan) {
    if !instance.is_silent(now, config.heartbeat_timeout) {
        return;
    }
    let silent = now.since(instance.agent.last_report.unwrap_or(instance.phase_since));
    // Of a worker without a name Redis shows nothing, whatever it runs.
    let no_job = instance.agent.named
        && instance.jobs_in_redis.is_some_and(|(jobs, at)| jobs == 0 && now.since(at) <= config.longest_gap());
    if silent > config.lost_after() && no_job {
        let reason = Reason::AgentLost { silent };
        let deadline = now + config.drain_timeout;
        plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::AgentLost, reason));
    } else if let Some(id) = instance.id.clone() {
        plan.notes.push(Note::AgentSilent { id, silent });
    }
}
