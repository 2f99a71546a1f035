//! The hand-back against a real Redis and real BullMQs. All that is installed comes from `tests/setup`.

mod look;
mod model;
mod permissions;
mod property;
mod suspects;
mod world;
