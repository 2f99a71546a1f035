//! What a forecast says of the first job that would start too late: the numbers of a launch's reason.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::words::{counted, in_words};

/// What a forecast says of the first waiting job that would start later than it is promised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateStart {
    /// Its place in the queue, from 1.
    pub nth: u64,
    /// Jobs that would start too late.
    pub late: u64,
    /// How long it will have waited when it starts with so many instances; None: no slot starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
    pub with: u32,
    /// The same with those that are desired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then_wait: Option<Duration>,
    pub then_with: u32,
    /// The wait that all are promised.
    pub target: Duration,
    /// The wait that it is promised: more than the target where no launch can keep that any more.
    pub promise: Duration,
}

impl fmt::Display for LateStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits =
            |wait: Option<Duration>| wait.map_or("never".to_owned(), |wait| format!("after {}", in_words(wait)));
        let with = counted(self.with, "instance");
        write!(f, "the {} job in the queue would start {} with {with}", ordinal(self.nth), waits(self.wait))?;
        if self.then_with > self.with {
            write!(f, " and {} with {}", waits(self.then_wait), self.then_with)?;
        }
        write!(f, "; target {}", in_words(self.target))?;
        match self.promise > self.target {
            true => write!(f, ", and {} where no launch is in time for that", in_words(self.promise)),
            false => Ok(()),
        }
    }
}

/// `1st`, `2nd`, `13th`.
fn ordinal(n: u64) -> String {
    let suffix = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_has_each_number() {
        let seconds = |n| Some(Duration::from_secs(n));
        let mut late = LateStart {
            nth: 14,
            late: 3,
            wait: seconds(430),
            with: 1,
            then_wait: seconds(200),
            then_with: 2,
            target: Duration::from_secs(300),
            promise: Duration::from_secs(300),
        };
        let said = "the 14th job in the queue would start after 7 min 10 s with 1 instance and after 3 min 20 s with 2; target 5 min";
        assert_eq!(late.to_string(), said);
        (late.nth, late.wait, late.with, late.then_with) = (22, None, 2, 2);
        assert_eq!(late.to_string(), "the 22nd job in the queue would start never with 2 instances; target 5 min");
        late.promise = Duration::from_secs(600);
        assert!(late.to_string().ends_with("; target 5 min, and 10 min where no launch is in time for that"), "{late}");
        for (n, said) in [(1, "1st"), (3, "3rd"), (11, "11th"), (112, "112th"), (121, "121st")] {
            assert_eq!(ordinal(n), said);
        }
    }
}
