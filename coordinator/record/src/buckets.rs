//! A time range in equal intervals, to be drawn.

use serde::Serialize;

/// Columns of equal length, one value for each interval; null where nothing is known. Times are milliseconds since the
/// epoch, ages and waits seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Buckets {
    pub from: u64,
    pub to: u64,
    pub bucket_ms: u64,
    /// Intervals that begin here or later are not over.
    pub unfinished_from: u64,
    /// Nothing is known of before.
    pub begins: Option<u64>,
    pub at: Vec<u64>,
    /// Jobs that could start: the most in the interval.
    pub backlog: Vec<Option<u64>>,
    pub active: Vec<Option<u64>>,
    pub oldest_age: Vec<Option<f64>>,
    pub arrived: Vec<Option<u64>>,
    pub started: Vec<Option<u64>>,
    pub finished: Vec<Option<u64>>,
    pub failed: Vec<Option<u64>>,
    pub wait_p50: Vec<Option<f64>>,
    pub wait_p95: Vec<Option<f64>>,
    pub desired: Vec<Option<u32>>,
    pub ready: Vec<Option<u32>>,
    pub on_the_way: Vec<Option<u32>>,
    pub draining: Vec<Option<u32>>,
}

/// The most of two values; what is not known says nothing.
pub(crate) fn most<T: Ord + Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.max(b)
}

/// Waits by size: each bound is √2 of the one before, from half a second to two days.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    counts: Vec<u32>,
}

const BOUNDS: usize = 36;

/// The upper bound of a class, in seconds.
fn bound(class: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let exponent = class as f64 / 2.0;
    0.5 * exponent.exp2()
}

impl Waits {
    pub fn add(&mut self, wait_ms: u64, times: u32) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of a wait")]
        let seconds = wait_ms as f64 / 1000.0;
        let class = (0..BOUNDS).find(|class| seconds <= bound(*class)).unwrap_or(BOUNDS);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] = self.counts[class].saturating_add(times);
    }

    pub fn merge(&mut self, other: &Waits) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(to, from)| *to = to.saturating_add(*from));
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The wait that this share of the jobs did not exceed, in seconds, interpolated within its class; None without a
    /// job.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of jobs")]
        let mut left = all as f64 * share;
        for (class, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            if left <= count {
                let below = if class == 0 { 0.0 } else { bound(class - 1) };
                return Some(below + (bound(class) - below) * (left / count));
            }
            left -= count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_its_class_and_none_without_jobs() {
        let mut waits = Waits::default();
        assert_eq!(waits.quantile(0.5), None);
        (1..=100).for_each(|seconds| waits.add(seconds * 1000, 1));
        let (half, most) = (waits.quantile(0.5).expect("jobs"), waits.quantile(0.95).expect("jobs"));
        assert!((half - 50.0).abs() < 5.0 && (most - 95.0).abs() < 20.0, "{half} {most}");
        let mut both = Waits::default();
        both.add(300_000_000_000, 1);
        both.merge(&waits);
        assert_eq!(both.count(), 101);
        assert!(both.quantile(1.0).is_some());
    }
}
