//! What needs a person, decided in one place for page, `status`, metrics and messages; and what is told of it. Without
//! clock and I/O.
//!
//! - `kind`: every kind of finding, how severe it is and what to do
//! - `pool`, `installation`: the findings of a pool, and of the installation as a whole
//! - `finding`: one of them, as it is published
//! - `incident`: a finding that lasts, and what the ledger keeps of it
//! - `engine`: which messages there are, and when
//! - `digest`: the daily one
//! - `message`: the words of messages

mod digest;
mod engine;
mod finding;
mod incident;
mod installation;
mod kind;
mod message;
mod pool;

pub use digest::{Day, Dollars, Schedule, text as digest};
pub use engine::{Engine, Outgoing};
pub use finding::{Finding, list};
pub use incident::{Incident, Kept};
pub use installation::{Led, installation};
pub use kind::{Kind, Severity};
pub use message::test as test_message;
pub use pool::{Seen, Watcher};
