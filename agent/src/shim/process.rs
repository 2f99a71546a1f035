//! One process with the shim: its connection, and the state that it last reported.

use std::collections::BTreeSet;

use core::time::Duration;

use spillway_machine::{Doing, Server, ShimJob, ShimProcess, ShimWorker, Timestamp};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::Place;
use super::wire::{self, HandsBack, Job, State};
use crate::worker::proc::ProcessId;

/// Commands that may wait for a process to read them; more end the connection.
pub const COMMANDS_WAITING: usize = 16;
/// A fetch that Redis has not answered for so long, beyond the time that the Worker lets it wait, is no wait any more.
const UNANSWERED: Duration = Duration::from_secs(15);
/// BullMQ's drainDelay, unless a worker sets another.
const DRAIN_DELAY_MS: f64 = 5_000.0;
/// Problems kept of one process.
const PROBLEMS_KEPT: usize = 8;

/// Received on a connection.
#[derive(Debug)]
pub enum Received {
    Line(wire::Line),
    /// A line that is not understood.
    Malformed,
    Closed,
}

/// A process.
#[derive(Debug)]
pub struct Process {
    /// Not to be taken for a later one of the same number.
    pub known: ProcessId,
    /// Its newest connection, while it is open.
    pub connection: Option<(u64, mpsc::Sender<String>)>,
    /// The last state, and when it came.
    pub state: Option<(State, Timestamp)>,
    pub problems: BTreeSet<String>,
    /// The command to hand back that is not answered yet.
    pub hand_back: Option<u64>,
}

impl Process {
    pub fn new(known: ProcessId) -> Self {
        Self { known, connection: None, state: None, problems: BTreeSet::new(), hand_back: None }
    }

    pub fn note(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_KEPT && !problem.is_empty() {
            self.problems.insert(problem);
        }
    }

    pub fn send(&self, line: String) -> bool {
        self.connection.as_ref().is_some_and(|(_, commands)| commands.try_send(line).is_ok())
    }

    pub fn workers(&self) -> &[wire::Worker] {
        self.state.as_ref().map_or(&[], |(state, _)| &state.workers)
    }

    pub fn jobs(&self) -> &[Job] {
        self.state.as_ref().map_or(&[], |(state, _)| &state.jobs)
    }

    /// For the machine; `None` before its first state.
    pub fn for_machine(&self, place: &Place) -> Option<ShimProcess> {
        let (state, at) = self.state.as_ref()?;
        let job = |job: &Job| ShimJob { class: format!("{}/{}", job.queue, job.name), began: at.minus(millis(job.ms)) };
        Some(ShimProcess {
            pid: self.known.pid,
            fenced: state.fenced,
            can_hand_back: state.workers.iter().all(|worker| worker.hand_back == HandsBack::Wait)
                && state.jobs.iter().all(|job| !job.sandboxed),
            jobs: state.jobs.iter().map(job).collect(),
            heard_at: *at,
            workers: state.workers.iter().filter_map(|worker| for_machine(worker, place)).collect(),
        })
    }
}

/// `None` where its shim does not say what it does.
fn for_machine(worker: &wire::Worker, place: &Place) -> Option<ShimWorker> {
    let waited = millis(worker.quiet_ms.unwrap_or(0.0));
    let is_unanswered = |may_wait_ms: f64| waited > millis(may_wait_ms) + UNANSWERED;
    let is_connected = worker.ready != Some(false);
    let doing = match worker.doing {
        wire::Doing::Unknown => return None,
        wire::Doing::Working => Doing::Works,
        wire::Doing::New | wire::Doing::Closing => Doing::NotRunning,
        _ if !is_connected => Doing::Disconnected,
        wire::Doing::Waiting if is_unanswered(worker.drain_ms.unwrap_or(DRAIN_DELAY_MS)) => Doing::Disconnected,
        wire::Doing::Fetching if is_unanswered(DRAIN_DELAY_MS) => Doing::Disconnected,
        wire::Doing::Waiting | wire::Doing::Fetching => Doing::Works,
        wire::Doing::Limited => Doing::Limited,
        wire::Doing::Paused => Doing::Paused,
    };
    let server = worker.run_id.clone().zip(worker.db).map(|(run_id, db)| Server { run_id, db });
    Some(ShimWorker { is_ours: place.is_ours(worker), doing, server, has_finished: worker.ended > 0 })
}

/// A duration as JavaScript counts it; nonsense is none at all.
pub fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

/// Carries a connection until it ends, whoever ends it.
pub async fn carry(
    stream: UnixStream,
    pid: u32,
    number: u64,
    mut commands: mpsc::Receiver<String>,
    to: mpsc::Sender<(u32, u64, Received)>,
) {
    let (read, mut write) = stream.into_split();
    let write = async move {
        while let Some(command) = commands.recv().await {
            if write.write_all(command.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    let from = to.clone();
    let read = async move {
        let mut lines = BufReader::new(read);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = wire::MAX_LINE as u64;
            match (&mut lines).take(limit).read_until(b'\n', &mut line).await {
                Ok(n) if n > 0 && line.ends_with(b"\n") => {}
                _ => return,
            }
            let received = wire::parse(&line).map_or(Received::Malformed, Received::Line);
            if from.send((pid, number, received)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = write => {} () = read => {} }
    let _ = to.send((pid, number, Received::Closed)).await;
}
