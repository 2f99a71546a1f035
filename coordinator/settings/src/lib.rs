//! How a setting is written, for coordinator and agent alike: where it stands, and whether its author can have meant
//! it.
//!
//! - `document`: a TOML file with the line of each value
//! - `environment_file`: a file of variables as systemd reads it
//! - `duration`: `90s`, `5m`, `2h`
//! - `dotenv`: an application's `.env`, as bun reads it
//! - `placeholder`: examples that were pasted as they are, comments and quotes that became part of a value
//! - `log_filter`: a level or a filter of the log
//!
//! Knows no key of either program, and reads no file.

mod document;
pub mod dotenv;
mod duration;
mod environment_file;
mod log_filter;
mod placeholder;

pub use document::{Document, Syntax};
pub use duration::{LONGEST, duration};
pub use environment_file::{Assignment, parse as parse_environment_file};
pub use log_filter::log_filter;
pub use placeholder::{in_name, in_value, in_variable};
