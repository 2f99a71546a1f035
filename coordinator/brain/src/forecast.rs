//! When the waiting jobs will start: a forecast from what was measured, for the `wait` policy.
//!
//! Jobs start in the order in which they wait, whenever a slot is free. How many start by a moment is a sum over the
//! slots of what each is expected to end by then, and no job has to be walked: a look at 100,000 jobs costs as much as
//! one at a few.

use std::time::Duration;

use crate::measures::Durations;
use crate::time::millis;
use crate::work::Waiting;

/// Beyond the boot itself: until the launch is accepted, and until the first job is taken.
pub(crate) const AROUND_A_BOOT: Duration = Duration::from_secs(15);

/// The jobs that wait, and what they are promised. Spans are in milliseconds from now.
#[derive(Clone, Debug)]
pub(crate) struct Forecast<'a> {
    pub waiting: &'a [Waiting],
    pub durations: &'a Durations,
    /// Until an instance that is launched now takes its first job.
    pub boot: u64,
    pub target: u64,
    /// The share of the waiting jobs that must start within their promise.
    pub quantile: f64,
}

/// Slots of workers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots<'a> {
    /// When they are there, and how many: they run nothing.
    free: Vec<(u64, u64)>,
    /// The name of the job that each runs, and since when.
    busy: Vec<(&'a str, u64)>,
}

/// What is promised must hold where more jobs are long than usual: so many standard deviations of the starts are taken
/// off. Chosen on real arrivals: with none the target is kept by a hair, and two cost more than they are worth.
const DEVIATIONS: f64 = 1.0;

/// No wait is longer: four weeks.
const LONGEST: u64 = 28 * 86_400_000;

impl<'a> Slots<'a> {
    pub(crate) fn add_free(&mut self, there_in: u64, slots: u64) {
        match self.free.iter_mut().find(|(at, _)| *at == there_in) {
            Some((_, known)) => *known += slots,
            None if slots > 0 => self.free.push((there_in, slots)),
            None => {}
        }
    }

    pub(crate) fn add_busy(&mut self, name: &'a str, elapsed: u64) {
        self.busy.push((name, elapsed));
    }

    /// Jobs that they run at a time.
    pub(crate) fn count(&self) -> u64 {
        self.free.iter().map(|(_, slots)| slots).sum::<u64>() + self.busy.len() as u64
    }

    pub(crate) fn extend(&mut self, other: Slots<'a>) {
        other.free.into_iter().for_each(|(there_in, slots)| self.add_free(there_in, slots));
        self.busy.extend(other.busy);
    }

    pub(crate) fn with(&self, there_in: u64, slots: u64) -> Slots<'a> {
        let mut all = self.clone();
        all.add_free(there_in, slots);
        all
    }

    /// Jobs that will have started by then, but for bad luck.
    fn starts_by(&self, then: u64, durations: &Durations) -> u64 {
        let (rate, spread) = (durations.rate(then), durations.spread(then));
        // A slot that is never idle has on average a part of a job under way: half of one where durations are alike,
        // none where they are exponential (the renewal function's second term).
        let under_way = (1.0 - spread.min(1.0)) / 2.0;
        let (mut at_once, mut ends, mut certainly, mut later) = (0, 0.0, 0.0, 0.0);
        for (at, slots) in self.free.iter().filter(|(at, _)| *at <= then) {
            at_once += slots;
            let span = then - at;
            later += *slots as f64 * (span as f64 * durations.rate(span) - under_way).max(0.0);
        }
        for (name, elapsed) in &self.busy {
            let (end, after) = durations.left(name, *elapsed, then);
            ends += end;
            certainly += end * end;
            later += (after * rate - under_way * end).max(0.0);
        }
        let deviation = (ends - certainly + later * spread).max(0.0).sqrt();
        at_once + (ends + later - DEVIATIONS * deviation + 1e-9).max(0.0) as u64
    }

    /// When the `nth` job is expected to start, from 1; None where that is not within four weeks.
    pub(crate) fn start(&self, nth: u64, durations: &Durations) -> Option<u64> {
        let (mut low, mut high) = (0, LONGEST);
        if self.starts_by(high, durations) < nth {
            return None;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if self.starts_by(middle, durations) >= nth { high = middle } else { low = middle + 1 }
        }
        Some(low)
    }
}

/// The first waiting job that would start too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstLate {
    /// Its place in the queue, from 1.
    pub nth: u64,
    pub age: Duration,
    /// The wait that it is promised.
    pub promise: Duration,
}

impl<'a> Forecast<'a> {
    /// `boot` is that of an instance, from its launch to ready.
    pub(crate) fn new(
        waiting: &'a [Waiting],
        durations: &'a Durations,
        boot: Duration,
        target: Duration,
        quantile: f64,
    ) -> Self {
        let boot = millis(boot + AROUND_A_BOOT);
        Forecast { waiting, durations, boot, target: millis(target).max(1), quantile }
    }

    pub(crate) fn jobs(&self) -> u64 {
        self.waiting.iter().map(|it| it.jobs).sum()
    }

    /// The wait that a job of this age is promised: the target; and the next multiple of it where no launch could keep
    /// that any more, so that an old job is neither given up nor a reason for a launch that comes too late for it.
    pub(crate) fn promise(&self, age: u64) -> u64 {
        age.saturating_add(self.boot).div_ceil(self.target).max(1).saturating_mul(self.target)
    }

    /// Jobs that would start later than they are promised.
    pub(crate) fn late(&self, slots: &Slots<'_>) -> u64 {
        self.by_age(slots).map(|(_, _, late)| late).sum()
    }

    /// Whether no more jobs would be late than the quantile lets.
    pub(crate) fn keeps(&self, slots: &Slots<'_>) -> bool {
        self.late(slots) <= self.may_be_late()
    }

    fn may_be_late(&self) -> u64 {
        // Rounding must not take one away where the product is whole.
        ((1.0 - self.quantile) * self.jobs() as f64 + 1e-9) as u64
    }

    pub(crate) fn first_late(&self, slots: &Slots<'_>) -> Option<FirstLate> {
        let (before, waiting, late) = self.by_age(slots).find(|(_, _, late)| *late > 0)?;
        let promise = Duration::from_millis(self.promise(millis(waiting.age)));
        Some(FirstLate { nth: before + waiting.jobs - late + 1, age: waiting.age, promise })
    }

    /// How long the `nth` job, of this age now, will have waited when it starts; None: no slot starts it.
    pub(crate) fn wait(&self, nth: u64, age: Duration, slots: &Slots<'_>) -> Option<Duration> {
        Some(age + Duration::from_millis(slots.start(nth, self.durations)?))
    }

    /// The jobs of each age: how many are before them, and how many of them are late.
    fn by_age<'s>(&self, slots: &'s Slots<'_>) -> impl Iterator<Item = (u64, &'a Waiting, u64)> {
        let mut before = 0_u64;
        self.waiting.iter().map(move |waiting| {
            let age = millis(waiting.age);
            let starts = slots.starts_by(self.promise(age).saturating_sub(age), self.durations);
            let (first, end) = (before, before.saturating_add(waiting.jobs));
            before = end;
            (first, waiting, end - starts.clamp(first, end))
        })
    }
}

#[cfg(test)]
mod tests;
