//! What needs a person, decided in one place for page, `status`, metrics and messages; and what is told of it. Without
//! clock and I/O.
//!
//! - `kind`: every kind of finding, how severe it is and what to do
//! - `pool`, `installation`: the findings of a pool, and of the installation as a whole
//! - `finding`: one of them, as it is published

mod finding;
mod installation;
mod kind;
mod pool;

pub use finding::{Finding, list};
pub use installation::{Led, installation};
pub use kind::{Kind, Severity};
pub use pool::{Seen, Watcher};
