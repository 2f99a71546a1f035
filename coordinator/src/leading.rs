//! Who leads which pool: each pool has a lease of its own, so that several coordinators with different pools share one ledger.

use tokio::sync::watch;

use spillway_pool::lease::RENEWED_EACH;

use crate::ledger::{Lease, LeaseChange};
use crate::reconcile::{Message, PoolHandle};

/// Known once it is settled which installation this is.
pub(crate) type Known = watch::Receiver<Option<String>>;
/// Ends when the leases are to be released.
pub(crate) type Released = watch::Receiver<()>;

/// Waits until it is known which installation this is, and tells the pool. False: the process ends before that.
pub(crate) async fn identified(pool: &PoolHandle, mut known: Known, mut released: Released) -> bool {
    let installation = tokio::select! {
        known = known.wait_for(Option::is_some) => known.ok().and_then(|known| known.clone()),
        _ = released.changed() => None,
    };
    let Some(installation) = installation else { return false };
    pool.messages.send(Message::Identified(installation)).await.is_ok()
}

/// Renews the lease and tells the pool whether it is led here, until `released` ends; then releases it. Nothing is led before it
/// is known whose instances are ours.
pub(crate) async fn hold(
    mut lease: Lease,
    pool: PoolHandle,
    leader: watch::Sender<Option<String>>,
    known: Known,
    mut released: Released,
) {
    if !identified(&pool, known, released.clone()).await {
        return;
    }
    let mut holding = Holding::default();
    let mut interval = tokio::time::interval(RENEWED_EACH);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = released.changed() => break,
        }
        holding.renew(&mut lease, &pool, &leader).await;
    }
    lease.release().await;
}

/// What was last seen of a lease.
#[derive(Debug)]
pub(crate) struct Holding {
    was_reachable: bool,
}

impl Default for Holding {
    fn default() -> Self {
        Holding { was_reachable: true }
    }
}

impl Holding {
    /// Takes or renews the lease once; what changed.
    pub(crate) async fn renew(
        &mut self,
        lease: &mut Lease,
        pool: &PoolHandle,
        leader: &watch::Sender<Option<String>>,
    ) -> LeaseChange {
        let (change, problem) = lease.renew().await;
        if let (Some(problem), true) = (&problem, self.was_reachable) {
            tracing::warn!(pool = pool.name, %problem, "cannot renew the leader lease: retrying");
        }
        self.was_reachable = problem.is_none();
        leader.send_replace(lease.leader_address());
        let message = match change {
            LeaseChange::Gained { epoch } => Message::Lead { epoch },
            LeaseChange::Lost => Message::StandBy,
            LeaseChange::Unchanged => return change,
        };
        let _ = pool.messages.send(message).await;
        change
    }
}
