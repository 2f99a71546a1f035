//! Ports for servers that must know theirs before they start.

/// A free port of 127.0.0.1 that no other test gets soon.
pub fn free() -> u16 {
    spillway_stage::ports::free().unwrap_or_else(|error| panic!("{error:#}"))
}
