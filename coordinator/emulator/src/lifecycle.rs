//! An instance's life: one task per instance, from pending to terminated. It owns the instance's processes.
//!
//! The states are drawn in `model`. The task makes all transitions but one: the API's TerminateInstances turns an
//! instance to shutting-down at once, so that its own answer shows it.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::clock::transition_time;
use crate::imds;
use crate::init_process::{InitProcess, Setup, sweep};
use crate::model::{InstanceState, Interruption, Lifecycle, ShutdownBehavior, StateReason};
use crate::shared::{Shared, State};

/// How long an init may take for the end of its processes, over and above what it was granted.
const INIT_PATIENCE: Duration = Duration::from_secs(10);
const ORDERS: usize = 16;

/// What an instance is told from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// The API asked for it. `at_once`: without an orderly shutdown.
    Terminate { at_once: bool },
    /// EC2 takes the instance at that moment.
    Interrupt { at_ms: u64, action: Interruption },
}

/// Why an instance ends.
#[derive(Debug, Clone, Copy)]
enum End {
    User {
        at_once: bool,
    },
    Interrupted(Interruption),
    /// Somebody in the instance powered it off.
    PoweredOff,
    /// Its init is gone, or never came.
    InitLost,
    EmulatorStops,
}

/// Starts the task of a new instance. Nothing happens in it before the caller has released the state.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    id: &str,
    metadata: TcpListener,
    alive: mpsc::Sender<Infallible>,
) -> mpsc::Sender<Order> {
    let (sender, receiver) = mpsc::channel(ORDERS);
    let life = Life { shared: Arc::clone(shared), id: id.to_owned(), orders: receiver };
    tokio::spawn(async move {
        life.run(metadata).await;
        drop(alive);
    });
    sender
}

/// Sends an order; an instance that has ended takes none.
pub(crate) fn order(state: &State, id: &str, order: Order) {
    if let Some(orders) = state.orders.get(id)
        && orders.try_send(order).is_err()
    {
        tracing::warn!(instance = id, ?order, "order to an instance was dropped");
    }
}

/// The records of an instance whose user has just terminated it.
pub(crate) fn user_terminates(state: &mut State, now_ms: u64, id: &str) {
    let reason = StateReason::new("Client.UserInitiatedShutdown", "User initiated shutdown");
    begins_to_end(state, now_ms, id, InstanceState::ShuttingDown, reason, "User initiated");
    state.world.set_spot_status(
        id,
        now_ms,
        "closed",
        "instance-terminated-by-user",
        "Spot Instance terminated due to user-initiated termination.",
    );
}

fn begins_to_end(state: &mut State, now_ms: u64, id: &str, next: InstanceState, reason: StateReason, cause: &str) {
    state.world.change_instance(id, |instance| {
        instance.state = next;
        instance.ending_ms = instance.ending_ms.or(Some(now_ms));
        instance.state_reason = Some(reason);
        instance.transition_reason = format!("{cause} ({})", transition_time(now_ms));
    });
}

struct Life {
    shared: Arc<Shared>,
    id: String,
    orders: mpsc::Receiver<Order>,
}

impl Life {
    async fn run(mut self, metadata: TcpListener) {
        let (closed, _) = watch::channel(false);
        let metadata =
            tokio::spawn(imds::serve(Arc::clone(&self.shared), self.id.clone(), metadata, closed.subscribe()));
        let mut init = None;
        let end = self.live(&mut init).await;
        let stopped = self.end(end, init).await;
        if stopped && !self.shared.is_stopping() {
            self.wait_for_termination().await;
            self.terminated();
        }
        closed.send_replace(true);
        if let Err(error) = metadata.await {
            tracing::warn!(instance = self.id, %error, "metadata service ended badly");
        }
        self.shared.state().orders.remove(&self.id);
    }

