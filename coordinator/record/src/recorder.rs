//! What is written of what a coordinator sees: changes, and what does not change every few minutes.

use std::collections::{BTreeMap, BTreeSet};

use spillway_brain::{Backlog, Plan};

use crate::frame::{Decided, Frame, Ids, Interval, Look, PhaseBegan, SINGLE, Step, StepState};

/// What does not change is written this often, so that a gap in the record can be told from a time without news.
pub(crate) const UNCHANGED_EACH_MS: u64 = 300_000;
/// Intervals of jobs are written as one of this length.
const INTERVAL_MS: u64 = 60_000;

/// What was written last.
#[derive(Debug, Default)]
pub struct Recorder {
    look: Option<Look>,
    plan: Option<Plan>,
    ids: BTreeMap<String, Ids>,
    phases: BTreeMap<String, String>,
    steps: BTreeMap<(String, String), StepState>,
    holds: BTreeMap<String, u32>,
    /// By queue: the interval that is not written yet.
    intervals: BTreeMap<String, Interval>,
    frames: Vec<Frame>,
}

impl Recorder {
    /// The pool as it is seen now.
    pub fn look(&mut self, look: Look) {
        let is_news = self.look.as_ref().is_none_or(|before| {
            !look.says_no_more_than(before) || look.at.saturating_sub(before.at) >= UNCHANGED_EACH_MS
        });
        if is_news {
            self.look = Some(look.clone());
            self.frames.push(Frame::Look(look));
        }
    }

    /// A plan that was saved, and what it was made from.
    pub fn decided(&mut self, plan: &Plan, backlog: Option<&Backlog>) {
        let is_repeated = self.plan.replace(plan.clone()).is_some_and(|before| before.is_repeated_by(plan));
        if is_repeated {
            return;
        }
        self.frames.push(Frame::Decided(Box::new(Decided { plan: plan.clone(), backlog: backlog.cloned() })));
    }

    /// What happened to a queue's jobs.
    pub fn interval(&mut self, interval: Interval) {
        let pending = self.intervals.entry(interval.queue.clone()).or_insert_with(|| Interval {
            queue: interval.queue.clone(),
            at: interval.at.saturating_sub(interval.millis),
            ..Interval::default()
        });
        pending.add(interval);
    }

    /// Intervals that are long enough by now.
    fn finish_intervals(&mut self, now: u64) {
        let is_due = |it: &Interval| now.saturating_sub(it.at.saturating_sub(it.millis)) >= INTERVAL_MS;
        let due: Vec<String> =
            self.intervals.iter().filter(|(_, it)| is_due(it)).map(|(name, _)| name.clone()).collect();
        self.frames.extend(due.iter().filter_map(|name| self.intervals.remove(name)).map(Frame::Interval));
    }

    /// An instance as it is now; its times are those of the changes.
    pub fn instance(&mut self, ids: Ids, (phase, since, reason): (&str, u64, &str), steps: &[Step], jobs: Option<u32>) {
        let (token, now) = (ids.token.clone(), ids.at);
        let is_new =
            self.ids.get(&token).is_none_or(|before| Ids { at: 0, ..before.clone() } != Ids { at: 0, ..ids.clone() });
        if is_new {
            self.ids.insert(token.clone(), ids.clone());
            self.frames.push(Frame::Ids(Box::new(ids)));
        }
        if self.phases.get(&token).is_none_or(|before| before != phase) {
            self.phases.insert(token.clone(), phase.to_owned());
            let began =
                PhaseBegan { at: since, instance: token.clone(), phase: phase.to_owned(), reason: reason.to_owned() };
            self.frames.push(Frame::Phase(began));
        }
        for step in steps {
            let key = (token.clone(), step.name.clone());
            if self.steps.get(&key) != Some(&step.state) {
                self.steps.insert(key, step.state);
                self.frames.push(Frame::Step(step.clone()));
            }
        }
        if let Some(jobs) = jobs
            && self.holds.get(&token) != Some(&jobs)
        {
            self.holds.insert(token.clone(), jobs);
            self.frames.push(Frame::Holds { at: now, instance: token, jobs });
        }
    }

    /// These are the instances that are there: others are gone, at about this time.
    pub fn only(&mut self, tokens: &BTreeSet<String>, now: u64) {
        let gone: Vec<String> = self.phases.keys().filter(|token| !tokens.contains(*token)).cloned().collect();
        for token in gone {
            self.ids.remove(&token);
            self.holds.remove(&token);
            self.steps.retain(|(of, _), _| *of != token);
            if self.phases.remove(&token).is_some_and(|phase| phase != "gone") {
                let reason = String::new();
                self.frames.push(Frame::Phase(PhaseBegan {
                    at: now,
                    instance: token,
                    phase: "gone".to_owned(),
                    reason,
                }));
            }
        }
    }

    /// Ends that nobody wrote.
    pub fn lost(&mut self, ends: Vec<PhaseBegan>) {
        self.frames.extend(ends.into_iter().map(Frame::Phase));
    }

