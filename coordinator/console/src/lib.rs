//! What people are shown of Spillway. It knows the protocol, and neither the daemon nor where its output goes.
//!
//! - `client`: the way to a running coordinator
//! - `words`: the fleet and its plans as `status` and `explain` print them; `json`: the same for programs
//! - `floods`: the floods of the past; `money`: what a pool costs
//! - `style`: lines with colours, cut by what is seen; `graph`: bars and sparklines
//! - `times`: the protocol's times against a clock that is handed in

pub mod client;
pub mod floods;
pub mod graph;
mod images;
pub mod json;
pub mod money;
pub mod style;
pub mod times;
pub mod words;
