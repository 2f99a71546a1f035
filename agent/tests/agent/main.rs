//! The agent end to end: the real binary with the real Redis, git, bun, BullMQ and PM2, against a coordinator and a
//! metadata service that the test plays. What is missing on this machine fails the test: `tests/setup` installs it.

mod boot;
mod boot_check;
mod command_line;
mod coordinator;
mod dead_man;
mod drain;
mod failover;
mod forward;
mod hand_back;
mod imds;
mod life;
mod namespace;
mod ports;
mod proof;
mod redis_server;
mod shim;
mod stage;
