//! Ports for servers that must know theirs before they start.

/// A port of 127.0.0.1 on which nobody listens, and that no other test is given soon.
pub fn free() -> u16 {
    spillway_stage::ports::free().unwrap_or_else(|error| panic!("{error:#}"))
}
