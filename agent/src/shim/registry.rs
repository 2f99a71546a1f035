//! All processes with the shim. Owns which are connected and which commands were sent: a fence also holds for those
//! that connect later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spillway_machine::{Event, ShimProcess};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::interval;

use super::Place;
use super::install::Installed;
use super::process::{COMMANDS_WAITING, Process, Received, carry, millis};
use super::wire::{Job, Line, ShimCommand, Worker};
use crate::clock::Clock;
use crate::worker::proc::ProcessId;

/// How often a process that is not connected is checked for being alive.
const LIFE_POLL: Duration = Duration::from_millis(250);
/// Messages of all connections that may wait.
const MESSAGES_WAITING: usize = 64;

/// What changed in the processes, for the agent.
#[derive(Debug)]
pub enum ShimUpdate {
    /// For the machine.
    Event(Event),
    /// All processes in their current state.
    Seen(Seen),
}

/// The processes in their current state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// For the machine.
    pub processes: Vec<ShimProcess>,
    /// The shim's problems in them, for a person.
    pub problems: Vec<String>,
    /// Their Workers.
    pub workers: Vec<Worker>,
}

#[derive(Debug)]
enum AgentCommand {
    Fence(bool),
    HandBack(u32),
}

/// The agent's handle on the processes.
#[derive(Clone, Debug)]
pub struct Shims {
    commands: mpsc::UnboundedSender<AgentCommand>,
    jobs: Arc<Mutex<Jobs>>,
}

/// Jobs as the processes last reported them.
#[derive(Debug, Default)]
struct Jobs {
    current: Vec<Job>,
    /// Of processes that died while they were fenced.
    lost: Vec<Job>,
}

impl Shims {
    /// Listens for processes; what changes in them goes to `updates`. `place` is what their Workers should work.
    pub fn listen(
        installed: &Installed,
        listener: UnixListener,
        clock: Clock,
        place: Place,
        updates: mpsc::Sender<ShimUpdate>,
    ) -> Self {
        let mark = installed.mark();
        let (commands, receiver) = mpsc::unbounded_channel();
        let jobs = Arc::default();
        let registry = Registry {
            mark,
            clock,
            place,
            updates,
            jobs: Arc::clone(&jobs),
            processes: BTreeMap::new(),
            fence: None,
            last_id: 0,
        };
        tokio::spawn(registry.run(listener, receiver));
        Self { commands, jobs }
    }

    /// No shim: commands have no effect.
    pub fn none() -> Self {
        Self { commands: mpsc::unbounded_channel().0, jobs: Arc::default() }
    }

    /// Fences or unfences all processes, and those that connect later.
    pub fn fence(&self, on: bool) {
        let _ = self.commands.send(AgentCommand::Fence(on));
    }

    /// Has the process hand its jobs back and freeze.
    pub fn hand_back(&self, pid: u32) {
        let _ = self.commands.send(AgentCommand::HandBack(pid));
    }

    /// The jobs that they were last known to run: those of processes that died while they were fenced among them.
    pub fn jobs(&self) -> Vec<Job> {
        let jobs = lock(&self.jobs);
        jobs.current.iter().chain(&jobs.lost).cloned().collect()
    }
}

struct Registry {
    /// A file that exists while the fence is up.
    mark: PathBuf,
    clock: Clock,
    place: Place,
    updates: mpsc::Sender<ShimUpdate>,
    jobs: Arc<Mutex<Jobs>>,
    processes: BTreeMap<u32, Process>,
    /// `None`: no command yet; a worker that an earlier agent fenced stays fenced.
    fence: Option<bool>,
    last_id: u64,
}

