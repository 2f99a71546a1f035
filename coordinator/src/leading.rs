//! Who leads which pool: each pool has a lease of its own, so that several coordinators with different pools share one
//! ledger.

use spillway_attention::Led;
use spillway_pool::lease::RENEWED_EACH;
use tokio::sync::watch;

use crate::clock;
use crate::ledger::{Lease, LeaseChange, LedgerProblem};
use crate::reconcile::{Message, PoolHandle};

/// Known once it is settled which installation this is.
pub(crate) type Known = watch::Receiver<Option<String>>;
/// Ends when the leases are to be released.
pub(crate) type Released = watch::Receiver<()>;

/// Who leads a pool, for its handle.
#[derive(Debug)]
pub(crate) struct Leader {
    pub address: watch::Sender<Option<String>>,
    pub led: watch::Sender<Led>,
}

impl Leader {
    fn saw(&self, lease: &Lease) {
        self.address.send_replace(lease.leader_address());
        let now = match lease.led_here() {
            Some(true) => Led::Here,
            Some(false) => Led::Elsewhere,
            None => match *self.led.borrow() {
                before @ Led::Unknown { .. } => before,
                _ => Led::Unknown { since: clock::now() },
            },
        };
        self.led.send_replace(now);
    }
}

/// Waits until it is known which installation this is, and tells the pool. False: the process ends before that.
pub(crate) async fn identified(pool: &PoolHandle, mut known: Known, mut released: Released) -> bool {
    let installation = tokio::select! {
        known = known.wait_for(Option::is_some) => known.ok().and_then(|known| known.clone()),
        _ = released.changed() => None,
    };
    let Some(installation) = installation else { return false };
    pool.messages.send(Message::Identified(installation)).await.is_ok()
}

/// Renews the lease and tells the pool whether it is led here, until `released` ends; then releases it. Nothing is led
/// before it is known whose instances are ours.
pub(crate) async fn hold(mut lease: Lease, pool: PoolHandle, leader: Leader, known: Known, mut released: Released) {
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
    /// Why this version does not read the pool's ledger, as the pool was told.
    refused: Option<String>,
}

impl Default for Holding {
    fn default() -> Self {
        Holding { was_reachable: true, refused: None }
    }
}

impl Holding {
    /// Takes or renews the lease once; what changed. While the pool is not led here its ledger is read before each
    /// attempt: one that this version refuses is another's to lead, who must find the lease free.
    pub(crate) async fn renew(&mut self, lease: &mut Lease, pool: &PoolHandle, leader: &Leader) -> LeaseChange {
        let told = self.refused.clone();
        if !pool.status.borrow().leading {
            self.look_at_ledger(lease).await;
        }
        let (change, problem) = lease.renew(self.refused.is_none()).await;
        if let (Some(problem), true) = (&problem, self.was_reachable) {
            tracing::warn!(pool = pool.name, %problem, "cannot renew the leader lease: retrying");
        }
        self.was_reachable = problem.is_none();
        leader.saw(lease);
        let message = match change {
            LeaseChange::Gained { epoch } => Some(Message::Lead { epoch }),
            LeaseChange::Lost => Some(Message::StandBy),
            LeaseChange::Unchanged => None,
        };
        // Last: a pool that stands by forgets what was the matter with its ledger before.
        let refused = (self.refused != told).then(|| Message::LedgerRefused(self.refused.clone()));
        for message in message.into_iter().chain(refused) {
            let _ = pool.messages.send(message).await;
        }
        change
    }

    async fn look_at_ledger(&mut self, lease: &mut Lease) {
        match lease.reads_ledger().await {
            Ok(()) => self.refused = None,
            // It is not known: the attempt itself tells that Redis does not answer.
            Err(LedgerProblem::Redis(_)) => {}
            Err(problem) => self.refused = Some(problem.to_string()),
        }
    }
}