    /// Pending and running, until there is a reason to end.
    async fn live(&mut self, init: &mut Option<InitProcess>) -> End {
        let running_at = Instant::now() + self.shared.options.pending;
        let mut interruption: Option<(Instant, Interruption)> = None;
        loop {
            tokio::select! {
                biased;
                () = self.shared.stopped() => return End::EmulatorStops,
                order = self.orders.recv() => match order {
                    Some(Order::Terminate { at_once }) => return End::User { at_once },
                    Some(Order::Interrupt { at_ms, action }) => {
                        interruption = Some((self.shared.clock.deadline(at_ms), action));
                    }
                    None => return End::EmulatorStops,
                },
                action = at(interruption) => return End::Interrupted(action),
                report = InitProcess::next_report(init) => return match report {
                    Some(report) if report == "poweroff" => End::PoweredOff,
                    _ => End::InitLost,
                },
                () = sleep_until(running_at), if init.is_none() => match self.start().await {
                    Some(started) => *init = Some(started),
                    None => return End::InitLost,
                },
            }
        }
    }

    async fn start(&self) -> Option<InitProcess> {
        let setup = self.shared.change(|state, now_ms| {
            let instance = state.world.instances.get(&self.id)?;
            // Its termination was accepted in the meantime: the order is on its way.
            if instance.state != InstanceState::Pending {
                return None;
            }
            let setup =
                Setup { id: self.id.clone(), user_data: instance.user_data.clone(), imds_port: instance.imds_port };
            state.world.change_instance(&self.id, |instance| {
                instance.state = InstanceState::Running;
                instance.running_ms = Some(now_ms);
                instance.state_reason = None;
            });
            Some(setup)
        })?;
        tracing::info!(instance = self.id, "instance is running");
        match self.shared.spawner.start(&self.shared.options, setup).await {
            Ok(init) => {
                self.shared.change(|state, _| {
                    state.world.change_instance(&self.id, |instance| instance.init_pid = init.pid());
                });
                Some(init)
            }
            Err(error) => {
                tracing::error!(instance = self.id, %error, "cannot start an instance's init");
                None
            }
        }
    }

    /// Shutting-down or stopping, until nothing of the instance is left. True when it is stopped, not terminated.
    async fn end(&mut self, end: End, init: Option<InitProcess>) -> bool {
        let next = self.record_end(end);
        let grace = self.shared.options.shutting_down;
        let over_at = Instant::now() + grace;
        let at_once = match end {
            End::User { at_once } => at_once,
            End::PoweredOff => false,
            End::Interrupted(_) | End::InitLost | End::EmulatorStops => true,
        };
        if let Some(mut init) = init {
            match end {
                End::PoweredOff => (), // It ends itself, with the same grace.
                _ if at_once => init.kill().await,
                _ => init.terminate(grace).await,
            }
            self.wait_for(init, if at_once { Duration::ZERO } else { grace }).await;
        }
        sweep(&self.id).await;
        tokio::select! {
            () = sleep_until(over_at) => (),
            () = self.shared.stopped() => (),
        }
        if next == InstanceState::Stopping {
            self.shared.change(|state, now_ms| {
                state.world.change_instance(&self.id, |instance| {
                    instance.state = InstanceState::Stopped;
                    instance.ended_ms = Some(now_ms);
                    instance.init_pid = None;
                });
            });
            tracing::info!(instance = self.id, "instance is stopped");
            return true;
        }
        self.terminated();
        false
    }

    async fn wait_for(&self, mut init: InitProcess, grace: Duration) {
        let orderly = tokio::select! {
            ended = timeout(grace + INIT_PATIENCE, init.wait()) => ended.is_ok(),
            () = self.shared.stopped() => {
                init.kill().await;
                timeout(INIT_PATIENCE, init.wait()).await.is_ok()
            }
        };
        if !orderly {
            tracing::warn!(instance = self.id, "an instance's init does not end; it is killed");
            init.kill_hard().await;
        }
    }

