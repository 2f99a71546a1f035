//! The plan as somebody would write it in a script: each minute the queue is read, and when it has been empty for ten
//! minutes all instances are terminated, whatever they run.

use super::Acts;
use crate::world::{Action, World};

const MINUTE: u64 = 60_000;
/// So many waiting jobs for five minutes, and so many instances for it.
const THRESHOLDS: [(usize, u32); 2] = [(5, 1), (15, 2)];

#[derive(Debug, Default)]
pub(super) struct Cron {
    met_since: [Option<u64>; THRESHOLDS.len()],
    empty_since: Option<u64>,
}

impl Acts for Cron {
    fn interval(&self) -> u64 {
        MINUTE
    }

    fn look(&mut self, world: &World<'_>) -> Vec<Action> {
        let (waiting, now) = (world.queue.len(), world.now);
        let since = |holds: bool, since: Option<u64>| holds.then(|| since.unwrap_or(now));
        self.empty_since = since(waiting == 0, self.empty_since);
        let mut desired = 0;
        for (met_since, (jobs, instances)) in self.met_since.iter_mut().zip(THRESHOLDS) {
            *met_since = since(waiting >= jobs, *met_since);
            if met_since.is_some_and(|since| now - since >= 5 * MINUTE) {
                desired = instances;
            }
        }
        if self.empty_since.is_some_and(|since| now - since >= 10 * MINUTE) {
            return world.live.iter().map(|worker| Action::Terminate(*worker)).collect();
        }
        let live = world.live.len();
        let missing = (desired.min(world.model.max_instances) as usize).saturating_sub(live);
        vec![Action::Launch; missing]
    }
}