    /// What is to be written at the end, also of an interval that is not over.
    pub fn finish(&mut self) -> Vec<Frame> {
        self.frames.extend(std::mem::take(&mut self.intervals).into_values().map(Frame::Interval));
        std::mem::take(&mut self.frames)
    }

    /// What is to be written now.
    pub fn take(&mut self, now: u64) -> Vec<Frame> {
        self.finish_intervals(now);
        std::mem::take(&mut self.frames)
    }
}

impl Interval {
    /// Both as one. Names and single jobs that have no room are in the counts alone.
    pub(crate) fn add(&mut self, next: Interval) {
        let shift = next.at.saturating_sub(self.at);
        self.starts.iter_mut().for_each(|(_, before_end, _)| *before_end += shift);
        (self.at, self.millis) = (next.at, self.millis.saturating_add(shift));
        self.arrived += next.arrived;
        self.finished += next.finished;
        self.failed += next.failed;
        self.started += next.started;
        let renamed: Vec<u8> = next.names.iter().map(|name| self.name(name)).collect();
        let of = |name: u8| renamed.get(usize::from(name)).copied().unwrap_or(0);
        self.starts.extend(next.starts.into_iter().map(|(name, before_end, waited)| (of(name), before_end, waited)));
        self.ends.extend(next.ends.into_iter().map(|(name, took)| (of(name), took)));
        self.starts.truncate(SINGLE);
        self.ends.truncate(SINGLE);
    }
}

#[cfg(test)]
mod tests {
    use spillway_brain::Timestamp;

    use super::*;

    fn look(at: u64, demand: u64) -> Look {
        Look { at, demand: Some(demand), ..Look::default() }
    }

    #[test]
    fn what_does_not_change_is_written_every_five_minutes() {
        let mut recorder = Recorder::default();
        for at in (0..601).map(|seconds| seconds * 1000) {
            recorder.look(look(at, 0));
        }
        let times: Vec<u64> = recorder.take(0).iter().map(Frame::at).collect();
        assert_eq!(times, [0, 300_000, 600_000]);
        recorder.look(look(601_000, 1));
        assert_eq!(recorder.take(0).len(), 1, "a change is written at once");
    }

    #[test]
    fn a_plan_is_written_when_it_is_another_one() {
        let mut recorder = Recorder::default();
        let plan = |at, desired| Plan { at: Timestamp(at), desired: Some(desired), ..Plan::default() };
        for at in 0..10 {
            recorder.decided(&plan(at, 0), None);
        }
        recorder.decided(&plan(10, 1), None);
        let times: Vec<u64> = recorder.take(0).iter().map(Frame::at).collect();
        assert_eq!(times, [0, 10]);
    }

    #[test]
    fn intervals_are_written_as_one_of_a_minute() {
        let mut recorder = Recorder::default();
        for tick in 1..=12 {
            let names = vec![if tick < 6 { "a" } else { "b" }.to_owned()];
            let at = tick * 10_000;
            recorder.interval(Interval {
                at,
                millis: 10_000,
                queue: "q".into(),
                arrived: 1,
                names,
                starts: vec![(0, 4000, Some(7))],
                ..Interval::default()
            });
            recorder.finish_intervals(at);
        }
        let frames = recorder.take(0);
        let [Frame::Interval(first), Frame::Interval(second)] = &*frames else { panic!("{frames:?}") };
        assert_eq!((first.at, first.millis, first.arrived), (60_000, 60_000, 6));
        assert_eq!(
            (&*first.names, first.starts[0], first.starts[5]),
            (&["a".to_owned(), "b".to_owned()][..], (0, 54_000, Some(7)), (1, 4000, Some(7)))
        );
        assert_eq!((second.at, second.arrived, second.names.len()), (120_000, 6, 1));
    }

    #[test]
    fn an_instances_changes_are_written_once_and_its_end_where_nobody_saw_it() {
        let mut recorder = Recorder::default();
        let ids = |at, id: &str| Ids { at, token: "t".into(), id: id.into(), ..Ids::default() };
        let step = |state| [Step { at: 3, from: 3, instance: "t".into(), name: "install".into(), state }];
        recorder.instance(ids(1, ""), ("launching", 1, "why"), &[], None);
        recorder.instance(ids(2, ""), ("launching", 1, "why"), &[], Some(0));
        assert_eq!(recorder.take(0).len(), 3, "ids, phase, and that it holds no job");
        recorder.instance(ids(3, "i-1"), ("booting", 3, "accepted"), &step(StepState::Running), Some(0));
        recorder.instance(ids(4, "i-1"), ("booting", 3, "accepted"), &step(StepState::Succeeded), Some(2));
        assert_eq!(recorder.take(0).len(), 5, "ids, phase, two states of a step, jobs");
        recorder.only(&BTreeSet::from(["t".to_owned()]), 5);
        assert!(recorder.take(0).is_empty());
        recorder.only(&BTreeSet::new(), 6);
        assert!(matches!(&*recorder.take(0), [Frame::Phase(it)] if it.phase == "gone" && it.at == 6));
    }
}
