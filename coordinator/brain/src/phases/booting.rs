//! Booting: EC2 has it, its worker has not proved itself. The agent's word that the boot failed, or the deadline, ends
//! it: a box that never worked is never counted and does not block its replacement. One whose agent drains it is no boot.

use super::draining;
use crate::Timestamp;
use crate::config::Config;
use crate::decision::{Plan, Reason};
use crate::event::AgentPhase;
use crate::instance::{DrainCause, Instance, Phase};

/// True when the boot failed now.
pub(super) fn tick(instance: &mut Instance, now: Timestamp, config: &Config, plan: &mut Plan) -> bool {
    let Phase::Booting { deadline } = instance.phase else { return false };
    // Not where the word may have crossed a cancellation.
    if matches!(instance.agent_phase, Some(AgentPhase::Draining | AgentPhase::Drained)) && instance.is_news(now) {
        let reason = Reason::AgentDrains { detail: instance.problem.clone() };
        plan.decisions.extend(draining::begin(instance, now, now + config.drain_timeout, DrainCause::Agent, reason));
        return false;
    }
    let reason = if instance.agent_phase == Some(AgentPhase::Failed) {
        Reason::BootFailed { detail: instance.problem.clone() }
    } else if now >= deadline {
        let after = now.since(instance.accepted_at.unwrap_or(instance.phase_since));
        let detail = match (instance.registered, instance.problem.as_str()) {
            (false, _) => String::new(),
            (true, "") => "its worker did not prove itself".to_owned(),
            (true, problem) => problem.to_owned(),
        };
        Reason::BootDeadline { after, detail }
    } else {
        return false;
    };
    plan.decisions.extend(draining::begin(instance, now, now + config.drain_timeout, DrainCause::BootFailed, reason));
    // One box fails once, also when a drain was cancelled in between.
    !std::mem::replace(&mut instance.boot_failed, true)
}
