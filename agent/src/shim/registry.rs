//! All processes with the shim. Owns who is there and what was ordered: an order to fence holds for those, too, that come
//! later.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use spillway_machine::{Event, ShimProcess};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::interval;

use super::install::Installed;
use super::process::{ORDERS, Process, Received, carry, millis};
use super::wire::{Job, Line, Order};
use crate::clock::Clock;
use crate::worker::proc::ProcessId;

/// How often is checked whether a process that is not connected still lives.
const LIFE_POLL: Duration = Duration::from_millis(250);
/// Connections that bring something at once.
const INPUTS_WAITING: usize = 64;

/// What the processes said, for the agent.
#[derive(Debug)]
pub enum Said {
    /// For the machine.
    Event(Event),
    /// All processes as they now are, and what the shim could not do in them.
    Seen(Vec<ShimProcess>, Vec<String>),
}

#[derive(Debug)]
enum AgentOrder {
    Fence(bool),
    HandBack(u32),
}

/// The way to them.
#[derive(Clone, Debug)]
pub struct Shims {
    orders: mpsc::UnboundedSender<AgentOrder>,
    jobs: Arc<Mutex<Jobs>>,
}

/// Jobs by the processes' last word.
#[derive(Debug, Default)]
struct Jobs {
    current: Vec<Job>,
    /// Of processes that died while they were fenced.
    lost: Vec<Job>,
}

impl Shims {
    /// Listens for them; what they say goes to `said`.
    pub fn listen(place: &Installed, listener: UnixListener, clock: Clock, said: mpsc::Sender<Said>) -> Self {
        let mark = place.mark();
        let (orders, asked) = mpsc::unbounded_channel();
        let jobs = Arc::default();
        let registry = Registry {
            mark,
            clock,
            said,
            jobs: Arc::clone(&jobs),
            processes: BTreeMap::new(),
            fence: None,
            numbers: 0,
        };
        tokio::spawn(registry.run(listener, asked));
        Self { orders, jobs }
    }

    /// Nobody to talk to.
    pub fn none() -> Self {
        Self { orders: mpsc::unbounded_channel().0, jobs: Arc::default() }
    }

    /// Those that are there and those that come take no new job, or take jobs again.
    pub fn fence(&self, on: bool) {
        let _ = self.orders.send(AgentOrder::Fence(on));
    }

    /// The process puts its jobs back and freezes.
    pub fn hand_back(&self, pid: u32) {
        let _ = self.orders.send(AgentOrder::HandBack(pid));
    }

    /// The jobs that they were last known to run: those of processes that died while they were fenced among them.
    pub fn jobs(&self) -> Vec<Job> {
        let jobs = lock(&self.jobs);
        jobs.current.iter().chain(&jobs.lost).cloned().collect()
    }
}

struct Registry {
    /// A file that is there while the fence is up.
    mark: PathBuf,
    clock: Clock,
    said: mpsc::Sender<Said>,
    jobs: Arc<Mutex<Jobs>>,
    processes: BTreeMap<u32, Process>,
    /// `None`: nobody has asked yet, and a worker that an agent before this one fenced stays so.
    fence: Option<bool>,
    numbers: u64,
}

impl Registry {
    async fn run(mut self, listener: UnixListener, mut asked: mpsc::UnboundedReceiver<AgentOrder>) {
        let (to, mut brought) = mpsc::channel(INPUTS_WAITING);
        let mut life = interval(LIFE_POLL);
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => self.accept(stream, &to),
                Some((pid, number, brought)) = brought.recv() => self.take(pid, number, brought).await,
                order = asked.recv() => match order {
                    Some(order) => self.order(order),
                    None => return,
                },
                _ = life.tick(), if self.processes.values().any(|process| process.connection.is_none()) => {
                    self.forget_dead().await;
                }
            }
        }
    }

    fn accept(&mut self, stream: UnixStream, to: &mpsc::Sender<(u32, u64, Received)>) {
        // The kernel's word, not the process's.
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
        let Some(known) = pid.and_then(ProcessId::of) else { return };
        self.numbers += 1;
        let (orders, receiver) = mpsc::channel(ORDERS);
        let process = self.processes.entry(known.pid).or_insert_with(|| Process::new(known));
        if process.known != known {
            *process = Process::new(known);
        }
        process.connection = Some((self.numbers, orders));
        tokio::spawn(carry(stream, known.pid, self.numbers, receiver, to.clone()));
        if let Some(fence) = self.fence {
            process.tell(order_of(fence).line(self.numbers));
        }
    }

    async fn take(&mut self, pid: u32, number: u64, brought: Received) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let is_newest = process.connection.as_ref().is_some_and(|(newest, _)| *newest == number);
        match brought {
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
                return self.say(Said::Event(Event::JobFinished { class, took: millis(finished.ms) })).await;
            }
            Received::Line(Line::Done(done)) => {
                if let Some(problem) = done.problem {
                    tracing::warn!(pid, problem, "the worker shim could not carry out an order completely");
                }
                if process.hand_back.take_if(|id| *id == done.id).is_none() {
                    return;
                }
                for kept in &done.kept {
                    tracing::info!(pid, job = kept.id, why = kept.why, "a job was not handed back by its own process");
                }
                let (jobs, kept) = (count(done.handed_back.len()), count(done.kept.len()));
                tracing::info!(pid, jobs, kept, "a worker process handed its jobs back");
                return self.say(Said::Event(Event::HandedBack { pid, jobs, kept })).await;
            }
        }
        self.tell_all().await;
    }

    fn order(&mut self, order: AgentOrder) {
        self.numbers += 1;
        match order {
            AgentOrder::Fence(on) => {
                self.fence = Some(on);
                // A process that PM2 starts anew is fenced before it has a word from here.
                let marked = match on {
                    true => std::fs::write(&self.mark, ""),
                    false => std::fs::remove_file(&self.mark),
                };
                if let Err(error) = marked.or_else(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }) {
                    tracing::warn!(%error, mark = %self.mark.display(), "cannot update the fence mark: a worker \
                        process that restarts may begin with the wrong fence");
                }
                for process in self.processes.values() {
                    process.tell(order_of(on).line(self.numbers));
                }
                if !on {
                    lock(&self.jobs).lost.clear();
                }
            }
            AgentOrder::HandBack(pid) => {
                if let Some(process) = self.processes.get_mut(&pid) {
                    process.hand_back = Some(self.numbers);
                    if !process.tell(Order::HandBack.line(self.numbers)) {
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

    /// Forgets processes that are gone: one that is only disconnected may run on.
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
        self.tell_all().await;
    }

    async fn tell_all(&mut self) {
        let seen: Vec<ShimProcess> = self.processes.values().filter_map(Process::for_machine).collect();
        let mut problems: Vec<String> =
            self.processes.values().flat_map(|process| process.problems.iter().cloned()).collect();
        problems.sort();
        problems.dedup();
        lock(&self.jobs).current = self.processes.values().flat_map(Process::jobs).cloned().collect();
        self.say(Said::Seen(seen, problems)).await;
    }

    async fn say(&self, said: Said) {
        // The agent is going: nobody wants to know any more.
        let _ = self.said.send(said).await;
    }
}

fn order_of(fence: bool) -> Order {
    if fence { Order::Fence } else { Order::Unfence }
}

fn lock(jobs: &Mutex<Jobs>) -> std::sync::MutexGuard<'_, Jobs> {
    // Nothing panics while it holds the lock.
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
