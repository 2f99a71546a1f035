//! What people are shown of Spillway. It knows the protocol, and neither the daemon nor where its output goes.
//!
//! - `client`: the way to a running coordinator
//! - `status`: the fleet as `status` prints it, in a screenful or whole; `attention`: what needs a person there
//! - `words`: the sentences of it, and plans as `explain` prints them; `json`: the same for programs
//! - `floods`: the floods of the past; `money`: what a pool costs
//! - `top`: the fleet live: what is remembered of it, and the frame that is drawn
//! - `style`: lines with colours, cut by what is seen; `graph`: bars, sparklines and charts; `layout`: labels, titles,
//!   lists side by side
//! - `times`: the protocol's times against a clock that is handed in

pub mod attention;
pub mod client;
pub mod floods;
pub mod graph;
mod images;
pub mod json;
pub mod layout;
pub mod money;
pub mod status;
pub mod style;
pub mod times;
pub mod top;
pub mod words;
