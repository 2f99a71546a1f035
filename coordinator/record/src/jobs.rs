//! From looks at the active jobs to jobs that started and ended. It needs nothing of workers, and works where finished
//! jobs are removed at once: a job's start is in its hash for as long as it runs.

use std::collections::BTreeMap;

use crate::frame::{Interval, SINGLE};

/// Jobs that are remembered between looks.
const REMEMBERED: usize = 5000;

/// A job that is active, as its hash has it. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveJob {
    pub id: String,
    pub name: String,
    /// When it could have started: when it was added, later by its delay. None where that is not known: a retry waits
    /// since its attempt before failed, which no field has.
    pub ready_at: Option<u64>,
    /// When a worker took it.
    pub started_at: Option<u64>,
}

/// One queue as it was seen: who is active, and BullMQ's counters.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By Redis' clock, which stamps starts.
    pub at: u64,
    /// Ids of all active jobs; None where there are too many to read.
    pub active: Option<Vec<String>>,
    /// What the hashes of those say that [`JobsSeen::unknown`] asked for.
    pub found: Vec<ActiveJob>,
    /// Jobs that were ever added.
    pub added: u64,
    /// Jobs that are not finished.
    pub unfinished: u64,
    /// Failed jobs that Redis keeps.
    pub failed: u64,
}

#[derive(Clone, Debug)]
struct Running {
    name: String,
    started_at: u64,
}

/// What is remembered of one queue between looks, and the interval that is under way.
#[derive(Debug, Default)]
pub struct JobsSeen {
    running: BTreeMap<String, Running>,
    last: Option<Seen>,
    /// Since when the interval runs.
    began: Option<u64>,
    interval: Interval,
}

impl JobsSeen {
    pub fn new(queue: &str) -> Self {
        JobsSeen { interval: Interval { queue: queue.to_owned(), ..Interval::default() }, ..JobsSeen::default() }
    }

