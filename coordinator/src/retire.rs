//! Pools in no settings any more: `pool.name` was changed, or a `[[pool]]` removed. Their instances carry this
//! installation's tag, so EC2's list shows them; they are drained and terminated by the pool's own ledger, under its
//! own lease.
//!
//! ```text
//!   EC2 lists instances of ours of pool Q ──► nobody holds Q's lease for a while, and we ran it last ──► led here: 0 desired
//!        Q is not in our settings                                                                             │
//!                                             somebody runs Q again, and asks for its lease ◄── let go ───────┤
//!                                                                                     nothing is left ◄───────┘
//! ```
//!
//! A pool that another coordinator of the installation ran, or that this ledger has no record of, is never taken: the
//! record has the home of who ran it. Where that one is gone for good, the agents end their instances by themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use spillway_pool::lease::RENEWED_EACH;

use crate::beside::Beside;
use crate::config::Pool;
use crate::leading::{Holding, Known, Released, identified};
use crate::ledger::{LeaseChange, Owner, Owners};
use crate::pools::{PoolList, Started, Starter};
use crate::reconcile::{Message, PoolHandle};
use crate::redis_client::Redis;

/// How long nobody must hold the lease of a pool before it counts as one that nobody runs: longer than a restart takes.
const FREE_FOR: Duration = Duration::from_secs(30);

/// Winds up every pool that needs it, until `released` ends.
pub(crate) async fn watch(
    starter: Starter,
    pools: PoolList,
    home: String,
    known: Known,
    mut beside: tokio::sync::watch::Receiver<Beside>,
    mut released: Released,
) {
    let configured: BTreeSet<String> = pools.configured().iter().map(|pool| pool.name.clone()).collect();
    let mut under_way = BTreeSet::new();
    let mut winding = JoinSet::new();
    loop {
        tokio::select! {
            changed = beside.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            Some(ended) = winding.join_next() => {
                if let Ok(name) = ended {
                    under_way.remove::<String>(&name);
                }
            }
            _ = released.changed() => break,
        }
        let other_pools = beside.borrow_and_update().other_pools.clone();
        for name in other_pools.into_iter().filter(|name| !configured.contains(name)) {
            if under_way.insert(name.clone()) {
                let retired = Retired {
                    starter: starter.clone(),
                    pools: pools.clone(),
                    home: home.clone(),
                    known: known.clone(),
                    released: released.clone(),
                    name,
                };
                winding.spawn(retired.wind_up());
            }
        }
    }
    // Each ends with `released`.
    while winding.join_next().await.is_some() {}
}

/// One pool that is in no settings.
struct Retired {
    starter: Starter,
    pools: PoolList,
    home: String,
    known: Known,
    released: Released,
    name: String,
}

impl Retired {
    /// Returns the pool's name once nothing of it is left, or nothing can be done for now.
    async fn wind_up(self) -> String {
        let Some(owner) = self.until_nobody_runs_it().await else { return self.name };
        let first = self.starter.settings.pools.first().cloned();
        let Some(mut pool) = first else { return self.name };
        pool.name.clone_from(&self.name);
        pool.brain.retired = true;
        (pool.prefix, pool.queues) = (owner.prefix, owner.queues);
        match self.starter.start(&pool) {
            Ok(started) => self.lead(started, &pool).await,
            Err(error) => tracing::warn!(pool = self.name, problem = %error, "cannot wind up a pool"),
        }
        self.name
    }

    /// Whose it was, once nobody has held its lease for long enough and it is this coordinator's to end. None: not now.
    async fn until_nobody_runs_it(&self) -> Option<Owner> {
        let settings = &self.starter.settings;
        let redis = || Redis::new("ledger.url", &settings.ledger_url).ok();
        let mut lease =
            crate::ledger::Lease::new(redis()?, &settings.ledger_prefix, &self.name, crate::ledger::RETIRES);
        let mut ledger = redis()?;
        let mut free_since = None;
        let mut is_told = false;
        loop {
            let free = lease.is_free().await.unwrap_or(false);
            let since = *free_since.get_or_insert(Instant::now());
            if !free {
                free_since = None;
            } else if since.elapsed() >= FREE_FOR {
                let owners = Owners::read(&mut ledger, &settings.ledger_prefix, std::slice::from_ref(&self.name)).await;
                match owners.ok()?.pools.remove(&self.name).and_then(|claimed| claimed.owner) {
                    Some(owner) if owner.home == self.home => return Some(owner),
                    // The setting `installation` may be the same for coordinators with a ledger each: what this one
                    // never ran is another's, and may be at work.
                    owner => {
                        if !std::mem::replace(&mut is_told, true) {
                            let ran_it = if owner.is_some() {
                                "another coordinator ran it last"
                            } else {
                                "this ledger never had it"
                            };
                            tracing::error!(
                                pool = self.name,
                                "instances of a pool of this installation run that nobody leads, and {ran_it}: start its \
                                 coordinator, or let them end by themselves once they are idle (their agents' orphan_after)"
                            );
                        }
                    }
                }
            }
            let mut released = self.released.clone();
            tokio::select! {
                () = tokio::time::sleep(RENEWED_EACH) => {}
                _ = released.changed() => return None,
            }
        }
    }

    /// Leads it until nothing of it is left, or somebody runs it again.
    async fn lead(&self, started: Started, config: &Pool) {
        let Started { reconciler, handle, mut lease, leader, store } = started;
        let running = tokio::spawn(reconciler.run());
        if let Some((store, frames)) = store {
            tokio::spawn(store.run(frames));
        }
        self.pools.add_retired(handle.clone());
        if identified(&handle, self.known.clone(), self.released.clone()).await {
            tracing::warn!(
                pool = self.name,
                "a pool of this installation is in no settings any more: its instances are drained and terminated. To keep \
                 them, put the pool back under its name"
            );
            let mut holding = Holding::default();
            let mut empty_since = Instant::now();
            let mut released = self.released.clone();
            loop {
                if holding.renew(&mut lease, &handle, &leader).await == LeaseChange::Lost {
                    tracing::info!(pool = self.name, "somebody runs the pool again: it is no longer wound up here");
                    break;
                }
                if !is_empty(&handle) {
                    empty_since = Instant::now();
                } else if empty_since.elapsed() > config.brain.consistency_grace {
                    tracing::info!(pool = self.name, "nothing is left of a pool that is in no settings any more");
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(RENEWED_EACH) => {}
                    _ = released.changed() => break,
                }
            }
        }
        let _ = handle.messages.send(Message::Stop).await;
        let _ = running.await;
        lease.release().await;
        self.pools.remove_retired(&self.name);
    }
}

/// It is led here, EC2 was listed, and nothing is alive or owed.
fn is_empty(pool: &PoolHandle) -> bool {
    let status = pool.status.borrow();
    let is_over =
        |instance: &spillway_proto::v1::Instance| instance.phase == "gone" && instance.hand_back != "under-way";
    status.leading && status.cloud_serving && status.view.instances.iter().all(is_over)
}
