//! What is shown, in the reader's words: `pool`, `instance` and `boot` of its parts, `plans` of what was decided. Owns
//! the sentences; `status` and `top` lay them out.

pub(crate) mod boot;
pub(crate) mod instance;
mod plans;
pub(crate) mod pool;

pub use boot::step_line;
pub use instance::instance_line;
pub use plans::{decision_line, plans};
pub use pool::backlog_line;
