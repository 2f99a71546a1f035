//! An instance's life: one task per instance, from pending to terminated. It owns the instance's processes.
//!
//! The states are drawn in `model`. The task makes all transitions but one: the API's TerminateInstances turns an
//! instance to shutting-down at once, so that its own answer shows it. What an end means for the records is in
//! `endings`.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::endings::{self, End};
use crate::http;
use crate::imds;
use crate::init_process::{InitProcess, Setup, sweep};
use crate::machines;
use crate::model::{InstanceState, Interruption};
use crate::server;
use crate::shared::{Shared, State};

/// How long an init may take to end its processes, beyond its grace.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
const COMMANDS_WAITING: usize = 16;

/// A command to an instance's task.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// TerminateInstances. `at_once`: without an orderly shutdown.
    Terminate { at_once: bool },
    /// EC2 interrupts the instance at that time.
    Interrupt { at_ms: u64, action: Interruption },
}

/// Starts the task of a new instance. Nothing happens in it before the caller has released the state.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    id: &str,
    metadata: TcpListener,
    alive: mpsc::Sender<Infallible>,
) -> mpsc::Sender<Command> {
    let (sender, receiver) = mpsc::channel(COMMANDS_WAITING);
    let (closed, _) = watch::channel(false);
    let life = Life { shared: Arc::clone(shared), id: id.to_owned(), commands: receiver, closed };
    tokio::spawn(async move {
        life.run(metadata).await;
        drop(alive);
    });
    sender
}

/// Sends a command. False if it is rejected: the instance has ended, or has too many pending commands.
pub(crate) fn send(state: &State, id: &str, command: Command) -> bool {
    let Some(commands) = state.commands.get(id) else { return false };
    // The last place in the queue is kept for a termination, of which there is only one.
    let room = matches!(command, Command::Terminate { .. }) || commands.capacity() > 1;
    room && commands.try_send(command).is_ok()
}

/// Outcome of starting an instance's processes.
enum Started {
    Init(Box<InitProcess>),
    /// Nothing runs in it.
    Empty,
    /// Its termination was accepted meanwhile: that command is next.
    NotWanted,
    /// The launch was accepted to fail.
    TakenBack,
    Failed,
}

struct Life {
    shared: Arc<Shared>,
    id: String,
    commands: mpsc::Receiver<Command>,
    /// True once its services are to end.
    closed: watch::Sender<bool>,
}

impl Life {
    async fn run(mut self, metadata: TcpListener) {
        let closed = self.closed.subscribe();
        let metadata = tokio::spawn(imds::serve(Arc::clone(&self.shared), self.id.clone(), metadata, closed));
        let mut init = None;
        let end = self.live(&mut init).await;
        let stopped = self.end(end, init).await;
        if stopped && !self.shared.is_stopping() {
            self.wait_for_termination().await;
            self.ended(InstanceState::Terminated);
        }
        self.closed.send_replace(true);
        if let Err(error) = metadata.await {
            tracing::warn!(instance = self.id, %error, "the metadata service failed");
        }
        self.shared.state().commands.remove(&self.id);
    }

    /// Pending and running, until there is a reason to end; returns it.
    async fn live(&mut self, init: &mut Option<InitProcess>) -> End {
        let running_at = Instant::now() + self.shared.options.pending;
        let mut interruption: Option<(Instant, Interruption)> = None;
        let mut is_running = false;
        loop {
            tokio::select! {
                biased;
                () = self.shared.stopped() => return End::EmulatorStops,
                command = self.commands.recv() => match command {
                    Some(Command::Terminate { at_once }) => return End::User { at_once },
                    Some(Command::Interrupt { at_ms, action }) => {
                        interruption = Some((self.shared.clock.deadline(at_ms), action));
                    }
                    None => return End::EmulatorStops,
                },
                action = at(interruption) => return End::Interrupted(action),
                report = InitProcess::next_report(init) => return match report {
                    Some(report) if report == "poweroff" => End::PoweredOff,
                    _ => End::InitLost,
                },
                () = sleep_until(running_at), if !is_running => match self.start().await {
                    Started::Init(started) => (*init, is_running) = (Some(*started), true),
                    Started::Empty => is_running = true,
                    Started::NotWanted => (),
                    Started::TakenBack => return End::LaunchFailed,
                    Started::Failed => return End::InitLost,
                },
            }
        }
    }

