//! Stops the worker and sees to it that nothing of it is left. Owns the kill; never decides when (the machine does).
//!
//! PM2 signals the worker and waits; it is asked once per process, in parallel, since it stops several one after the
//! other. Before that the whole tree is written down: a sandboxed processor's child outlives its parent and would go on
//! with its job.

use super::pm2::Pm2;
use super::proc::{self, Known};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Between two looks at what still runs.
const LOOK: Duration = Duration::from_millis(200);
/// What PM2 has left running gets so long to go by itself.
const STRAY_GRACE: Duration = Duration::from_secs(2);
/// The longest that one stop waits for PM2's answer: as long as PM2 waits for the worker.
const STOP_LIMIT: Duration = Duration::from_secs(86_400);

/// How a worker was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Something of it had to be killed, by us or by PM2.
    pub killed: bool,
}

/// Stops all processes of the worker, and returns when none of them nor of their children is left. When `kill` turns
/// true, what is left is killed.
pub async fn stop(pm2: &Pm2, instance_id: &str, mut kill: watch::Receiver<bool>) -> Stopped {
    let mut killed = false;
    let mut known = BTreeSet::new();
    loop {
        let mut stops = JoinSet::new();
        match pm2.list().await {
            Ok(processes) => {
                known.extend(proc::tree(processes.iter().filter_map(|process| process.pid)));
                for process in processes.iter().filter(|process| !process.is_stopped()) {
                    let (pm2, id) = (pm2.clone(), process.id);
                    let patience = process.kill_timeout.unwrap_or_else(|| pm2.daemon_patience());
                    let asked = Instant::now();
                    stops.spawn(async move {
                        let stopped = pm2.stop(id, STOP_LIMIT).await;
                        if let Err(error) = &stopped {
                            tracing::warn!(id, %error, "pm2 did not stop a process");
                        }
                        asked.elapsed() >= patience
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "pm2 cannot be asked to stop the worker"),
        }
        let nothing_to_stop = stops.is_empty();
        let strays = pm2.strays(instance_id);
        if nothing_to_stop {
            // Nobody else will tell them.
            signal_all(&strays, Signal::INT);
        }
        known.extend(strays);
        let mut stray_since = None;
        while !known.is_empty() || !stops.is_empty() {
            let live = living(&mut known);
            if *kill.borrow() && !known.is_empty() {
                killed = true;
                signal_all(&known, Signal::KILL);
            } else if stops.is_empty() && live > 0 && !nothing_to_stop {
                // PM2 is done, and this is left.
                let since = *stray_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= STRAY_GRACE {
                    killed = true;
                    signal_all(&known, Signal::KILL);
                }
            }
            tokio::select! {
                () = sleep(LOOK) => {}
                Some(overdue) = stops.join_next(), if !stops.is_empty() => killed |= overdue.unwrap_or(false),
                Ok(()) = kill.changed() => {}
            }
        }
        if nothing_to_stop && known.is_empty() {
            return Stopped { killed };
        }
    }
}

fn living(known: &mut BTreeSet<Known>) -> usize {
    let children = proc::tree(known.iter().filter(|known| known.lives()).map(|known| known.pid));
    known.extend(children);
    known.retain(|known| known.lives());
    known.len()
}

fn signal_all(known: &BTreeSet<Known>, signal: Signal) {
    for known in known {
        if let Some(pid) = i32::try_from(known.pid).ok().and_then(Pid::from_raw) {
            // It may be gone already.
            let _ = kill_process(pid, signal);
        }
    }
}
