//! What a coordinator keeps of the record in memory: the last two hours as they were seen, thirty days by minutes, the
//! decisions, and the lives of instances. Every part is bounded.

mod sums;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use crate::buckets::Buckets;
use crate::floods::Sample;
use crate::frame::{Decided, Frame, Interval, Look, PhaseBegan};
use crate::lanes::Lane;
use crate::recorder::UNCHANGED_EACH_MS;
pub(crate) use sums::Jobs;
use sums::Sums;

const MINUTE: u64 = 60_000;
/// What is kept as it was seen.
const FINE_MS: u64 = 2 * 3_600_000;
const FINE: usize = 15_000;
/// What does not change is not kept more often.
const DENSE_MS: u64 = 5000;
/// What is kept by minutes.
const KEPT_MS: u64 = 30 * 86_400_000;
const DECISIONS: usize = 10_000;
const PLANS: usize = 3000;
const LANES: usize = 1000;
/// Intervals of one answer.
const MOST_BUCKETS: u64 = 720;
/// Decisions and instances of one answer.
const TOLD: usize = 500;

/// A decision of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    pub at: u64,
    pub kind: String,
    /// EC2's id, or the launch token before it is known.
    pub instance: String,
    pub reason: String,
}

/// Whatever the record says.
fn sum(counts: [u32; 3]) -> u32 {
    counts.into_iter().fold(0, u32::saturating_add)
}

/// The record of one pool, in memory.
#[derive(Debug, Default)]
pub struct History {
    fine: VecDeque<Look>,
    fine_jobs: VecDeque<(u64, Jobs)>,
    /// By minutes since the epoch.
    minutes: BTreeMap<u64, Sums>,
    last_look: Option<Look>,
    decisions: VecDeque<Told>,
    plans: VecDeque<Arc<Decided>>,
    /// By launch token.
    lanes: BTreeMap<String, Lane>,
    begins: Option<u64>,
    /// The newest instance or decision that has given way was of then.
    gave_way_at: u64,
}

impl History {
    /// Nothing is known of before; None: of no time.
    pub fn begins(&self) -> Option<u64> {
        self.begins
    }

    /// All instances and decisions after it are known.
    pub(crate) fn known_from(&self) -> u64 {
        self.gave_way_at
    }

    /// What was written, oldest first; `is_live`: it was seen by this coordinator, whose intervals come by `ran`.
    pub fn add(&mut self, frame: &Frame, is_live: bool) {
        let at = frame.at();
        // Of an instance things are told that were before.
        if matches!(frame, Frame::Look(_) | Frame::Decided(_) | Frame::Interval(_)) {
            self.begins = Some(self.begins.map_or(at, |begins| begins.min(at)));
        }
        match frame {
            Frame::Look(look) if !is_live => self.look(look),
            Frame::Look(_) | Frame::Unknown => {}
            Frame::Interval(interval) if !is_live => self.ran(interval),
            Frame::Interval(_) => {}
            Frame::Decided(decided) => self.decided(decided),
            Frame::Ids(ids) => self.lane(&ids.token).is(ids),
            Frame::Phase(began) => self.lane(&began.instance).enters(began),
            Frame::Step(step) => self.lane(&step.instance).steps_on(step),
            Frame::Holds { at, instance, jobs } => self.lane(instance).holds(*at, *jobs),
        }
    }

    /// The pool as it is seen, whether that is written or not.
    pub fn look(&mut self, look: &Look) {
        let is_dense = |last: &Look| look.at.saturating_sub(last.at) < DENSE_MS && look.says_no_more_than(last);
        if self.last_look.as_ref().is_some_and(is_dense) {
            return;
        }
        let last = self.last_look.replace(look.clone());
        // What was not written again did not change.
        if let Some(last) = last.filter(|last| look.at.saturating_sub(last.at) <= UNCHANGED_EACH_MS + MINUTE) {
            let between = last.at / MINUTE + 1..look.at / MINUTE;
            for minute in between {
                let since = (minute * MINUTE).saturating_sub(last.at);
                let aged = last.oldest_ms.map(|age| age.saturating_add(since));
                self.minutes.entry(minute).or_default().saw(&Look { oldest_ms: aged, ..last.clone() });
            }
        }
        self.minutes.entry(look.at / MINUTE).or_default().saw(look);
        self.fine.push_back(look.clone());
        let oldest = look.at.saturating_sub(FINE_MS);
        while self.fine.len() > FINE || self.fine.front().is_some_and(|first| first.at < oldest) {
            self.fine.pop_front();
        }
        let first = look.at.saturating_sub(KEPT_MS) / MINUTE;
        while self.minutes.first_key_value().is_some_and(|(minute, _)| *minute < first) {
            self.minutes.pop_first();
        }
        self.begins = self.begins.map(|begins| begins.max(first * MINUTE));
    }

