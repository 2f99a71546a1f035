//! What was measured of this pool, and outlasts a look: how long jobs take, how long instances boot, and how many jobs
//! a worker runs at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Wait;
use crate::time::millis;
use crate::work::{Finished, Running, Work};

/// Durations that are kept: enough for a tail, few enough to follow a change within some hours.
const DURATIONS: usize = 200;
/// Boots that are kept.
const BOOTS: usize = 50;
/// So many jobs of one name tell how long such jobs take; with fewer, all jobs do.
const ENOUGH_OF_A_NAME: usize = 20;
/// Looks at a queue in which jobs wait, the most jobs of which is what other workers run at a time: one look may fall
/// between the end of a job and the start of the next.
const LOOKS: usize = 6;
/// While no boot was seen.
const ASSUMED_BOOT: Duration = Duration::from_secs(120);

/// Measured of one pool, kept in its ledger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measures {
    /// The last jobs that ended, oldest first.
    #[serde(default)]
    finished: VecDeque<Finished>,
    /// From the launch to ready, in milliseconds, oldest first.
    #[serde(default)]
    boots_ms: VecDeque<u64>,
    /// The most jobs that an instance was seen to run at once.
    #[serde(default)]
    most_held: usize,
    /// The jobs that an instance runs at a time, by the last agent's word.
    #[serde(default)]
    told_slots: Option<usize>,
    /// The most that an instance ran in each of the last looks, of those in which jobs waited and an instance had some:
    /// what an agent tells is believed no further.
    #[serde(default)]
    held: VecDeque<usize>,
    /// What workers elsewhere ran in the last looks, of those in which jobs waited.
    #[serde(default)]
    elsewhere: VecDeque<usize>,
}

impl Measures {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Measures::default()
    }

    /// `is_waiting`: a job waits that a free slot would have taken.
    pub(crate) fn looked(&mut self, work: &Work, is_waiting: bool) {
        self.finished.extend(work.finished.iter().cloned());
        self.finished.drain(..self.finished.len().saturating_sub(DURATIONS));
        let elsewhere = work.running.iter().filter(|job| job.on.is_none()).count();
        if !is_waiting {
            // Nothing tells what they could run; what they do run, they can.
            self.elsewhere.back_mut().iter_mut().for_each(|known| **known = elsewhere.max(**known));
        } else {
            self.elsewhere.push_back(elsewhere);
            self.elsewhere.drain(..self.elsewhere.len().saturating_sub(LOOKS));
        }
        let mut held = BTreeMap::new();
        work.running.iter().filter_map(|job| job.on.as_ref()).for_each(|id| *held.entry(id).or_insert(0) += 1);
        let Some(most) = held.into_values().max() else { return };
        self.most_held = self.most_held.max(most);
        if is_waiting {
            self.held.push_back(most);
            self.held.drain(..self.held.len().saturating_sub(LOOKS));
        }
    }

    /// What a worker says that it runs at a time.
    pub(crate) fn told_slots(&mut self, slots: u32) {
        self.told_slots = Some(slots as usize);
    }

    pub(crate) fn booted(&mut self, took: Duration) {
        self.boots_ms.push_back(millis(took));
        self.boots_ms.drain(..self.boots_ms.len().saturating_sub(BOOTS));
    }

    /// What nine of ten boots do not exceed.
    pub(crate) fn boot(&self) -> Duration {
        let mut boots: Vec<u64> = self.boots_ms.iter().copied().collect();
        boots.sort_unstable();
        let nine_of_ten = (boots.len() * 9).div_ceil(10);
        boots.get(nine_of_ten.saturating_sub(1)).map_or(ASSUMED_BOOT, |boot| Duration::from_millis(*boot))
    }

    /// Jobs that workers elsewhere (the primary's) run at a time.
    pub(crate) fn slots_elsewhere(&self) -> usize {
        self.elsewhere.iter().copied().max().unwrap_or(0)
    }

    /// Jobs that an instance runs at a time: by the settings; by its agent's word, unless look after look shows fewer
    /// although jobs wait; else the most that one was seen to run. While nothing is known, it is taken for one like the
    /// primary.
    pub(crate) fn slots(&self, policy: &Wait) -> usize {
        let shown = self.held.iter().copied().max().filter(|_| self.held.len() == LOOKS).unwrap_or(usize::MAX);
        let told = self.told_slots.map(|told| told.min(shown));
        let seen = if self.most_held > 0 { self.most_held } else { self.slots_elsewhere() };
        policy.slots.map(|slots| slots as usize).or(told).unwrap_or(seen).max(1)
    }

    /// Whether a job was seen to end.
    pub(crate) fn has_durations(&self) -> bool {
        !self.finished.is_empty()
    }

    /// With the jobs that `run` now: those that are long are among these, while the short ones have ended. None while
    /// no job was seen to end.
    pub(crate) fn durations(&self, run: &[Running]) -> Option<Durations> {
        let all = Spans::of(self.finished.iter(), run.iter());
        let mut names: Vec<&str> = self.finished.iter().map(|job| &*job.name).collect();
        names.sort_unstable();
        let of_name = |names: &[&str]| {
            let name = *names.first().filter(|_| (ENOUGH_OF_A_NAME..self.finished.len()).contains(&names.len()))?;
            let finished = self.finished.iter().filter(|job| job.name == name);
            Some((name.to_owned(), Spans::of(finished, run.iter().filter(|job| job.name == name))))
        };
        let by_name = names.chunk_by(|one, other| one == other).filter_map(of_name).collect();
        (!self.finished.is_empty()).then_some(Durations { all, by_name })
    }
}

