//! What the end-to-end tests stand on: the real programs, each started for one test on free ports in a directory of
//! its own, and ended with it. See `tests/README.md` for what each test proves.
//!
//! - `binaries`: `spillway` and `spillway-agent`, never stale; `programs`: what `tests/setup` installs
//! - `process`: a child that ends with its test; `redis_server`, `coordinator`: the two that most tests start. They are
//!   the stage's, as the demo has them; what is returned there as an error fails the test here
//! - `jobs`, `driver`: jobs and whole queues, made by BullMQ itself
//! - `app`: the demo's application, with a test's own files
//! - `other_client`: somebody else at the same EC2
//! - `chaos`: two coordinators, kills, partitions and lost answers, and what must hold all the while
//! - `interruptions`: instances taken at random moments, and what became of every job
//! - `world`: all of it together around one queue; `wait`: until something is so, with the whole story when it is not

pub mod app;
pub mod binaries;
pub mod chaos;
pub mod coordinator;
pub mod driver;
pub mod interruptions;
pub mod jobs;
pub mod other_client;
pub mod ports;
pub mod process;
pub mod programs;
pub mod redis_server;
pub mod wait;
pub mod world;

/// The queue of tests that need only one.
pub use spillway_stage::QUEUE;