    /// What happened to jobs.
    pub fn ran(&mut self, interval: &Interval) {
        let jobs = Jobs::from(interval);
        self.minutes.entry(interval.at.saturating_sub(1) / MINUTE).or_default().ran(&jobs);
        self.fine_jobs.push_back((interval.at, jobs));
        let oldest = interval.at.saturating_sub(FINE_MS);
        while self.fine_jobs.len() > FINE || self.fine_jobs.front().is_some_and(|(at, _)| *at < oldest) {
            self.fine_jobs.pop_front();
        }
    }

    fn decided(&mut self, decided: &Decided) {
        for planned in &decided.plan.decisions {
            let instance = planned.decision.subject().to_owned();
            let (kind, reason) = (planned.decision.kind().to_owned(), planned.reason.to_string());
            self.decisions.push_back(Told { at: decided.plan.at.0, kind, instance, reason });
        }
        self.plans.push_back(Arc::new(decided.clone()));
        let (decisions, plans) = (self.decisions.len(), self.plans.len());
        let gone = self.decisions.drain(..decisions.saturating_sub(DECISIONS)).map(|told| told.at).max();
        self.gave_way_at = self.gave_way_at.max(gone.unwrap_or(0));
        self.plans.drain(..plans.saturating_sub(PLANS));
    }

    fn lane(&mut self, token: &str) -> &mut Lane {
        if self.lanes.len() >= LANES && !self.lanes.contains_key(token) {
            // The one that ended first; where all live, any: there are never so many.
            let ended = |lane: &Lane| lane.ended_at.unwrap_or(u64::MAX);
            let first = self.lanes.iter().min_by_key(|(_, lane)| ended(lane)).map(|(token, _)| token.clone());
            let gone = first.and_then(|token| self.lanes.remove(&token)?.ended_at);
            self.gave_way_at = self.gave_way_at.max(gone.unwrap_or(0));
        }
        self.lanes.entry(token.to_owned()).or_insert_with(|| Lane { instance: token.to_owned(), ..Lane::default() })
    }

    /// A time range in at most so many equal intervals; `now` is where the newest ends.
    pub fn buckets(&self, from: u64, to: u64, count: u64, now: u64) -> Buckets {
        let to = to.max(from + 1);
        let count = count.clamp(1, MOST_BUCKETS);
        let is_fine = from >= now.saturating_sub(FINE_MS) && to - from <= FINE_MS;
        // Of whole seconds, or of whole minutes: what is there of before is by minutes.
        let unit = if is_fine { 1000 } else { MINUTE };
        let bucket_ms = (to - from).div_ceil(count).div_ceil(unit).max(1) * unit;
        let begins = from / bucket_ms * bucket_ms;
        let columns = usize::try_from((to - begins).div_ceil(bucket_ms)).unwrap_or(usize::MAX);
        let mut sums = vec![Sums::default(); columns];
        let index =
            |at: u64| usize::try_from(at.checked_sub(begins)? / bucket_ms).ok().filter(|index| *index < columns);
        if is_fine {
            let mut last: Option<&Look> = None;
            for look in &self.fine {
                // What lasts fills what lies between two looks.
                if let Some(last) = last.filter(|last| look.at.saturating_sub(last.at) <= UNCHANGED_EACH_MS + MINUTE) {
                    let end = index(look.at).unwrap_or(if look.at < begins { 0 } else { columns });
                    let start = index(last.at).map_or(if last.at < begins { 0 } else { columns }, |start| start + 1);
                    (start..end).for_each(|column| sums[column].saw(last));
                }
                if let Some(column) = index(look.at) {
                    sums[column].saw(look);
                }
                last = Some(look);
            }
            for (at, jobs) in &self.fine_jobs {
                if let Some(column) = index(at.saturating_sub(1)) {
                    sums[column].ran(jobs);
                }
            }
        } else {
            for (minute, seen) in self.minutes.range(begins / MINUTE..to.div_ceil(MINUTE)) {
                if let Some(column) = index(minute * MINUTE) {
                    sums[column].and(seen);
                }
            }
        }
        self.columns(&sums, (begins, to, bucket_ms, now))
    }

