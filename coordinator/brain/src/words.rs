//! Durations and counts in the reader's words: one spelling for reasons, status and command line.

pub use spillway_words::{counted, in_words};
