//! The pools of this process: those of its settings, and those in no settings any more whose instances it winds up.
//! Owns how a pool's loop is started; who leads it is `leading`'s.

use std::sync::{Arc, Mutex, PoisonError};

use spillway_attention::Led;
use tokio::sync::watch;

use crate::agents::Agents;
use crate::beside::Beside;
use crate::clock;
use crate::cloud::Cloud;
use crate::config::{Pool, Settings};
use crate::hand_back::HandBacks;
use crate::leading::Leader;
use crate::ledger::{Lease, Ledger, RETIRES, Sessions};
use crate::prices::PriceBook;
use crate::queue::{JobsObserver, QueueObserver};
use crate::reconcile::{Parts, PoolHandle, Reconciler};
use crate::record::{Frames, Recording, Store};
use crate::redis_client::Redis;

/// All pools of this process.
#[derive(Clone, Debug, Default)]
pub struct PoolList {
    configured: Arc<[PoolHandle]>,
    retired: Arc<Mutex<Vec<PoolHandle>>>,
}

impl PoolList {
    pub fn new(configured: Vec<PoolHandle>) -> Self {
        PoolList { configured: configured.into(), retired: Arc::default() }
    }

    /// Those of the settings.
    pub fn configured(&self) -> &[PoolHandle] {
        &self.configured
    }

    /// With those whose instances are wound up.
    pub fn all(&self) -> Vec<PoolHandle> {
        let retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        self.configured.iter().chain(retired.iter()).cloned().collect()
    }

    /// What is shown: a pool in no settings only while this process leads it.
    pub fn shown(&self) -> Vec<PoolHandle> {
        let mut all = self.all();
        all.retain(|pool| !pool.is_retired || pool.status.borrow().leading);
        all
    }

    pub(crate) fn add_retired(&self, pool: PoolHandle) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(pool);
    }

    pub(crate) fn remove_retired(&self, name: &str) {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).retain(|pool| pool.name != name);
    }
}

/// Starts pools' loops: what they share.
#[derive(Clone, Debug)]
pub(crate) struct Starter {
    pub settings: Arc<Settings>,
    pub cloud: Cloud,
    pub agents: Agents,
    /// This process' name in the leases.
    pub holder: String,
    pub beside: watch::Sender<Beside>,
    pub sessions: Sessions,
    pub prices: PriceBook,
}

/// A pool that is ready to run, and its lease.
pub(crate) struct Started {
    pub reconciler: Reconciler,
    pub handle: PoolHandle,
    pub lease: Lease,
    /// Who leads, for the handle.
    pub leader: Leader,
    /// Keeps the record in Redis, and ends after the loop; None where none is kept there.
    pub store: Option<(Store, Frames)>,
}

impl Starter {
    /// `pool.brain.retired`: it is in no settings any more.
    pub fn start(&self, pool: &Pool) -> anyhow::Result<Started> {
        let settings = &self.settings;
        let retires = if pool.brain.retired { RETIRES } else { "" };
        let holder = format!("{retires}{}", self.holder);
        let ledger = || Redis::new("ledger.url", &settings.ledger_url);
        let queues = || Redis::new("redis.url", &settings.redis_url);
        let (recording, past, store) = match settings.record_bytes {
            0 => {
                let (recording, past) = Recording::in_memory();
                (recording, past, None)
            }
            most => {
                let (recording, past, store) = Recording::kept(ledger()?, &settings.ledger_prefix, &pool.name, most);
                (recording, past, Some(store))
            }
        };
        let parts = Parts {
            recording,
            past,
            prices: self.prices.clone(),
            cloud: self.cloud.clone(),
            agents: self.agents.clone(),
            ledger: Ledger::new(ledger()?, &settings.ledger_prefix, &pool.name),
            observer: QueueObserver::new(queues()?, &pool.prefix, &pool.queues),
            jobs: JobsObserver::new(queues()?, &pool.prefix, &pool.queues),
            hand_backs: HandBacks {
                redis_url: settings.redis_url.clone(),
                prefix: pool.prefix.clone(),
                queues: pool.queues.clone(),
            },
            holder: holder.clone(),
            beside: self.beside.clone(),
            sessions: self.sessions.clone(),
        };
        let ((address, at), (led, by)) = (watch::channel(None), watch::channel(Led::Unknown { since: clock::now() }));
        let leader = Leader { address, led };
        let (reconciler, handle) = Reconciler::new(pool.clone(), parts, at, by);
        let lease = Lease::new(ledger()?, &settings.ledger_prefix, &pool.name, &holder);
        Ok(Started { reconciler, handle, lease, leader, store })
    }
}