    fn columns(&self, sums: &[Sums], (from, to, bucket_ms, now): (u64, u64, u64, u64)) -> Buckets {
        #[expect(clippy::cast_precision_loss, reason = "an age in milliseconds")]
        let seconds = |ms: u64| ms as f64 / 1000.0;
        // Where the queues were seen and no job did anything, none is a number.
        let count = |sum: &Sums, of: fn(&Jobs) -> u64| sum.jobs.as_ref().map(of).or(sum.demand.map(|_| 0));
        let wait = |sum: &Sums, share| sum.jobs.as_ref().and_then(|jobs| jobs.waits.quantile(share));
        let all = |of: &dyn Fn(&Sums) -> Option<u64>| sums.iter().map(of).collect::<Vec<_>>();
        let few = |of: &dyn Fn(&Sums) -> Option<u32>| sums.iter().map(of).collect::<Vec<_>>();
        let real = |of: &dyn Fn(&Sums) -> Option<f64>| sums.iter().map(of).collect::<Vec<_>>();
        Buckets {
            from,
            to,
            bucket_ms,
            unfinished_from: now / bucket_ms * bucket_ms,
            begins: self.begins,
            at: (0..sums.len() as u64).map(|column| from + column * bucket_ms).collect(),
            backlog: all(&|it| it.demand),
            active: all(&|it| it.active),
            oldest_age: real(&|it| it.oldest_ms.map(seconds)),
            arrived: all(&|it| count(it, |jobs| jobs.arrived)),
            started: all(&|it| count(it, |jobs| jobs.started)),
            finished: all(&|it| count(it, |jobs| jobs.finished)),
            failed: all(&|it| count(it, |jobs| jobs.failed)),
            wait_p50: real(&|it| wait(it, 0.5)),
            wait_p95: real(&|it| wait(it, 0.95)),
            desired: few(&|it| it.desired),
            ready: few(&|it| it.ready),
            on_the_way: few(&|it| it.on_the_way),
            draining: few(&|it| it.draining),
        }
    }

    /// Everything that was seen, oldest first: by minutes, and what is newer as it was.
    pub(crate) fn samples(&self) -> impl Iterator<Item = Sample> {
        let fine_from = self.fine.front().map_or(u64::MAX, |look| look.at);
        let minutes = self.minutes.iter().map(|(minute, sums)| {
            let count = |of: Option<u32>| of.unwrap_or(0);
            Sample {
                at: minute * MINUTE,
                demand: sums.demand,
                oldest_ms: sums.oldest_ms,
                desired: count(sums.desired),
                instances: sum([sums.ready, sums.on_the_way, sums.draining].map(count)),
            }
        });
        let fine = self.fine.iter().map(|look| Sample {
            at: look.at,
            demand: look.demand,
            oldest_ms: look.oldest_ms,
            desired: look.desired.unwrap_or(0),
            instances: sum([look.ready, look.on_the_way, look.draining]),
        });
        minutes.filter(move |sample| sample.at.saturating_add(MINUTE) <= fine_from).chain(fine)
    }

