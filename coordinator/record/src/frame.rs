//! One entry of the record, as it is written: JSON of one line, with short keys, since there are hundreds of thousands.

use serde::{Deserialize, Serialize};
use spillway_brain::{Backlog, Plan};

/// An entry. Times are milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "k")]
pub enum Frame {
    /// The pool as it was seen.
    #[serde(rename = "o")]
    Look(Look),
    /// A plan that is another one than the plan before, with what it rests on.
    #[serde(rename = "d")]
    Decided(Box<Decided>),
    /// The jobs of an interval.
    #[serde(rename = "j")]
    Interval(Interval),
    /// What an instance is.
    #[serde(rename = "i")]
    Ids(Box<Ids>),
    /// An instance's phase begins.
    #[serde(rename = "p")]
    Phase(PhaseBegan),
    /// A boot step begins or ends.
    #[serde(rename = "s")]
    Step(Step),
    /// An instance holds another number of jobs.
    #[serde(rename = "w")]
    Holds {
        at: u64,
        #[serde(rename = "n")]
        instance: String,
        #[serde(rename = "c")]
        jobs: u32,
    },
    /// Of a later version: skipped.
    #[serde(other)]
    Unknown,
}

impl Frame {
    /// When it was, in milliseconds since the epoch.
    pub fn at(&self) -> u64 {
        match self {
            Frame::Look(it) => it.at,
            Frame::Decided(it) => it.plan.at.0,
            Frame::Interval(it) => it.at,
            Frame::Ids(it) => it.at,
            Frame::Phase(it) => it.at,
            Frame::Step(it) => it.at,
            Frame::Holds { at, .. } => *at,
            Frame::Unknown => 0,
        }
    }

    /// It may be dropped where there is no room: what comes later tells nearly as much.
    pub fn is_detail(&self) -> bool {
        matches!(self, Frame::Look(_) | Frame::Holds { .. } | Frame::Unknown)
    }
}

/// Sums over the pool's queues and its instances, as they were seen at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    pub at: u64,
    /// Jobs that could start now. None: the queues could not be read.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub demand: Option<u64>,
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    pub active: u64,
    /// Age of the oldest job that could start, in milliseconds.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<u64>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<u32>,
    #[serde(rename = "r", default, skip_serializing_if = "is_none")]
    pub ready: u32,
    /// Launching or booting.
    #[serde(rename = "w", default, skip_serializing_if = "is_none")]
    pub on_the_way: u32,
    /// Draining or terminating.
    #[serde(rename = "x", default, skip_serializing_if = "is_none")]
    pub draining: u32,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Look {
    /// Nothing has changed since, but for the age of a job that still waits.
    pub(crate) fn says_no_more_than(&self, before: &Look) -> bool {
        let aged = |look: &Look| look.oldest_ms.map(|age| look.at.saturating_sub(age));
        let is_same_job = match (aged(self), aged(before)) {
            // Ages are measured by two clocks, which do not tick together.
            (Some(now), Some(then)) => now.abs_diff(then) < 2000,
            (None, None) => true,
            _ => false,
        };
        is_same_job
            && Look { at: 0, oldest_ms: None, ..self.clone() } == Look { at: 0, oldest_ms: None, ..before.clone() }
    }
}

/// A plan with what it was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    pub plan: Plan,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<Backlog>,
}

/// Single jobs that are told of an interval.
pub(crate) const SINGLE: usize = 200;
/// Different names of an interval; others are told as the last one.
pub(crate) const NAMES: usize = 32;
const LONGEST_NAME: usize = 64;

/// The jobs of one queue in an interval. `arrived` and `finished` are by BullMQ's counters: exact where nobody removes
/// jobs by hand. Single jobs are those that were seen: one that starts and ends between two looks is in those counts
/// alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// Its end.
    pub at: u64,
    /// Its length.
    #[serde(rename = "l")]
    pub millis: u64,
    #[serde(rename = "q")]
    pub queue: String,
    /// Jobs that were added.
    #[serde(rename = "+", default, skip_serializing_if = "is_zero")]
    pub arrived: u64,
    /// Jobs that ended, completed or failed.
    #[serde(rename = "-", default, skip_serializing_if = "is_zero")]
    pub finished: u64,
    /// Failed jobs that Redis keeps, more than before: none where `removeOnFail` removes them at once.
    #[serde(rename = "f", default, skip_serializing_if = "is_zero")]
    pub failed: u64,
    /// Seen to start; `starts` has the first of them.
    #[serde(rename = "b", default, skip_serializing_if = "is_zero")]
    pub started: u64,
    /// Names of the jobs below, each once.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Seen to start: which name, how long before the interval's end it started, and how long it had waited, in
    /// milliseconds; null where that is not known, as of a retry.
    #[serde(rename = "s", default, skip_serializing_if = "Vec::is_empty")]
    pub starts: Vec<(u8, u64, Option<u64>)>,
    /// Seen to end: which name, and how long it took, in milliseconds.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<(u8, u64)>,
}

