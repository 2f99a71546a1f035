//! What is kept of a pool's past: every decision with the inputs that it rests on, the backlog, the jobs that were seen
//! to start and to end, and the lives of its instances. Pure: no clock, no I/O.
//!
//! - `frame`: one entry, as it is written; what is written of a look at the pool, and what is not
//! - `jobs`: from looks at the active jobs to starts and ends
//! - `history`: what a coordinator keeps in memory of the entries, bounded
//! - `floods`: times in which instances were wanted, and what each came to
//! - `prices`, `money`: dollars an hour, and what the instances of a time range cost by them
//! - `totals`: what some time came to, in sums
//! - `buckets`, `lanes`: what is drawn of it: equal intervals of a time range, and instances over time

mod buckets;
mod floods;
mod frame;
mod history;
mod jobs;
mod lanes;
mod money;
mod prices;
mod recorder;
mod totals;

pub use buckets::Buckets;
pub use floods::Flood;
pub use frame::{Decided, Frame, Ids, Interval, Look, PhaseBegan, Step, StepState};
pub use history::{History, Told};
pub use jobs::{ActiveJob, JobsSeen, Seen};
pub use lanes::{Lane, Span, StepSpan};
pub use money::{Money, Period};
pub use prices::Prices;
pub use recorder::Recorder;
pub use totals::Totals;
