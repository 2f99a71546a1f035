//! Stops the worker and sees to it that nothing of it is left. Owns the kill; never decides when (the machine does).
//!
//! PM2 signals the worker and waits; it is asked once per process, in parallel, since it stops several one after the
//! other. Before that the whole tree is written down: a sandboxed processor's child outlives its parent and would go on
//! with its job.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::pm2::{Pm2, Process};
use super::proc::{self, ProcessId};

/// How often is checked what still runs; it grows to the second.
const POLL: Duration = Duration::from_millis(200);
const MAX_POLL: Duration = Duration::from_secs(1);
/// What PM2 has left running gets so long to go by itself.
const STRAY_GRACE: Duration = Duration::from_secs(2);
/// PM2 needs so long to be told to stop a process, under load; killed before that, the process would be started anew.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
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
                tracing::warn!(%error, "cannot ask pm2 to stop the worker; will retry");
                if *kill.borrow() {
                    killed = true;
                    pm2.kill_daemon();
                    known.extend(pm2.strays(instance_id));
                    signal_all(&known, Signal::KILL);
                }
                sleep(MAX_POLL).await;
                continue;
            }
        };
        let roots: Vec<ProcessId> = processes.iter().filter_map(|process| ProcessId::of(process.pid?)).collect();
        known.extend(proc::tree(roots.iter().map(|root| root.pid)));
        let mut stops = ask(pm2, processes);
        let asked = Instant::now();
        let told = |root: &ProcessId| !root.lives() || proc::is_pending(root.pid, proc::SIGINT);
        let strays = pm2.strays(instance_id);
        let nobody_else_tells_them = stops.is_empty();
        if nobody_else_tells_them {
            signal_all(&strays, Signal::INT);
        }
        known.extend(strays);
        if stops.is_empty() && living(&mut known) == 0 {
            return Stopped { killed };
        }
        let mut stray_since = None;
        let mut poll = POLL;
        while living(&mut known) > 0 || !stops.is_empty() {
            let is_overdue = if stops.is_empty() && !nobody_else_tells_them {
                // PM2 is done, and this is left.
                stray_since.get_or_insert_with(Instant::now).elapsed() >= STRAY_GRACE
            } else {
                false
            };
            // A frozen process shows that PM2 has signalled it, and so will not start it anew.
            let pm2_knows = nobody_else_tells_them || asked.elapsed() >= TOLD_WITHIN || roots.iter().all(told);
            if !known.is_empty() && (is_overdue || (*kill.borrow() && pm2_knows)) {
                killed = true;
                signal_all(&known, Signal::KILL);
            }
            tokio::select! {
                () = sleep(poll) => poll = (poll * 2).min(MAX_POLL),
                Some(overdue) = stops.join_next(), if !stops.is_empty() => killed |= overdue.unwrap_or(false),
                Ok(()) = kill.changed() => {}
            }
        }
    }
}

/// Nothing of the worker goes on: PM2 takes its time to be asked, and would start a killed process anew before. Frozen
/// processes hold no job that runs, and are killed next.
pub fn freeze(pm2: &Pm2, instance_id: &str) {
    let strays = pm2.strays(instance_id);
    signal_all(&strays, Signal::STOP);
    signal_all(&proc::tree(strays.iter().map(|known| known.pid)), Signal::STOP);
}

/// Asks PM2 to stop each of these; each answer says whether PM2 took so long that it killed.
fn ask(pm2: &Pm2, processes: Vec<Process>) -> JoinSet<bool> {
    let mut stops = JoinSet::new();
    for process in processes.into_iter().filter(|process| !process.is_stopped()) {
        let pm2 = pm2.clone();
        stops.spawn(async move {
            let patience = process.kill_timeout.unwrap_or_else(|| pm2.daemon_kill_timeout());
            let asked = Instant::now();
            if let Err(error) = pm2.stop(process.id, STOP_LIMIT).await {
                tracing::warn!(id = process.id, %error, "pm2 did not stop a process; will retry");
            }
            asked.elapsed() >= patience
        });
    }
    stops
}

fn living(known: &mut BTreeSet<ProcessId>) -> usize {
    known.retain(|known| known.lives());
    let children = proc::tree(known.iter().map(|known| known.pid));
    known.extend(children);
    known.len()
}

fn signal_all(known: &BTreeSet<ProcessId>, signal: Signal) {
    for known in known {
        known.signal(signal);
    }
}
