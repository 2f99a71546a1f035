//! Many runs on several threads. Owns the totals; a run that fails can be repeated for its timeline.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::counts::Counts;
use crate::invariants::{Invariant, Violation};
use crate::{Keep, Outcome, run};

/// One in so many seeds is run twice, to compare the hashes.
const RUN_TWICE: u64 = 50;

/// What to sweep.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub seeds: std::ops::Range<u64>,
    pub fault_time: u64,
    pub threads: usize,
    /// Stop at the first violation.
    pub until_first: bool,
}

/// The totals of a sweep.
#[derive(Debug, Default)]
pub struct Totals {
    pub runs: u64,
    pub events: u64,
    pub virtual_ms: u64,
    pub counts: Counts,
    /// Runs with a violation, by seed.
    pub failures: Vec<Outcome>,
    /// Seeds whose two runs gave different hashes.
    pub unsteady: Vec<u64>,
    pub run_twice: u64,
}

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The seed that this thread is running, for the panic hook.
pub fn seed_of_this_thread() -> Option<u64> {
    SEED.get()
}

/// One run; a panic becomes a violation (in builds where panics unwind).
pub fn guarded(seed: u64, fault_time: u64, keep: Keep) -> Outcome {
    SEED.set(Some(seed));
    std::panic::catch_unwind(|| run(seed, fault_time, keep)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        Outcome {
            seed,
            hash: 0,
            events: 0,
            virtual_ms: 0,
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

/// A sweep of more runs must have every kind of fault.
const ALL_MET: u64 = 50;

impl Totals {
    /// What should have happened in a sweep of this size, and did not.
    pub fn never(&self) -> Vec<&'static str> {
        if self.runs > ALL_MET && self.failures.is_empty() { self.counts.never() } else { Vec::new() }
    }

    pub fn is_well(&self) -> bool {
        self.failures.is_empty() && self.unsteady.is_empty() && self.never().is_empty()
    }
}

impl Sweep {
    /// Runs all seeds. `progress` is called as each run ends, with the number of runs that have ended.
    pub fn run(&self, progress: impl Fn(&Outcome, u64) + Sync) -> Totals {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let totals = Mutex::new(Totals::default());
        let runs = AtomicU64::new(0);
        let ended = |outcome: &Outcome| progress(outcome, runs.fetch_add(1, Ordering::Relaxed) + 1);
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
            own.runs += 1;
            own.events += outcome.events;
            own.virtual_ms += outcome.virtual_ms;
            own.counts.merge(&outcome.counts);
            if outcome.violation.is_some() {
                if self.until_first {
                    stop.store(true, Ordering::Relaxed);
                }
                own.failures.push(outcome);
            } else if seed.is_multiple_of(RUN_TWICE) {
                own.run_twice += 1;
                let again = guarded(seed, self.fault_time, Keep::Nothing);
                if again.hash != outcome.hash || again.events != outcome.events {
                    own.unsteady.push(seed);
                }
            }
        }
        let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        totals.runs += own.runs;
        totals.events += own.events;
        totals.virtual_ms += own.virtual_ms;
        totals.counts.merge(&own.counts);
        totals.failures.append(&mut own.failures);
        totals.unsteady.append(&mut own.unsteady);
        totals.run_twice += own.run_twice;
    }
}