impl Registry {
    async fn run(mut self, listener: UnixListener, mut commands: mpsc::UnboundedReceiver<AgentCommand>) {
        let (to, mut received) = mpsc::channel(MESSAGES_WAITING);
        let mut life = interval(LIFE_POLL);
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => self.accept(stream, &to),
                Some((pid, number, received)) = received.recv() => self.take(pid, number, received).await,
                command = commands.recv() => match command {
                    Some(command) => self.carry_out(command),
                    None => return,
                },
                _ = life.tick(), if self.processes.values().any(|process| process.connection.is_none()) => {
                    self.forget_dead().await;
                }
            }
        }
    }

    fn accept(&mut self, stream: UnixStream, to: &mpsc::Sender<(u32, u64, Received)>) {
        // From the kernel: a process cannot forge it.
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
        let Some(known) = pid.and_then(ProcessId::of) else { return };
        self.last_id += 1;
        let (commands, receiver) = mpsc::channel(COMMANDS_WAITING);
        let process = self.processes.entry(known.pid).or_insert_with(|| Process::new(known));
        if process.known != known {
            *process = Process::new(known);
        }
        process.connection = Some((self.last_id, commands));
        tokio::spawn(carry(stream, known.pid, self.last_id, receiver, to.clone()));
        if let Some(fence) = self.fence {
            process.send(fence_command(fence).line(self.last_id));
        }
    }

    async fn take(&mut self, pid: u32, number: u64, received: Received) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let is_newest = process.connection.as_ref().is_some_and(|(newest, _)| *newest == number);
        match received {
            Received::Closed if is_newest => process.connection = None,
            Received::Closed => return,
            Received::Malformed => process.note("the worker shim sent a malformed line".to_owned()),
            Received::Line(Line::Hello(hello)) => {
                tracing::info!(pid, runtime = hello.runtime, "a worker process has loaded the shim");
            }
            Received::Line(Line::State(state)) => process.state = Some((state, self.clock.now())),
            Received::Line(Line::Problem(problem)) => {
                tracing::warn!(pid, problem, "a problem in the worker shim");
                process.note(problem);
            }
            Received::Line(Line::Finished(finished)) => {
                let class = format!("{}/{}", finished.queue, finished.name);
                return self.publish(ShimUpdate::Event(Event::JobFinished { class, took: millis(finished.ms) })).await;
            }
            Received::Line(Line::Done(done)) => {
                if let Some(problem) = done.problem {
                    tracing::warn!(pid, problem, "the worker shim could not carry out a command completely");
                }
                if process.hand_back.take_if(|id| *id == done.id).is_none() {
                    return;
                }
                for kept in &done.kept {
                    tracing::info!(
                        pid,
                        job = kept.id,
                        reason = kept.why,
                        "a job was not handed back by its own process"
                    );
                }
                let (jobs, kept) = (count(done.handed_back.len()), count(done.kept.len()));
                tracing::info!(pid, jobs, kept, "a worker process handed its jobs back");
                return self.publish(ShimUpdate::Event(Event::HandedBack { pid, jobs, kept })).await;
            }
        }
        self.publish_processes().await;
    }

    fn carry_out(&mut self, command: AgentCommand) {
        self.last_id += 1;
        match command {
            AgentCommand::Fence(on) => {
                self.fence = Some(on);
                // A process that PM2 restarts is fenced before it receives a command.
                let marked = match on {
                    true => std::fs::write(&self.mark, ""),
                    false => std::fs::remove_file(&self.mark),
                };
                if let Err(error) = marked.or_else(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }) {
                    tracing::warn!(problem = %error, mark = %self.mark.display(), "cannot update the fence mark: a worker \
                        process that restarts may begin with the wrong fence");
                }
                for process in self.processes.values() {
                    process.send(fence_command(on).line(self.last_id));
                }
                if !on {
                    lock(&self.jobs).lost.clear();
                }
            }
            AgentCommand::HandBack(pid) => {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.hand_back = Some(self.last_id);
                    if !process.send(ShimCommand::HandBack.line(self.last_id)) {
                        tracing::warn!(
                            pid,
                            "cannot tell a worker process to hand its jobs back: its jobs are handed back once it is \
                             killed"
                        );
                    }
                }
            }
        }
    }

    /// Removes processes that have ended: one that is only disconnected may run on.
    async fn forget_dead(&mut self) {
        let before = self.processes.len();
        let mut lost = Vec::new();
        self.processes.retain(|_, process| {
            let lives = process.connection.is_some() || process.known.lives();
            if !lives {
                lost.extend_from_slice(process.jobs());
            }
            lives
        });
        if self.processes.len() == before {
            return;
        }
        if self.fence == Some(true) {
            lock(&self.jobs).lost.extend(lost);
        }
        self.publish_processes().await;
    }

    async fn publish_processes(&mut self) {
        let processes = self.processes.values().filter_map(|process| process.for_machine(&self.place)).collect();
        let workers = self.processes.values().flat_map(Process::workers).cloned().collect();
        let mut problems: Vec<String> =
            self.processes.values().flat_map(|process| process.problems.iter().cloned()).collect();
        problems.sort();
        problems.dedup();
        lock(&self.jobs).current = self.processes.values().flat_map(Process::jobs).cloned().collect();
        self.publish(ShimUpdate::Seen(Seen { processes, problems, workers })).await;
    }

    async fn publish(&self, update: ShimUpdate) {
        // Fails only while the agent stops.
        let _ = self.updates.send(update).await;
    }
}

fn fence_command(fence: bool) -> ShimCommand {
    if fence { ShimCommand::Fence } else { ShimCommand::Unfence }
}

fn lock(jobs: &Mutex<Jobs>) -> std::sync::MutexGuard<'_, Jobs> {
    // Nothing panics while it holds the lock.
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
