//! What all parts of the emulator share: its options, its clock, and its state behind one lock.
//!
//! The lock is held for short, synchronous work only.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::Options;
use crate::calls::Calls;
use crate::clock::Clock;
use crate::faults::Faults;
use crate::iam::Trusts;
use crate::idempotency::Tokens;
use crate::init_process::Spawner;
use crate::lifecycle::Command;
use crate::machines::Machines;
use crate::quotas::Quotas;
use crate::region::Region;
use crate::resources::{History, Resources};

/// The state behind the lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) resources: Resources,
    pub(crate) history: History,
    pub(crate) tokens: Tokens,
    pub(crate) faults: Faults,
    pub(crate) calls: Calls,
    /// Of IAM.
    pub(crate) trusts: Trusts,
    /// Of Service Quotas.
    pub(crate) quotas: Quotas,
    /// Channels to the tasks of instances that are not terminated.
    pub(crate) commands: HashMap<String, mpsc::Sender<Command>>,
    /// Each task keeps a copy; once all are dropped, no task is left. None once the emulator ends.
    pub(crate) alive: Option<mpsc::Sender<Infallible>>,
    next: u64,
}

impl State {
    pub(crate) fn new(alive: mpsc::Sender<Infallible>) -> Self {
        Self {
            resources: Resources::default(),
            history: History::default(),
            tokens: Tokens::default(),
            faults: Faults::default(),
            calls: Calls::default(),
            trusts: Trusts::default(),
            quotas: Quotas::default(),
            commands: HashMap::new(),
            alive: Some(alive),
            next: 0,
        }
    }

    /// The next place in the order of creation.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// Shared by all tasks.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) region: Region,
    pub(crate) clock: Clock,
    pub(crate) spawner: Spawner,
    /// None: instances are processes.
    pub(crate) machines: Option<Machines>,
    /// Of the EC2 API.
    pub(crate) address: SocketAddr,
    /// True once the emulator ends.
    pub(crate) stopping: watch::Sender<bool>,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        region: Region,
        spawner: Spawner,
        machines: Option<Machines>,
        address: SocketAddr,
        state: State,
    ) -> Arc<Self> {
        let (stopping, _) = watch::channel(false);
        let (clock, state) = (Clock::start(), Mutex::new(state));
        Arc::new(Self { options, region, clock, spawner, machines, address, stopping, state })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Returns once the emulator ends.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender is here, so that waiting cannot fail.
        drop(stopping.wait_for(|stopping| *stopping).await);
    }

    /// For reading, and for changes that no Describe call shows.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and keeps a snapshot of the resources.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State, u64) -> T) -> T {
        let mut state = self.state();
        let now_ms = self.clock.now_ms();
        let result = change(&mut state, now_ms);
        state.resources.forget_terminated(now_ms);
        let State { resources, history, .. } = &mut *state;
        history.record(now_ms, resources);
        result
    }
}

/// `prefix` and 17 random hexadecimal digits.
pub(crate) fn new_id(prefix: &str) -> String {
    let digits = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}{}", digits.get(..17).unwrap_or(&digits))
}