    /// The records of the end's beginning. Tells the state that follows.
    fn record_end(&self, end: End) -> InstanceState {
        let (next, reason, cause) = self.shared.change(|state, now_ms| {
            let before = state
                .world
                .instances
                .get(&self.id)
                .map(|instance| (instance.shutdown_behavior, instance.lifecycle, instance.state));
            let Some((behavior, lifecycle, current)) = before else {
                return (InstanceState::ShuttingDown, String::new(), "");
            };
            let (next, reason, cause) = match end {
                End::User { .. } => {
                    if matches!(current, InstanceState::Pending | InstanceState::Running) {
                        user_terminates(state, now_ms, &self.id);
                    }
                    return (InstanceState::ShuttingDown, "Client.UserInitiatedShutdown".to_owned(), "");
                }
                End::Interrupted(Interruption::Terminate) => (
                    InstanceState::ShuttingDown,
                    StateReason::new("Server.SpotInstanceTermination", "Spot instance termination"),
                    "Server.SpotInstanceTermination",
                ),
                End::Interrupted(Interruption::Stop | Interruption::Hibernate) => (
                    InstanceState::Stopping,
                    StateReason::new("Server.SpotInstanceShutdown", "Spot instance shutdown"),
                    "Server.SpotInstanceShutdown",
                ),
                End::PoweredOff => (
                    match behavior {
                        ShutdownBehavior::Terminate => InstanceState::ShuttingDown,
                        ShutdownBehavior::Stop => InstanceState::Stopping,
                    },
                    StateReason::new("Client.InstanceInitiatedShutdown", "Instance initiated shutdown"),
                    "Client.InstanceInitiatedShutdown",
                ),
                End::InitLost => (
                    InstanceState::ShuttingDown,
                    StateReason::new("Server.InternalError", "Internal error on launch: its init is gone"),
                    "Server.InternalError",
                ),
                End::EmulatorStops => (
                    InstanceState::ShuttingDown,
                    StateReason::new("Server.InternalError", "The emulator ends"),
                    "Server.InternalError",
                ),
            };
            // An API call may have come first: its reason stands.
            if matches!(current, InstanceState::Pending | InstanceState::Running) {
                begins_to_end(state, now_ms, &self.id, next, reason.clone(), cause);
                if lifecycle == Lifecycle::Spot {
                    let (request, code, message) = spot_status(end);
                    state.world.set_spot_status(&self.id, now_ms, request, code, message);
                }
            }
            (next, reason.code, cause)
        });
        tracing::info!(instance = self.id, reason, cause, "instance ends");
        next
    }

    fn terminated(&self) {
        self.shared.change(|state, now_ms| {
            state.world.change_instance(&self.id, |instance| {
                instance.state = InstanceState::Terminated;
                instance.ended_ms = Some(now_ms);
                instance.init_pid = None;
            });
        });
        tracing::info!(instance = self.id, "instance is terminated");
    }

    /// Stopped: only a termination is left.
    async fn wait_for_termination(&mut self) {
        loop {
            tokio::select! {
                () = self.shared.stopped() => return,
                order = self.orders.recv() => match order {
                    Some(Order::Terminate { .. }) | None => return,
                    Some(Order::Interrupt { .. }) => (),
                },
            }
        }
    }
}

fn spot_status(end: End) -> (&'static str, &'static str, &'static str) {
    match end {
        End::Interrupted(Interruption::Terminate) => (
            "closed",
            "instance-terminated-no-capacity",
            "Your Spot instance was terminated because there is no Spot capacity available that matches your request.",
        ),
        End::Interrupted(_) => (
            "closed",
            "instance-stopped-no-capacity",
            "Your Spot instance was stopped because there is no Spot capacity available that matches your request.",
        ),
        _ => ("closed", "instance-terminated-by-user", "Spot Instance terminated due to user-initiated termination."),
    }
}

async fn at(interruption: Option<(Instant, Interruption)>) -> Interruption {
    match interruption {
        Some((at, action)) => {
            sleep_until(at).await;
            action
        }
        None => std::future::pending().await,
    }
}
