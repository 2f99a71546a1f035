//! A pool's record: what its loop sees becomes entries, which are kept in memory for the page and in Redis for thirty
//! days. Nothing waits for it, and nothing rests on it: where it cannot be written, the pool goes on without.
//!
//! - `store`: the entries in Redis, their bounds, and reading them at a start
//! - `see`: entries of a pool's status

mod see;
mod store;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spillway_brain::{Backlog, Plan};
use spillway_proto::v1;
use spillway_record::{Frame, History, Interval, Recorder};
use tokio::sync::mpsc;

pub use store::Store;

/// A pool's past, for whoever draws it.
#[derive(Clone, Debug, Default)]
pub struct Past(Arc<Mutex<History>>);

impl Past {
    pub fn look(&self) -> MutexGuard<'_, History> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes entries of what a pool's loop sees.
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    past: Past,
    /// To the store; None: nothing is kept in Redis.
    frames: Option<mpsc::UnboundedSender<Vec<Frame>>>,
}

impl Recording {
    /// Entries go to the store that runs with the receiver.
    pub fn new(past: Past, frames: Option<mpsc::UnboundedSender<Vec<Frame>>>) -> Self {
        Recording { recorder: Recorder::default(), past, frames }
    }

    /// A plan that was saved, with what it was made from.
    pub fn decided(&mut self, plan: &Plan, backlog: Option<&Backlog>) {
        self.recorder.decided(plan, backlog);
    }

    /// What happened to jobs.
    pub fn ran(&mut self, intervals: Vec<Interval>) {
        for interval in intervals {
            self.past.look().ran(&interval);
            self.recorder.interval(interval);
        }
    }

    /// The pool's loop ends: what is left is written.
    pub fn finish(&mut self) {
        if let Some(store) = self.frames.take() {
            let _ = store.send(self.recorder.finish());
        }
    }

    /// A leader's pool as it is published, `now` in milliseconds since the epoch.
    pub fn saw(&mut self, view: &v1::Pool, now: u64) {
        let look = see::look(view, now);
        self.past.look().look(&look);
        self.recorder.look(look);
        for instance in &view.instances {
            let (ids, steps) = (see::ids(instance, now), see::steps(instance));
            let since = see::millis(instance.phase_since.as_ref()).unwrap_or(now);
            let phase = (instance.phase.as_str(), since, instance.phase_reason.as_str());
            self.recorder.instance(ids, phase, &steps, instance.jobs_in_redis);
        }
        let there: BTreeSet<String> = view.instances.iter().map(|it| it.token.clone()).collect();
        self.recorder.only(&there, now);
        let frames = self.recorder.take(now);
        if frames.is_empty() {
            return;
        }
        {
            let mut past = self.past.look();
            frames.iter().for_each(|frame| past.add(frame, true));
        }
        if let Some(store) = &self.frames {
            // It ends with the process alone.
            let _ = store.send(frames);
        }
    }
}