impl Interval {
    /// There is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.arrived == 0 && self.finished == 0 && self.starts.is_empty() && self.ends.is_empty()
    }

    /// The position of a job's name among those of the interval.
    pub(crate) fn name(&mut self, name: &str) -> u8 {
        let name: String = name.chars().filter(|it| !it.is_control()).take(LONGEST_NAME).collect();
        let position = self.names.iter().position(|it| *it == name).unwrap_or_else(|| {
            if self.names.len() < NAMES {
                self.names.push(name);
            }
            self.names.len() - 1
        });
        u8::try_from(position).unwrap_or(u8::MAX)
    }
}

/// What an instance is; empty where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    pub at: u64,
    /// Its launch token, by which it is known before EC2 has accepted the launch.
    #[serde(rename = "n")]
    pub token: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub instance_type: String,
    #[serde(rename = "z", default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    #[serde(rename = "c", default, skip_serializing_if = "String::is_empty")]
    pub capacity_type: String,
    #[serde(rename = "im", default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    #[serde(rename = "co", default, skip_serializing_if = "String::is_empty")]
    pub commit: String,
    /// When EC2's notice of an interruption came.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub interrupted_at: Option<u64>,
}

/// A phase of an instance begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseBegan {
    pub at: u64,
    /// Its launch token.
    #[serde(rename = "n")]
    pub instance: String,
    #[serde(rename = "p")]
    pub phase: String,
    #[serde(rename = "y", default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// A boot step of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When it came to this.
    pub at: u64,
    /// When its last attempt began.
    #[serde(rename = "f")]
    pub from: u64,
    /// Its launch token.
    #[serde(rename = "n")]
    pub instance: String,
    #[serde(rename = "m")]
    pub name: String,
    #[serde(rename = "s")]
    pub state: StepState,
}

/// What became of a boot step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    Running,
    Retrying,
    Succeeded,
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written_and_one_of_a_later_version_is_skipped() {
        let look = Frame::Look(Look { at: 5, demand: Some(3), oldest_ms: Some(1), ..Look::default() });
        let text = serde_json::to_string(&look).expect("JSON");
        assert_eq!(text, r#"{"k":"o","at":5,"b":3,"o":1}"#);
        assert_eq!(serde_json::from_str::<Frame>(&text).expect("a frame"), look);
        let interval = Interval { at: 9, millis: 60_000, queue: "q".into(), arrived: 2, ..Interval::default() };
        let text = serde_json::to_string(&Frame::Interval(interval.clone())).expect("JSON");
        assert_eq!(serde_json::from_str::<Frame>(&text).expect("a frame"), Frame::Interval(interval));
        assert_eq!(serde_json::from_str::<Frame>(r#"{"k":"new","at":1}"#).expect("a frame"), Frame::Unknown);
    }

    #[test]
    fn an_older_job_of_the_same_kind_is_no_news_and_another_one_is() {
        let look = |at, oldest_ms, demand| Look { at, demand: Some(demand), oldest_ms, ..Look::default() };
        let before = look(10_000, Some(4000), 3);
        assert!(look(70_000, Some(64_500), 3).says_no_more_than(&before), "the same job, a minute older");
        assert!(!look(70_000, Some(10_000), 3).says_no_more_than(&before), "another job is the oldest");
        assert!(!look(70_000, Some(64_000), 4).says_no_more_than(&before));
        assert!(!look(70_000, None, 3).says_no_more_than(&before));
        let unknown = Look { demand: None, ..before.clone() };
        assert!(!unknown.says_no_more_than(&before));
    }
}
