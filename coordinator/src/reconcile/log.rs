//! What happens to a pool, in the log's words.

use spillway_brain::{Decision, Planned};
use spillway_pool::Happening;

use super::Reconciler;

impl Reconciler {
    pub(super) fn log(&self, happening: Happening) {
        let pool = &self.config.name;
        match happening {
            Happening::LedgerRead { instances } => tracing::info!(pool, instances, "ledger read"),
            Happening::NoLedgerYet => tracing::info!(pool, "no ledger yet: a new one begins"),
            Happening::LedgerUnreadable { problem } => tracing::error!(pool, problem, "cannot read the ledger"),
            Happening::LedgerUnwritable { problem } => {
                tracing::warn!(pool, problem, "cannot write the ledger: nothing is done meanwhile");
            }
            Happening::Leads { epoch } => tracing::info!(pool, epoch, "leading"),
            Happening::LeadsNoLonger => tracing::warn!(pool, "no longer the leader"),
            Happening::QueuesUnknown { problem } => {
                tracing::warn!(pool, problem, "the queues cannot be observed: everything holds");
            }
            Happening::QueuesKnownAgain => tracing::info!(pool, "the queues are observed again"),
            Happening::InstancesUnknown { problem } => {
                tracing::warn!(pool, refused = problem, "EC2's instances cannot be listed: everything holds");
            }
            Happening::InstancesKnownAgain => tracing::info!(pool, "EC2's instances are listed again"),
            Happening::Rehearsed { id, notice } => {
                tracing::info!(pool, %id, ?notice, "an interruption is rehearsed");
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
