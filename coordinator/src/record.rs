//! A pool's record: what its loop sees becomes entries, which are kept in memory for the page and in Redis for thirty
//! days. Nothing waits for it, and nothing rests on it: where it cannot be written, the pool goes on without.
//!
//! - `store`: the entries in Redis, their bounds, and reading them at a start
//! - `see`: entries of a pool's status

mod see;
mod store;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spillway_brain::{Backlog, Plan};
use spillway_proto::v1;
use spillway_record::{Frame, History, Interval, Recorder};
use tokio::sync::mpsc;

use crate::redis_client::Redis;
pub use store::Store;

/// Entries on their way to a store.
pub type Frames = mpsc::UnboundedReceiver<Vec<Frame>>;

/// Entries that are held for a history that is being read; with more of them the oldest go.
const HELD: usize = 50_000;

/// A pool's past, for whoever draws it.
#[derive(Clone, Debug, Default)]
pub struct Past(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    history: History,
    /// What was seen here while the record is read: it comes after what is read.
    held: Option<Vec<Frame>>,
}

/// The history, while nobody else has it.
#[derive(Debug)]
pub struct Looking<'a>(MutexGuard<'a, Inner>);

impl Looking<'_> {
    /// The record of before this start is not in it yet.
    pub fn is_being_read(&self) -> bool {
        self.0.held.is_some()
    }
}

impl Deref for Looking<'_> {
    type Target = History;

    fn deref(&self) -> &History {
        &self.0.history
    }
}

impl Past {
    /// Of a pool whose record is about to be read.
    fn unread() -> Self {
        Past(Arc::new(Mutex::new(Inner { history: History::default(), held: Some(Vec::new()) })))
    }

    /// Held for as short as possible: the pool's loop waits for it too.
    pub fn look(&self) -> Looking<'_> {
        Looking(self.inner())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record is read: what was seen here meanwhile comes behind it.
    fn is_read(&self, mut read: History) {
        let mut inner = self.inner();
        for frame in inner.held.take().unwrap_or_default() {
            read.add(&frame, false);
        }
        inner.history = read;
    }

    /// What another coordinator has written.
    fn add(&self, frames: &[Frame]) {
        let mut inner = self.inner();
        frames.iter().for_each(|frame| inner.history.add(frame, false));
    }
}

impl Inner {
    fn hold(&mut self, frames: impl IntoIterator<Item = Frame>) {
        let Some(held) = &mut self.held else { return };
        held.extend(frames);
        held.drain(..held.len().saturating_sub(HELD));
    }
}

/// Makes entries of what a pool's loop sees.
#[derive(Debug)]
pub struct Recording {
    recorder: Recorder,
    /// The leadership in which it was seen.
    epoch: u64,
    past: Past,
    /// To the store; None: nothing is kept in Redis.
    frames: Option<mpsc::UnboundedSender<Vec<Frame>>>,
}

impl Recording {
    /// Nothing is kept but in memory.
    pub fn in_memory() -> (Self, Past) {
        Self::begin(Past::default(), None)
    }

    /// Entries go to the store that runs with the receiver.
    pub fn kept(redis: Redis, prefix: &str, pool: &str, most: u64) -> (Self, Past, (Store, Frames)) {
        let (sender, frames) = mpsc::unbounded_channel();
        let (recording, past) = Self::begin(Past::unread(), Some(sender));
        let store = Store::new(redis, prefix, pool, most, past.clone());
        (recording, past, (store, frames))
    }

    fn begin(past: Past, frames: Option<mpsc::UnboundedSender<Vec<Frame>>>) -> (Self, Past) {
        (Recording { recorder: Recorder::default(), epoch: 0, past: past.clone(), frames }, past)
    }

    /// A plan that was saved, with what it was made from.
    pub fn decided(&mut self, plan: &Plan, backlog: Option<&Backlog>) {
        self.recorder.decided(plan, backlog);
    }

    /// What happened to jobs.
    pub fn ran(&mut self, intervals: Vec<Interval>) {
        let mut inner = self.past.inner();
        for interval in intervals {
            inner.history.ran(&interval);
            inner.hold([Frame::Interval(interval.clone())]);
            self.recorder.interval(interval);
        }
    }

    /// The pool's loop ends: what is left is written.
    pub fn finish(&mut self) {
        self.stands_by();
        self.frames = None;
    }

    /// This coordinator leads no more: what is left is written, and what others do is not this recorder's to tell.
    pub fn stands_by(&mut self) {
        let left = std::mem::take(&mut self.recorder).finish();
        self.tell(left);
    }

    /// A leader's pool as it is published in this epoch, `now` in milliseconds since the epoch of Unix.
    pub fn saw(&mut self, view: &v1::Pool, epoch: u64, now: u64) {
        if self.epoch != epoch {
            self.stands_by();
            self.epoch = epoch;
        }
        let look = see::look(view, now);
        self.recorder.look(look.clone());
        for instance in &view.instances {
            let (ids, steps) = (see::ids(instance, now), see::steps(instance));
            let since = see::millis(instance.phase_since.as_ref()).unwrap_or(now);
            let phase = (instance.phase.as_str(), since, instance.phase_reason.as_str());
            self.recorder.instance(ids, phase, &steps, instance.jobs_in_redis);
        }
        let there: BTreeSet<String> = view.instances.iter().map(|it| it.token.clone()).collect();
        self.recorder.only(&there, now);
        {
            let mut inner = self.past.inner();
            inner.history.look(&look);
            if inner.held.is_none() {
                self.recorder.lost(inner.history.not_seen_again(&there));
            }
        }
        let frames = self.recorder.take(now);
        self.tell(frames);
    }

    /// To the history in memory, and to the store.
    fn tell(&self, frames: Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let mut inner = self.past.inner();
        frames.iter().for_each(|frame| inner.history.add(frame, true));
        // Those of jobs are held one by one, by `ran`.
        inner.hold(frames.iter().filter(|frame| !matches!(frame, Frame::Interval(_))).cloned());
        drop(inner);
        if let Some(store) = &self.frames {
            // It ends with the process alone.
            let _ = store.send(frames);
        }
    }
}