    async fn start(&self) -> Started {
        let setup = self.shared.change(|state, now_ms| {
            let instance = state.resources.instances.get(&self.id).ok_or(Started::NotWanted)?;
            if instance.state != InstanceState::Pending {
                return Err(Started::NotWanted);
            }
            if instance.fails_with.is_some() {
                return Err(Started::TakenBack);
            }
            let is_cut_off = state.resources.are_closed(&instance.security_groups);
            let setup = Setup {
                id: self.id.clone(),
                user_data: instance.user_data.clone(),
                imds_port: instance.imds_port,
                machine: self.shared.machines.as_ref().map(|machines| machines.plan(instance, is_cut_off)),
                is_cut_off,
            };
            state.resources.change_instance(&self.id, |instance| {
                instance.state = InstanceState::Running;
                instance.running_ms = Some(now_ms);
                instance.state_reason = None;
            });
            Ok(setup)
        });
        let setup = match setup {
            Ok(setup) => setup,
            Err(not_started) => return not_started,
        };
        tracing::info!(instance = self.id, "instance is running");
        if self.shared.options.empty {
            return Started::Empty;
        }
        match self.spawn(setup).await {
            Ok(init) => {
                self.shared.change(|state, _| {
                    state.resources.change_instance(&self.id, |instance| instance.init_pid = init.pid());
                });
                Started::Init(Box::new(init))
            }
            Err(error) => {
                tracing::error!(instance = self.id, %error, "cannot start an instance's init");
                Started::Failed
            }
        }
    }

    async fn spawn(&self, setup: Setup) -> io::Result<InitProcess> {
        let (is_machine, is_cut_off) = (setup.machine.is_some(), setup.is_cut_off);
        let mut init = self.shared.spawner.start(&self.shared.options, setup).await?;
        if is_machine {
            let network = init.network().await?;
            if !is_cut_off {
                self.serve_api_in(network).await?;
            }
            init.boot().await;
        }
        Ok(init)
    }

    /// A machine finds the EC2 API in its own network, which is that of the process `network`.
    async fn serve_api_in(&self, network: u32) -> io::Result<()> {
        let api = machines::listen(network, self.shared.address).await?;
        let (shared, closed) = (Arc::clone(&self.shared), self.closed.subscribe());
        tokio::spawn(async move {
            let Ok(api) = tokio::net::TcpListener::from_std(api) else { return };
            http::serve(api, closed, move |parts, body| server::handle(Arc::clone(&shared), parts, body)).await;
        });
        Ok(())
    }

    /// Shutting-down or stopping, until no process is left. True if the instance is stopped rather than terminated.
    async fn end(&mut self, end: End, init: Option<InitProcess>) -> bool {
        let next = self.shared.change(|state, now_ms| endings::record(state, now_ms, &self.id, end));
        tracing::info!(instance = self.id, ?end, "instance is shutting down");
        let grace = self.shared.options.shutting_down;
        let over_at = Instant::now() + grace;
        let at_once = match end {
            End::User { at_once } => at_once,
            End::PoweredOff => false,
            End::Interrupted(_) | End::LaunchFailed | End::InitLost | End::EmulatorStops => true,
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
        // A machine takes as long as its services do, at most so long.
        if self.shared.machines.is_none() {
            tokio::select! {
                () = sleep_until(over_at) => (),
                () = self.shared.stopped() => (),
            }
        }
        if next != InstanceState::Stopping {
            self.ended(InstanceState::Terminated);
            return false;
        }
        // It may have been terminated while it was stopping; then that command is next.
        let state = self.shared.state().resources.instances.get(&self.id).map(|instance| instance.state);
        if state == Some(InstanceState::Stopping) {
            self.ended(InstanceState::Stopped);
        }
        true
    }

    async fn wait_for(&self, mut init: InitProcess, grace: Duration) {
        let orderly = tokio::select! {
            ended = timeout(grace + INIT_TIMEOUT, init.wait()) => ended.is_ok(),
            () = self.shared.stopped() => {
                init.kill().await;
                timeout(INIT_TIMEOUT, init.wait()).await.is_ok()
            }
        };
        if !orderly {
            tracing::warn!(instance = self.id, "the instance's init did not exit in time: killing it");
            init.kill_hard().await;
        }
    }

    fn ended(&self, state: InstanceState) {
        self.shared.change(|all, now_ms| {
            all.resources.change_instance(&self.id, |instance| {
                instance.state = state;
                instance.ended_ms = Some(now_ms);
                instance.init_pid = None;
            });
            if state == InstanceState::Terminated {
                all.resources.release_volumes(&self.id);
            }
        });
        tracing::info!(instance = self.id, state = state.name(), "instance ended");
    }

    /// Stopped: only a termination is left.
    async fn wait_for_termination(&mut self) {
        loop {
            tokio::select! {
                () = self.shared.stopped() => return,
                command = self.commands.recv() => match command {
                    Some(Command::Terminate { .. }) | None => return,
                    Some(Command::Interrupt { .. }) => (),
                },
            }
        }
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
