//! Many lives, on some threads. Owns the totals; a life's failure is lived once more for its timeline.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::counts::Counts;
use crate::watch::{Invariant, Violation};
use crate::{Keep, Outcome, live};

/// One in so many lives is lived twice, for its hash.
const LIVED_TWICE: u64 = 50;

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub seeds: std::ops::Range<u64>,
    pub fault_time: u64,
    pub threads: usize,
    /// End at the first violation.
    pub until_first: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Totals {
    pub lives: u64,
    pub events: u64,
    pub lived: u64,
    pub counts: Counts,
    /// By seed.
    pub failures: Vec<Outcome>,
    /// Seeds that gave two hashes.
    pub unsteady: Vec<u64>,
    pub lived_twice: u64,
}

thread_local! {
    static LIVED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The seed that this thread lives: a panic's hook says it, where a panic ends the program.
pub fn seed_of_this_thread() -> Option<u64> {
    LIVED.get()
}

/// A life that cannot take the others down (where panics unwind).
pub fn guarded(seed: u64, fault_time: u64, keep: Keep) -> Outcome {
    LIVED.set(Some(seed));
    std::panic::catch_unwind(|| live(seed, fault_time, keep)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Outcome {
            seed,
            hash: 0,
            events: 0,
            lived: 0,
            counts: Counts::default(),
            violation: Some(Violation {
                invariant: Invariant::Panics,
                at: crate::clock::START,
                detail: words.unwrap_or_default(),
            }),
            timeline: Vec::new(),
        }
    })
}

/// A sweep of more lives must meet every kind of fault.
const ALL_MET: u64 = 50;

impl Totals {
    /// What should have happened, and did not.
    pub fn never(&self) -> Vec<&'static str> {
        if self.lives > ALL_MET && self.failures.is_empty() { self.counts.never() } else { Vec::new() }
    }

    pub fn is_well(&self) -> bool {
        self.failures.is_empty() && self.unsteady.is_empty() && self.never().is_empty()
    }
}

impl Sweep {
    /// Lives them all. `tell` hears of each life as it ends, and how many have ended.
    pub fn run(&self, tell: impl Fn(&Outcome, u64) + Sync) -> Totals {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let totals = Mutex::new(Totals::default());
        let lives = AtomicU64::new(0);
        let ended = |outcome: &Outcome| tell(outcome, lives.fetch_add(1, Ordering::Relaxed) + 1);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| self.work(&next, &stop, &totals, &ended));
            }
        });
        let mut totals = totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        totals.failures.sort_by_key(|failure| failure.seed);
        totals
    }

    fn work(&self, next: &AtomicU64, stop: &AtomicBool, totals: &Mutex<Totals>, ended: &impl Fn(&Outcome)) {
        let mut own = Totals::default();
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.seeds.end {
                break;
            }
            let outcome = guarded(seed, self.fault_time, Keep::Nothing);
            ended(&outcome);
            own.lives += 1;
            own.events += outcome.events;
            own.lived += outcome.lived;
            own.counts.merge(&outcome.counts);
            if outcome.violation.is_some() {
                if self.until_first {
                    stop.store(true, Ordering::Relaxed);
                }
                own.failures.push(outcome);
            } else if seed.is_multiple_of(LIVED_TWICE) {
                own.lived_twice += 1;
                let again = guarded(seed, self.fault_time, Keep::Nothing);
                if again.hash != outcome.hash || again.events != outcome.events {
                    own.unsteady.push(seed);
                }
            }
        }
        let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        totals.lives += own.lives;
        totals.events += own.events;
        totals.lived += own.lived;
        totals.counts.merge(&own.counts);
        totals.failures.append(&mut own.failures);
        totals.unsteady.append(&mut own.unsteady);
        totals.lived_twice += own.lived_twice;
    }
}
