//! Counts the instances that end without notice, or are drained because they take no job, soon after they became ready,
//! and those that last.

use crate::config::Config;
use crate::early_ends::{EARLY, EarlyEnds};
use crate::phase::{DrainCause, Phase, PhaseKind};
use crate::plan::AlertKind;
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// Instances that are tried: starting, or ready for less than [`EARLY`].
pub(crate) fn on_trial(state: &State, now: Timestamp) -> u32 {
    let tried = state.instances.iter().filter(|it| it.phase_kind() == PhaseKind::Ready && !it.is_settled).count();
    state.counts(now).on_the_way.saturating_add(u32::try_from(tried).unwrap_or(u32::MAX))
}

/// Counts those that ended, and those that lasted.
pub(crate) fn tick(state: &mut State, now: Timestamp, config: &Config) {
    if state.early_ends.is_over(now) {
        end_row(state);
    }
    let (mut ended, mut has_lasted) = (Vec::new(), false);
    for instance in state.instances.iter_mut().filter(|instance| !instance.is_settled) {
        let Some(ready_at) = instance.ready_at else { continue };
        // By its end as it was seen: lists may be late.
        let age = instance.ended_suddenly_at.unwrap_or(now).since(ready_at);
        let is_ready = instance.phase_kind() == PhaseKind::Ready;
        // The next of the same image may be no better.
        let takes_no_job = matches!(instance.phase, Phase::Draining { cause: DrainCause::TakesNoJob, .. });
        if age >= EARLY && is_ready {
            instance.is_settled = true;
            // One that had lasted before the row's last end says nothing about what has ended them since.
            has_lasted |= state.early_ends.last_at().is_none_or(|last| ready_at + EARLY > last);
        } else if instance.ended_suddenly_at.is_some() || takes_no_job {
            instance.is_settled = true;
            ended.extend((age < EARLY).then_some(instance.planned_at));
        }
    }
    if has_lasted {
        end_row(state);
    }
    let mut opens = false;
    for launched_at in ended {
        opens |= state.early_ends.ended(now, launched_at, config);
    }
    if let Some(until) = state.early_ends.open_until().filter(|_| opens) {
        // Said again each time it opens, since the wait is another one.
        state.alerts.remove(&AlertKind::EarlyEnds);
        let (ends, wait) = (state.early_ends.count(), until.since(now));
        state.raise(AlertKind::EarlyEnds, Reason::EarlyEnds { ends, wait });
    }
}

/// A person has fixed it, or the row is over.
pub(crate) fn end_row(state: &mut State) {
    state.early_ends = EarlyEnds::default();
    state.alerts.remove(&AlertKind::EarlyEnds);
}
