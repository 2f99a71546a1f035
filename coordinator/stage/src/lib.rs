//! A whole Spillway on one machine, in a directory of its own and on free loopback ports: what the demo shows and what
//! the end-to-end tests probe. Real are Redis, BullMQ, bun, PM2, git, the coordinator and the agents; EC2 is the
//! emulator's.
//!
//! - `process`: a child that ends with whoever started it; `programs`: where the others are; `ports`: free ones
//! - `redis_server`: a private redis-server
//! - `repository`: the application as a git repository, and the user data that brings it up on an instance
//! - `ec2`: the emulator with a launch template, and what an AWS client must be told to find it
//! - `coordinator`, `primary`: the two that run all the time
//!
//! The order of the start is the caller's, who may want to show it or to do without a part. Errors are returned: a test
//! turns them into its failure.

pub mod coordinator;
pub mod ec2;
pub mod ports;
pub mod primary;
pub mod process;
pub mod programs;
pub mod redis_server;
pub mod repository;

use std::os::unix::fs::PermissionsExt as _;

/// The one queue.
pub const QUEUE: &str = "video-processing";

/// A directory with a short path, below `TMPDIR`: PM2 keeps sockets in it. Only this user can enter it: secrets are
/// kept there.
pub fn directory(prefix: &str) -> std::io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix(prefix).permissions(std::fs::Permissions::from_mode(0o700)).tempdir()
}
