//! The task that checks the worker. Owns the schedule: at the pace of the phase, and at once when a process
//! of the worker is no longer the one that was seen.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::Input;
use crate::worker::{Baseline, Observer, Pace};

/// How often the process table alone is read.
const GLANCE: Duration = Duration::from_secs(1);

/// How often to check, and from where restarts count.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// How often.
    pub pace: Pace,
    /// Changes when the worker is started again: checks of the one before are void.
    pub generation: u64,
    /// The worker is being started again: checks meanwhile are void.
    pub is_starting: bool,
    /// Where restarts are counted from.
    pub baseline: Baseline,
}

/// Checks until the agent stops.
pub async fn run(mut observer: Observer, mut schedules: watch::Receiver<Schedule>, to: mpsc::Sender<Input>) {
    let mut generation = 0;
    loop {
        let schedule = schedules.borrow_and_update().clone();
        if schedule.generation != generation {
            generation = schedule.generation;
            observer.restart(schedule.baseline);
        }
        if schedule.pace == Pace::Off {
            if schedules.changed().await.is_err() {
                return;
            }
            continue;
        }
        let check = observer.check(schedule.pace).await;
        if to.send(Input::WorkerChecked(generation, Box::new(check))).await.is_err() {
            return;
        }
        let next = Instant::now() + schedule.pace.interval();
        while Instant::now() < next && !observer.is_out_of_date() {
            tokio::select! {
                () = sleep(GLANCE.min(next.duration_since(Instant::now()))) => {}
                changed = schedules.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}