/// How long jobs take, ready to be asked: spans are in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Durations {
    all: Spans,
    /// Of the names that have enough jobs.
    by_name: Vec<(String, Spans)>,
}

impl Durations {
    #[cfg(test)]
    pub(crate) fn new(ended: &[u64], running: &[u64]) -> Self {
        Durations { all: Spans::new(ended.to_vec(), running.to_vec()), by_name: Vec::new() }
    }

    /// How much the ends within `span` spread, as their variance over their number: none where durations are alike, one
    /// where they are exponential, more where a few are long.
    pub(crate) fn spread(&self, span: u64) -> f64 {
        let seen = self.all.within(0, span);
        let mean = seen.exposed / seen.jobs;
        if mean > 0.0 { (seen.squared / seen.jobs / (mean * mean) - 1.0).max(0.0) } else { 0.0 }
    }

    /// How many jobs a slot that is never idle ends in each millisecond, on average over `span`: those that ended
    /// within such a span, for the time that all had of it. By the mean duration a slot would be busy for long where a
    /// few jobs take an hour and most some seconds.
    pub(crate) fn rate(&self, span: u64) -> f64 {
        let seen = self.all.within(0, span);
        if seen.exposed > 0.0 { seen.ended / seen.exposed } else { 0.0 }
    }

    /// For a slot that runs a job of this name, which was started `elapsed` ago: how likely that job ends within
    /// `span`, and how much of the span is left after it on average.
    pub(crate) fn left(&self, name: &str, elapsed: u64, span: u64) -> (f64, f64) {
        let of_name = self.by_name.iter().find(|(known, _)| known == name);
        let (ends, taken) = of_name.map_or(&self.all, |(_, spans)| spans).left(elapsed, span);
        (ends, (span as f64 - taken).max(0.0))
    }
}

/// How long jobs took that ended, and for how long others have run, in milliseconds.
#[derive(Clone, Debug, Default)]
struct Spans {
    ended: Sorted,
    running: Sorted,
}

/// What was seen within a span of the jobs that had lasted for some time before it.
struct Seen {
    jobs: f64,
    /// Of those.
    ended: f64,
    /// Of that span, all jobs together.
    exposed: f64,
    /// The sum of the squares of what each job has of the span.
    squared: f64,
}

impl Spans {
    fn of<'a>(ended: impl Iterator<Item = &'a Finished>, running: impl Iterator<Item = &'a Running>) -> Spans {
        let ended = ended.map(|job| millis(job.took)).collect();
        Spans::new(ended, running.map(|job| millis(job.elapsed)).collect())
    }

    fn new(ended: Vec<u64>, running: Vec<u64>) -> Spans {
        Spans { ended: Sorted::new(ended), running: Sorted::new(running) }
    }

    fn within(&self, elapsed: u64, span: u64) -> Seen {
        let (ended, running) = (self.ended.within(elapsed, span), self.running.within(elapsed, span));
        Seen {
            jobs: (ended.within + ended.beyond + running.within + running.beyond) as f64,
            ended: ended.within as f64,
            exposed: ended.taken + running.taken,
            squared: ended.squared + running.squared,
        }
    }

    /// For a job that has run for `elapsed`: how likely it ends within `span`, and how much of that it takes on
    /// average, by those that lasted longer. To them comes one that lasts once more as long as it has with a likelihood
    /// of a half, so that the rarest of jobs, of which none has been seen to end, are not taken to be nearly done.
    fn left(&self, elapsed: u64, span: u64) -> (f64, f64) {
        let seen = self.within(elapsed, span);
        let (elapsed, span) = (elapsed.max(1) as f64, span as f64);
        let (ends, takes) = (span / (elapsed + span), elapsed * (1.0 + span / elapsed).ln());
        ((seen.ended + ends) / (seen.jobs + 1.0), (seen.exposed + takes) / (seen.jobs + 1.0))
    }
}

/// Shortest first, with the sums of all before each, and of their squares.
#[derive(Clone, Debug, Default)]
struct Sorted {
    spans: Vec<u64>,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

/// What spans that are longer than a beginning have of a window after it.
struct Part {
    within: usize,
    beyond: usize,
    taken: f64,
    squared: f64,
}

impl Sorted {
    fn new(mut spans: Vec<u64>) -> Sorted {
        // A job that takes no time would be ended without end.
        spans.iter_mut().for_each(|it| *it = (*it).max(1));
        spans.sort_unstable();
        let sums = |power: i32| {
            let sums = spans.iter().scan(0.0, move |sum, it| {
                *sum += (*it as f64).powi(power);
                Some(*sum)
            });
            std::iter::once(0.0).chain(sums).collect()
        };
        Sorted { sums: sums(1), squares: sums(2), spans }
    }

    fn within(&self, begin: u64, span: u64) -> Part {
        let first = self.spans.partition_point(|it| *it <= begin);
        let end = first + self.spans[first..].partition_point(|it| *it <= begin.saturating_add(span));
        let (within, beyond) = (end - first, self.spans.len() - end);
        let (n, rest, begin, span) = (within as f64, beyond as f64, begin as f64, span as f64);
        let (sum, square) = (self.sums[end] - self.sums[first], self.squares[end] - self.squares[first]);
        let taken = sum - n * begin + rest * span;
        // Of each (it - begin)², written out.
        let squared = square - 2.0 * begin * sum + n * begin * begin + rest * span * span;
        Part { within, beyond, taken, squared }
    }
}

#[cfg(test)]
mod tests;
