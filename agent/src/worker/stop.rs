//! Stops the worker and sees to it that nothing of it is left. Owns the kill; never decides when (the machine does).
//!
//! PM2 signals the worker and waits; one stop is requested per process, in parallel, since it stops several one after
//! the other. Before that the whole tree is recorded: a sandboxed processor's child outlives its parent and would go on
//! with its job.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::pm2::{Pm2, Process};
use super::proc::{self, ProcessId};

/// Between two checks of what still runs; doubles up to `MAX_POLL`.
const POLL: Duration = Duration::from_millis(200);
const MAX_POLL: Duration = Duration::from_secs(1);
/// For what PM2 has left running to end by itself.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// For PM2 to signal a process, under load: one that is killed before is restarted by PM2.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest that one stop waits for PM2's answer: as long as PM2 waits for the worker.
const STOP_LIMIT: Duration = Duration::from_secs(86_400);

/// How a worker was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Something of it had to be killed, by us or by PM2.
    pub killed: bool,
}

/// Stops all processes of the worker, and returns when none of them nor of their children is left, and PM2 is about to
/// start none. When `kill` turns true, what is left is killed.
pub async fn stop(pm2: &Pm2, instance_id: &str, mut kill: watch::Receiver<bool>) -> Stopped {
    let mut killed = false;
    let mut known = BTreeSet::new();
    loop {
        if *kill.borrow() {
            freeze(pm2, instance_id);
        }
        let processes = match pm2.list().await {
            Ok(processes) => processes,
            Err(error) => {
                tracing::warn!(problem = %error, "cannot ask pm2 to stop the worker; will retry");
                if *kill.borrow() {
                    killed = true;
                    pm2.kill_daemon();
                    known.extend(pm2.spawned(instance_id));
                    signal_all(pm2, &known, Signal::KILL);
                }
                sleep(MAX_POLL).await;
                continue;
            }
        };
        let roots: Vec<ProcessId> = processes.iter().filter_map(|process| ProcessId::of(process.pid?)).collect();
        known.extend(own_tree(pm2, &roots));
        let mut stops = request_stops(pm2, processes);
        let requested = Instant::now();
        let signalled = |root: &ProcessId| !root.lives() || proc::is_pending(root.pid, proc::SIGINT);
        let spawned = pm2.spawned(instance_id);
        let pm2_stops_nothing = stops.is_empty();
        if pm2_stops_nothing {
            signal_all(pm2, &spawned, Signal::INT);
        }
        known.extend(spawned);
        if stops.is_empty() && count_alive(pm2, &mut known) == 0 {
            return Stopped { killed };
        }
        let mut leftover_since = None;
        let mut poll = POLL;
        while count_alive(pm2, &mut known) > 0 || !stops.is_empty() {
            let is_overdue = if stops.is_empty() && !pm2_stops_nothing {
                // PM2 is done, and these are left over.
                leftover_since.get_or_insert_with(Instant::now).elapsed() >= LEFTOVER_GRACE
            } else {
                false
            };
            // A frozen process shows that PM2 has signalled it, and so will not restart it.
            let pm2_has_signalled =
                pm2_stops_nothing || requested.elapsed() >= SIGNAL_TIMEOUT || roots.iter().all(signalled);
            if !known.is_empty() && (is_overdue || (*kill.borrow() && pm2_has_signalled)) {
                killed = true;
                signal_all(pm2, &known, Signal::KILL);
            }
            tokio::select! {
                () = sleep(poll) => poll = (poll * 2).min(MAX_POLL),
                Some(overdue) = stops.join_next(), if !stops.is_empty() => killed |= overdue.unwrap_or(false),
                Ok(()) = kill.changed() => {}
            }
        }
    }
}

/// Freezes all of the worker: PM2 takes its time to stop a process, and would restart one that is killed before. Frozen
/// processes run no job, and are killed next.
pub fn freeze(pm2: &Pm2, instance_id: &str) {
    let spawned = pm2.spawned(instance_id);
    signal_all(pm2, &spawned, Signal::STOP);
    signal_all(pm2, &proc::tree(spawned.iter().map(|known| known.pid)), Signal::STOP);
}

/// Requests PM2 to stop each of these; true for each that took so long that PM2 killed it.
fn request_stops(pm2: &Pm2, processes: Vec<Process>) -> JoinSet<bool> {
    let mut stops = JoinSet::new();
    for process in processes.into_iter().filter(|process| !process.is_stopped()) {
        let pm2 = pm2.clone();
        stops.spawn(async move {
            let patience = process.kill_timeout.unwrap_or_else(|| pm2.daemon_kill_timeout());
            let requested = Instant::now();
            if let Err(error) = pm2.stop(process.id, STOP_LIMIT).await {
                tracing::warn!(process = process.id, problem = %error, "pm2 did not stop a process; will retry");
            }
            requested.elapsed() >= patience
        });
    }
    stops
}

fn count_alive(pm2: &Pm2, known: &mut BTreeSet<ProcessId>) -> usize {
    known.retain(|known| known.lives());
    let children = own_tree(pm2, &*known);
    known.extend(children);
    known.len()
}

/// These and what descends from them, as far as it belongs to the worker's user.
fn own_tree<'a>(pm2: &Pm2, roots: impl IntoIterator<Item = &'a ProcessId>) -> BTreeSet<ProcessId> {
    let mut tree = proc::tree(roots.into_iter().map(|root| root.pid));
    tree.retain(|known| pm2.owns(known.pid));
    tree
}

fn signal_all(pm2: &Pm2, known: &BTreeSet<ProcessId>, signal: Signal) {
    for known in known {
        known.signal_if(signal, |pid| pm2.owns(pid));
    }
}
