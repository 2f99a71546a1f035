//! The task that looks at the worker. Owns the rhythm: at the pace that the phase asks for, and at once when a process
//! of the worker is no longer the one that was seen.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::Input;
use crate::worker::{Baseline, Observer, Pace};

/// Between two looks at the process table alone.
const GLANCE: Duration = Duration::from_secs(1);

/// What to look at, and how often.
#[derive(Clone, Debug)]
pub struct Watching {
    /// How often.
    pub pace: Pace,
    /// Changes when the worker is started again: looks at the one before are void.
    pub generation: u64,
    /// The worker is being started again: what is seen meanwhile says nothing.
    pub is_starting: bool,
    /// Where restarts are counted from.
    pub baseline: Baseline,
}

/// Looks until nobody wants to know any more.
pub async fn watch(mut observer: Observer, mut watched: watch::Receiver<Watching>, to: mpsc::Sender<Input>) {
    let mut generation = 0;
    loop {
        let watching = watched.borrow_and_update().clone();
        if watching.generation != generation {
            generation = watching.generation;
            observer.restart(watching.baseline);
        }
        if watching.pace == Pace::Off {
            if watched.changed().await.is_err() {
                return;
            }
            continue;
        }
        let look = observer.look(watching.pace).await;
        if to.send(Input::Looked(generation, Box::new(look))).await.is_err() {
            return;
        }
        let next = Instant::now() + watching.pace.interval();
        while Instant::now() < next && !observer.is_out_of_date() {
            tokio::select! {
                () = sleep(GLANCE.min(next.duration_since(Instant::now()))) => {}
                changed = watched.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}
