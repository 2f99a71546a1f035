//! A pool's log lines: a constant message and fields.

use spillway_brain::{Decision, Planned};
use spillway_pool::Happening;

use super::Reconciler;

impl Reconciler {
    pub(super) fn log(&self, happening: Happening) {
        let pool = &self.config.name;
        match happening {
            Happening::LedgerRead { instances } => tracing::info!(pool, instances, "ledger read"),
            Happening::NoLedgerYet => tracing::info!(pool, "no ledger in Redis: starting with an empty one"),
            Happening::LedgerUnreadable { problem } => {
                tracing::error!(pool, problem, "cannot read the ledger: no scaling until this works again")
            }
            Happening::LedgerUnwritable { problem } => {
                tracing::warn!(pool, problem, "cannot write the ledger: no scaling until this works again");
            }
            Happening::Leads { epoch } => tracing::info!(pool, epoch, "became the leader"),
            Happening::LeadsNoLonger => tracing::warn!(pool, "no longer the leader"),
            Happening::QueuesUnknown { problem } => {
                tracing::warn!(pool, problem, "cannot read the queues: no scaling until this works again");
            }
            Happening::QueuesKnownAgain => tracing::info!(pool, "the queues can be read again"),
            Happening::InstancesUnknown { problem } => {
                tracing::warn!(pool, problem, "cannot list EC2's instances: no scaling until this works again");
            }
            Happening::InstancesKnownAgain => tracing::info!(pool, "EC2's instances can be listed again"),
            Happening::Rehearsed { id, notice } => {
                tracing::info!(pool, %id, ?notice, "the agent rehearses an interruption");
            }
        }
    }

    pub(super) fn log_decision(&self, planned: &Planned) {
        let (pool, reason) = (&self.config.name, planned.reason.to_string());
        let (kind, subject) = (planned.decision.kind(), planned.decision.subject());
        match &planned.decision {
            Decision::Alert { .. } => tracing::error!(pool, reason, "alert"),
            _ => tracing::info!(pool, subject, reason, "{kind}"),
        }
    }
}