    /// What happened to jobs in a time range: as it was seen where that is kept, otherwise by minutes.
    pub(crate) fn jobs(&self, from: u64, to: u64, mut of: impl FnMut(&Jobs)) {
        if from > to {
            return;
        }
        // What was read at a start is by minutes alone.
        let oldest = self.fine.front().map_or(u64::MAX, |look| look.at);
        if from >= oldest {
            self.fine_jobs.iter().filter(|(at, _)| (from..=to).contains(at)).for_each(|(_, jobs)| of(jobs));
        } else {
            let minutes = self.minutes.range(from / MINUTE..=to / MINUTE);
            minutes.filter_map(|(_, sums)| sums.jobs.as_ref()).for_each(of);
        }
    }

    /// The newest decisions of a time range, oldest first, and how many more there were.
    pub fn decisions(&self, from: u64, to: u64) -> (Vec<Told>, usize) {
        let is_within = |at: u64| (from..=to).contains(&at);
        // A launch is decided before EC2 has given its instance an id.
        let named = |it: &Told| match self.lanes.get(&it.instance) {
            Some(lane) => Told { instance: lane.instance.clone(), ..it.clone() },
            None => it.clone(),
        };
        let mut within: Vec<Told> = self.decisions.iter().filter(|it| is_within(it.at)).map(named).collect();
        // What EC2 decides.
        let interrupted = self.lanes.values().filter_map(|lane| Some((lane, lane.interrupted_at?)));
        within.extend(interrupted.filter(|(_, at)| is_within(*at)).map(|(lane, at)| Told {
            at,
            kind: "interruption".to_owned(),
            instance: lane.instance.clone(),
            reason: "EC2 gave notice that it takes the instance back".to_owned(),
        }));
        within.sort_by_key(|it| it.at);
        let left_out = within.len().saturating_sub(TOLD);
        within.drain(..left_out);
        (within, left_out)
    }

    /// The types of instances that lived since a time.
    pub fn instance_types(&self, since: u64) -> BTreeSet<String> {
        let lived = self.lanes.values().filter(|lane| lane.ended_at.is_none_or(|ended| ended >= since));
        lived.map(|lane| lane.instance_type.clone()).filter(|it| !it.is_empty()).collect()
    }

    pub(crate) fn lanes_by_token(&self) -> impl Iterator<Item = (&str, &Lane)> {
        self.lanes.iter().map(|(token, lane)| (token.as_str(), lane))
    }

    pub(crate) fn lanes_within(&self, from: u64, to: u64) -> impl Iterator<Item = &Lane> {
        self.lanes.values().filter(move |lane| lane.lives_within(from, to))
    }

    /// These are the instances that there are: others ended when they were seen last, and nobody wrote it.
    pub fn not_seen_again(&self, tokens: &BTreeSet<String>) -> Vec<PhaseBegan> {
        let lost = self.lanes.iter().filter(|(token, lane)| lane.ended_at.is_none() && !tokens.contains(*token));
        lost.map(|(token, lane)| lane.not_seen_again(token)).collect()
    }

    /// The instances that lived in a time range, those that began last at the end.
    pub fn lanes(&self, from: u64, to: u64) -> Vec<Lane> {
        let mut found: Vec<&Lane> = self.lanes_within(from, to).collect();
        found.sort_by_key(|lane| lane.began());
        let left_out = found.len().saturating_sub(TOLD);
        found[left_out..].iter().copied().cloned().collect()
    }

    /// The plan that was in force at a time, and those before it, newest first.
    pub fn plans(&self, at: u64, limit: usize) -> Vec<Arc<Decided>> {
        self.plans.iter().rev().filter(|it| it.plan.at.0 <= at).take(limit).map(Arc::clone).collect()
    }

    /// The plans since a time that decided about an instance, by EC2's id or its launch token; newest first.
    pub fn plans_about(&self, instance: &str, (from, to): (u64, u64), limit: usize) -> Vec<Arc<Decided>> {
        let by_id = self.lanes.iter().find(|(_, lane)| lane.instance == instance);
        let token = by_id.map_or(instance, |(token, _)| token);
        let is_about = |it: &&Arc<Decided>| {
            let subjects = it.plan.decisions.iter().map(|planned| planned.decision.subject());
            (from..=to).contains(&it.plan.at.0)
                && subjects.into_iter().any(|subject| subject == instance || subject == token)
        };
        self.plans.iter().rev().filter(is_about).take(limit).map(Arc::clone).collect()
    }
}
