//! The queue's jobs one by one, as a look at Redis tells them. Owns how long those took that ended since the last one.

use std::time::Duration;

use spillway_brain::{Finished, InstanceId, Running, Waiting, Work};

use crate::agenda::C;
use crate::bull::Bull;
use crate::world::World;

/// Jobs that ended, of which Redis keeps the hashes.
const KEPT: usize = 100;

impl Bull {
    /// A run of it was over, after so long.
    pub(super) fn has_ended(&mut self, now: u64, took: u64) {
        self.ended.push_back((now, took));
        if self.ended.len() > KEPT {
            self.ended.pop_front();
        }
    }

    /// Since when each waiting job could have started; those that start first come first.
    fn waiting_since(&self, now: u64) -> impl Iterator<Item = u64> {
        let due = self.delayed.range(..(now + 1, 0)).map(|(_, job)| job);
        let all = self.wait.iter().chain(due).chain(self.prioritized.values());
        all.map(|job| self.jobs[*job].ready_at)
    }

    /// How long the job that starts next has waited.
    pub fn next_has_waited(&self, now: u64) -> Option<u64> {
        self.waiting_since(now).next().map(|since| now.saturating_sub(since))
    }
}

impl World {
    /// What this coordinator's look shows.
    pub fn work(&mut self, c: C) -> Work {
        let since = std::mem::replace(&mut self.coordinators[c].looked_at, self.now);
        let age = |since: u64| Duration::from_millis(self.now.saturating_sub(since));
        let waiting = self.bull.waiting_since(self.now).map(|since| Waiting { age: age(since), jobs: 1 }).collect();
        let running = self.bull.active.iter().map(|job| {
            let run = self.bull.jobs[*job].run.map(|run| &self.bull.runs[run]);
            Running {
                on: self.holder(*job).map(|n| InstanceId(format!("i-{n}"))),
                elapsed: run.map_or(Duration::ZERO, |run| age(run.began)),
                name: String::new(),
            }
        });
        let ended = self.bull.ended.iter().filter(|(at, _)| *at > since);
        let finished = ended.map(|(_, took)| Finished { took: Duration::from_millis(*took), name: String::new() });
        Work {
            waiting: [("video".to_owned(), waiting)].into(),
            running: running.collect(),
            finished: finished.collect(),
        }
    }
}