    /// The ids of active jobs whose hashes are worth reading.
    pub fn unknown<'a>(&self, active: &'a [String]) -> Vec<&'a String> {
        let room = REMEMBERED.saturating_sub(self.running.len()).min(SINGLE);
        active.iter().filter(|id| !self.running.contains_key(*id)).take(room).collect()
    }

    /// Another has seen the queue until now: what happens from now on is told.
    pub fn starts_from(queue: &str, seen: Seen) -> Self {
        JobsSeen { began: Some(seen.at), last: Some(seen), ..JobsSeen::new(queue) }
    }

    /// The queue does not exist yet: what is added from now on has arrived.
    pub fn saw_nothing(&mut self) {
        self.last.get_or_insert_with(Seen::default);
    }

    /// A look.
    pub fn saw(&mut self, seen: Seen) {
        let is_first = self.last.is_none();
        let before = self.last.take().unwrap_or_default();
        let began = *self.began.get_or_insert(seen.at);
        if let (Some(active), false) = (&seen.active, is_first) {
            self.ended(active, seen.at);
        }
        for job in &seen.found {
            let Some(started_at) = job.started_at else { continue };
            let is_new = self.running.insert(job.id.clone(), Running { name: job.name.clone(), started_at }).is_none();
            // What ran before the first look started at a time that is not this interval's.
            if is_new && started_at >= began.min(before.at) && !is_first {
                self.interval.started += 1;
                let waited = job.ready_at.map(|ready| started_at.saturating_sub(ready));
                let name = self.interval.name(&job.name);
                if self.interval.starts.len() < SINGLE {
                    self.interval.starts.push((name, started_at, waited));
                }
            }
        }
        if !is_first {
            let finished = |of: &Seen| of.added.checked_sub(of.unfinished);
            self.interval.arrived += seen.added.saturating_sub(before.added);
            self.interval.finished +=
                finished(&seen).zip(finished(&before)).map_or(0, |(now, then)| now.saturating_sub(then));
            self.interval.failed += seen.failed.saturating_sub(before.failed);
        }
        let active = seen.active.clone();
        self.last = Some(Seen { found: Vec::new(), active: None, ..seen });
        if active.is_none() {
            self.running.clear();
        }
    }

    /// Those that are active no more have ended, about now.
    fn ended(&mut self, active: &[String], at: u64) {
        let is_active: std::collections::BTreeSet<&String> = active.iter().collect();
        let gone: Vec<String> = self.running.keys().filter(|id| !is_active.contains(id)).cloned().collect();
        for id in gone {
            let Some(Running { name, started_at }) = self.running.remove(&id) else { continue };
            if self.interval.ends.len() < SINGLE {
                let name = self.interval.name(&name);
                self.interval.ends.push((name, at.saturating_sub(started_at)));
            }
        }
    }

    /// The interval up to the last look, where some time has passed; the next one begins.
    pub fn take(&mut self) -> Option<Interval> {
        let (began, at) = (self.began?, self.last.as_ref()?.at);
        let millis = at.checked_sub(began).filter(|millis| *millis > 0)?;
        self.began = Some(at);
        let queue = self.interval.queue.clone();
        let next = Interval { queue, ..Interval::default() };
        let mut interval = std::mem::replace(&mut self.interval, next);
        (interval.at, interval.millis) = (at, millis);
        // Told as how long before the end: small numbers.
        interval.starts.iter_mut().for_each(|(_, started_at, _)| *started_at = at.saturating_sub(*started_at));
        Some(interval).filter(|interval| !interval.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::NAMES;

    fn job(id: &str, name: &str, ready_at: u64, started_at: u64) -> ActiveJob {
        ActiveJob { id: id.into(), name: name.into(), ready_at: Some(ready_at), started_at: Some(started_at) }
    }

    fn seen(at: u64, active: &[&str], found: &[ActiveJob], (added, unfinished): (u64, u64)) -> Seen {
        let active = Some(active.iter().map(|id| (*id).to_owned()).collect());
        Seen { at, active, found: found.to_vec(), added, unfinished, failed: 0 }
    }

    #[test]
    fn starts_waits_and_ends_are_seen_and_what_ran_before_the_first_look_only_ends() {
        let mut jobs = JobsSeen::new("q");
        jobs.saw(seen(1000, &["1"], &[job("1", "encode", 0, 500)], (1, 1)));
        assert_eq!(jobs.take(), None, "no time has passed");
        let active = ["1".to_owned(), "2".to_owned()];
        assert_eq!(jobs.unknown(&active), ["2"]);
        jobs.saw(seen(11_000, &["1", "2"], &[job("2", "encode", 3000, 9000)], (3, 3)));
        jobs.saw(seen(21_000, &["2"], &[], (3, 2)));
        let interval = jobs.take().expect("an interval");
        assert_eq!((interval.at, interval.millis, interval.arrived, interval.finished), (21_000, 20_000, 2, 1));
        assert_eq!(interval.names, ["encode"]);
        assert_eq!(interval.starts, [(0, 12_000, Some(6000))], "it waited from 3 s to 9 s");
        assert_eq!(interval.ends, [(0, 20_500)]);
        jobs.saw(seen(31_000, &["2"], &[], (3, 2)));
        assert_eq!(jobs.take(), None, "nothing happened");
    }

    #[test]
    fn the_first_jobs_of_a_queue_have_arrived() {
        let mut jobs = JobsSeen::new("q");
        jobs.saw_nothing();
        jobs.saw(seen(1000, &["1"], &[job("1", "encode", 400, 500)], (6, 6)));
        jobs.saw(seen(2000, &["1"], &[], (6, 6)));
        let interval = jobs.take().expect("an interval");
        assert_eq!((interval.arrived, interval.starts.len()), (6, 1));
    }

    #[test]
    fn what_happened_before_another_is_followed_is_not_told() {
        let before = Seen { at: 1000, added: 5, unfinished: 2, ..Seen::default() };
        let mut jobs = JobsSeen::starts_from("q", before);
        let found = [job("4", "encode", 0, 500), job("6", "encode", 1500, 2500)];
        jobs.saw(seen(3000, &["4", "6"], &found, (6, 3)));
        let interval = jobs.take().expect("an interval");
        assert_eq!((interval.arrived, interval.started, interval.millis), (1, 1, 2000));
    }

    #[test]
    fn too_many_active_jobs_are_counted_and_not_told_one_by_one() {
        let mut jobs = JobsSeen::new("q");
        jobs.saw(seen(1000, &[], &[], (0, 0)));
        jobs.saw(Seen { at: 2000, active: None, added: 9000, unfinished: 8000, ..Seen::default() });
        let interval = jobs.take().expect("an interval");
        assert_eq!((interval.arrived, interval.finished, interval.starts.len()), (9000, 1000, 0));
        let many: Vec<String> = (0..9000).map(|id| id.to_string()).collect();
        assert_eq!(jobs.unknown(&many).len(), SINGLE);
    }

    #[test]
    fn names_are_few_and_short_and_without_control_characters() {
        let mut jobs = JobsSeen::new("q");
        jobs.saw(seen(1000, &[], &[], (0, 0)));
        let found: Vec<ActiveJob> =
            (0..40).map(|it| job(&it.to_string(), &format!("n\u{7}{it}"), 1000, 1500)).collect();
        jobs.saw(seen(2000, &["0"], &found, (40, 40)));
        let interval = jobs.take().expect("an interval");
        assert_eq!((interval.names.len(), interval.starts.len()), (NAMES, 40));
        assert!(interval.names[0] == "n0" && usize::from(interval.starts[39].0) == NAMES - 1);
    }
}
