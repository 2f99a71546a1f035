//! Jobs are ready to run, an instance is ready, and still none is taken: what is ready works something else.

use std::time::Duration;

use crate::backlog::Backlog;
use crate::config::Config;
use crate::plan::AlertKind;
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// A person is told after this.
const TOLD_AFTER: Duration = Duration::from_secs(300);

/// One observation of the queues. Every one in a row must show jobs that could start, none that runs, and a ready instance.
pub(super) fn observed(state: &mut State, now: Timestamp, backlog: &Backlog, config: &Config) {
    let ready = state.instances.iter().find(|instance| instance.is_capacity()).and_then(|instance| instance.id.clone());
    let is_gap = state.backlog.as_ref().is_none_or(|(_, last)| now.since(*last) > config.longest_gap());
    let Some(id) = ready.filter(|_| backlog.demand() > 0 && backlog.active() == 0) else {
        state.nothing_taken_since = None;
        state.alerts.remove(&AlertKind::NothingTaken);
        return;
    };
    if is_gap {
        state.nothing_taken_since = None;
    }
    let span = now.since(*state.nothing_taken_since.get_or_insert(now));
    if span >= TOLD_AFTER {
        state.raise(AlertKind::NothingTaken, Reason::NothingTaken { id, demand: backlog.demand(), span });
    }
}
