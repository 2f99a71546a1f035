//! The shim's lines: JSON, one message each. Owns their shapes; a line that is not understood is nothing.

use serde::{Deserialize, Serialize};
use serde_json::json;

/// Longer lines end the connection: a state with a thousand jobs has 200 kB.
pub const MAX_LINE: usize = 4 * 1024 * 1024;

/// A message from a process.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// First on each connection.
    Hello(Hello),
    /// After each change, and as a beat.
    State(State),
    /// A job ended well.
    Finished(Finished),
    /// Something that the shim could not do, in the reader's words.
    Problem(String),
    /// The outcome of a command.
    Done(Done),
}

/// The sender.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Hello {
    /// Of these lines.
    #[serde(default)]
    pub protocol: u32,
    /// `bun 1.4.5`.
    #[serde(default)]
    pub runtime: String,
}

/// A process as it now is.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct State {
    /// None of its workers takes a new job.
    pub fenced: bool,
    /// Its workers.
    #[serde(default)]
    pub workers: Vec<Worker>,
    /// Their active jobs.
    #[serde(default)]
    pub jobs: Vec<Job>,
}

/// A BullMQ Worker.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Worker {
    /// Of the queue.
    pub queue: String,
    /// Of the queue's keys.
    #[serde(default = "bull")]
    pub prefix: String,
    /// BullMQ's version.
    #[serde(default)]
    pub bullmq: String,
    #[serde(default)]
    pub hand_back: HandsBack,
    /// What it does this moment.
    #[serde(default)]
    pub doing: Doing,
    /// Its blocking connection stands; absent where the Redis client hides that.
    #[serde(default)]
    pub ready: Option<bool>,
    /// Since Redis answered a fetch or the end of a job, in milliseconds.
    #[serde(default)]
    pub quiet_ms: Option<f64>,
    /// How long it lets Redis wait for a job, in milliseconds.
    #[serde(default)]
    pub drain_ms: Option<f64>,
    /// For how long a rate limit holds it back, as far as it knows.
    #[serde(default)]
    pub limited_ms: Option<f64>,
    /// Jobs that it runs at a time.
    #[serde(default)]
    pub concurrency: Option<f64>,
    /// Its own `limiter.max`.
    #[serde(default)]
    pub limiter_max: Option<f64>,
    /// Jobs that ended in it, well or not.
    #[serde(default)]
    pub ended: u64,
    /// Redis' own name for the run of the server that it is connected to.
    #[serde(default)]
    pub run_id: Option<String>,
    /// The database there.
    #[serde(default)]
    pub db: Option<i64>,
    /// Host and port of that server, as the Worker has them.
    #[serde(default)]
    pub address: Option<String>,
}

/// What a Worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// It runs a job.
    Working,
    /// It is blocked for one.
    Waiting,
    /// It asks for one.
    Fetching,
    /// A rate limit holds it back.
    Limited,
    /// The application paused it.
    Paused,
    /// The application closes it.
    Closing,
    /// Nobody runs it yet.
    New,
    /// A shim of another version does not say.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Whether a Worker's process can hand its jobs back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HandsBack {
    /// It cannot: the jobs are sandboxed, or fetched by hand.
    None,
    /// To the front of the queue.
    #[default]
    #[serde(other)]
    Wait,
}

/// An active job.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Job {
    /// Of the queue.
    pub queue: String,
    /// Of the queue's keys.
    #[serde(default = "bull")]
    pub prefix: String,
    /// BullMQ's.
    pub id: String,
    /// Its lock's value.
    #[serde(default)]
    pub token: String,
    /// What the application calls it.
    #[serde(default)]
    pub name: String,
    /// How long it has run.
    #[serde(default)]
    pub ms: f64,
    /// It runs in a process or thread of its own.
    #[serde(default)]
    pub sandboxed: bool,
}

/// How long a job took.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Finished {
    /// Of the queue.
    pub queue: String,
    /// What the application calls it.
    #[serde(default)]
    pub name: String,
    /// From its start.
    pub ms: f64,
}

/// The outcome of a command.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Done {
    /// The command's.
    pub id: u64,
    /// Jobs that were handed back.
    #[serde(default)]
    pub handed_back: Vec<serde::de::IgnoredAny>,
    /// Jobs that run on.
    #[serde(default)]
    pub kept: Vec<Kept>,
    /// Why it could not be carried out completely.
    #[serde(default)]
    pub problem: Option<String>,
}

/// A job that runs on.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Kept {
    /// BullMQ's.
    #[serde(default)]
    pub id: String,
    /// In the reader's words.
    #[serde(default)]
    pub why: String,
}

/// A command to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ShimCommand {
    /// Take no new job.
    Fence,
    /// Take jobs again.
    Unfence,
    /// Hand the jobs back, and freeze.
    HandBack,
}

impl ShimCommand {
    /// As a line.
    pub fn line(self, id: u64) -> String {
        let line = match self {
            Self::Fence => json!({ "do": "fence", "id": id }),
            Self::Unfence => json!({ "do": "unfence", "id": id }),
            Self::HandBack => json!({ "do": "hand_back", "id": id, "freeze": true }),
        };
        format!("{line}\n")
    }
}

/// A line, if it is understood.
pub fn parse(line: &[u8]) -> Option<Line> {
    serde_json::from_slice(line).ok()
}

fn bull() -> String {
    "bull".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_shim_writes_them() {
        let state = parse(
            br#"{"state":{"fenced":true,"workers":[{"queue":"q","prefix":"p","bullmq":"5.81.5","concurrency":2,"sandboxed":false,"hand_back":"wait"}],
            "jobs":[{"queue":"q","prefix":"p","id":"17","token":"i-1:u:3","name":"encode","ms":1234,"sandboxed":false}]}}"#,
        );
        let Some(Line::State(state)) = state else { panic!("{state:?}") };
        assert!(state.fenced && state.workers[0].hand_back == HandsBack::Wait);
        assert_eq!(
            (state.jobs[0].id.as_str(), state.jobs[0].token.as_str(), state.jobs[0].ms),
            ("17", "i-1:u:3", 1234.0)
        );
        let done = parse(
            br#"{"done":{"id":7,"handed_back":[{"queue":"q","prefix":"p","id":"1"}],"kept":[{"id":"2","why":"x"}]}}"#,
        );
        let Some(Line::Done(done)) = done else { panic!("{done:?}") };
        assert_eq!((done.id, done.handed_back.len(), done.kept[0].why.as_str()), (7, 1, "x"));
        assert!(matches!(parse(br#"{"hello":{"pid":1,"protocol":1,"runtime":"bun 1"}}"#), Some(Line::Hello(_))));
        assert!(matches!(parse(br#"{"problem":"x"}"#), Some(Line::Problem(_))));
        for line in [&b""[..], b"{}", b"[]", br#"{"news":1}"#, br#"{"state":1}"#, b"\xff"] {
            assert_eq!(parse(line), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200), text in "[\\[\\]{}\":,a-z0-9_ ]{0,120}") {
            let _ = (parse(&line), parse(text.as_bytes()));
        }
    }
}
