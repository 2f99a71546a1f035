//! A second agent proved to be an instance while the session of the first lived: one of the two is a process that has
//! only got at the instance's credentials, and nobody can tell which. The instance is drained and replaced, held pool
//! or not, and its drain is not cancelled; a person is told.

use crate::config::Config;
use crate::id::InstanceId;
use crate::instance::Instance;
use crate::phase::DrainCause;
use crate::phases::draining;
use crate::plan::{AlertKind, Plan};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

pub(super) fn seen(state: &mut State, id: InstanceId) {
    let is_news = |instance: &&mut Instance| !instance.is_gone() && !instance.has_two_agents;
    let Some(instance) = state.by_id(&id).filter(is_news) else { return };
    instance.has_two_agents = true;
    // Of each instance a person is told.
    state.alerts.remove(&AlertKind::TwoAgents);
    state.raise(AlertKind::TwoAgents, Reason::TwoAgents { id });
}

pub(super) fn tick(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    let deadline = now + config.drain_timeout;
    for instance in state.instances.iter_mut().filter(|instance| instance.has_two_agents) {
        let Some(id) = instance.id.clone().filter(|_| instance.phase_kind().can_be_drained()) else { continue };
        let reason = Reason::TwoAgents { id };
        plan.decisions.extend(draining::begin(instance, now, deadline, DrainCause::TwoAgents, reason));
    }
    if !state.instances.iter().any(|instance| instance.has_two_agents && !instance.is_gone()) {
        state.alerts.remove(&AlertKind::TwoAgents);
    }
}
