//! Taking over: the lease is held, and what the ledger has becomes what is known.

use std::time::Duration;

use spillway_brain::{Controller, Event, Plan};

use super::Reconciler;
use super::observe::Outcome;
use crate::clock;

/// Until the ledger is asked again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Recorded plans that `explain` still shows after a restart.
const PLANS_RESTORED: usize = 100;

impl Reconciler {
    /// Takes over from what the ledger has. Without it nothing is decided: unknown is not empty.
    pub(super) async fn lead(&mut self, epoch: u64) {
        let loaded = match self.ledger.load().await {
            Ok(loaded) => loaded,
            Err(problem) => {
                self.ledger_problem = Some(problem.to_string());
                tracing::error!(pool = self.pool.name, %problem, "cannot read the ledger");
                // The lease is renewed meanwhile; asked again with the next message from it.
                self.retry_lead(epoch);
                return;
            }
        };
        self.ledger_problem = None;
        self.epoch = epoch;
        let now = clock::now();
        match loaded {
            // Nobody wrote since this process did: what it knows is newer.
            Some((_, saved_by)) if self.loaded_epoch == Some(saved_by) => {}
            Some((state, _)) => {
                tracing::info!(pool = self.pool.name, instances = state.instances().count(), "ledger read");
                self.controller = Controller::restore(self.pool.brain.clone(), state);
                self.controller.handle(now, Event::Started);
                if let Ok(recorded) = self.ledger.recent(PLANS_RESTORED).await {
                    let plans: Vec<Plan> = recorded.into_iter().map(|entry| entry.plan).collect();
                    self.history.restore(&self.pool.name, plans);
                }
            }
            None => tracing::info!(pool = self.pool.name, "no ledger yet: a new one begins"),
        }
        self.loaded_epoch = Some(epoch);
        self.tell(Event::LeadershipGained);
        tracing::info!(pool = self.pool.name, epoch, "leading");
    }

    fn retry_lead(&mut self, epoch: u64) {
        self.under_way.spawn(async move {
            tokio::time::sleep(AGAIN_AFTER).await;
            Outcome::LeadAgain { epoch }
        });
    }
}
