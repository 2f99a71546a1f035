//! The worker shim in real workers: every BullMQ that it knows, under bun and node, with the test as the agent at the
//! other end of its socket. All that is installed comes from `tests/setup`.

mod doing;
mod fence;
mod hand_back;
mod harmless;
mod life;
mod pm2;
mod stage;
