//! Publishes a pool's status, for operators and for the gRPC and HTTP services.

use spillway_brain::Phase;
use spillway_pool::Entry;
use spillway_proto::v1;

use super::{PoolStatus, Reconciler};
use crate::view;

impl Reconciler {
    pub(super) fn publish(&mut self) {
        let (pool, name, now) = (&self.pool, &self.config.name, self.now());
        let plan = pool.history().last().map(|entry| record(name, entry));
        let mut view = view::pool(name, pool.controller(), &self.agents, &self.listed, pool.time(now), plan);
        if let (Some(problem), None) = (pool.ledger_problem(), pool.state().observation_problem()) {
            view.observation_problem = format!("ledger: {problem}");
        }
        self.status.send_replace(PoolStatus {
            view,
            admission: pool.admission(),
            ready: pool.state().instances().filter(|instance| matches!(instance.phase, Phase::Ready)).count(),
            queue_serving: pool.knows_queues(now),
            cloud_serving: pool.knows_instances(now),
            leading: pool.is_leader(),
            epoch: pool.epoch(),
            ticked_at: pool.ticked_at(),
            alive_at: Some(now.up),
            observation_took: self.observation_took,
        });
    }

    /// Newest first.
    pub(super) fn newest_plans(&self, limit: usize) -> Vec<v1::PlanRecord> {
        self.pool.history().newest(limit).map(|entry| record(&self.config.name, entry)).collect()
    }
}

/// An entry of the history as `explain` shows it.
fn record(pool: &str, entry: &Entry) -> v1::PlanRecord {
    let newest = view::plan(pool, &entry.plan);
    v1::PlanRecord { at: Some(view::timestamp(entry.since)), times: entry.times, ..newest }
}
