//! What the end-to-end tests share: the real programs, started for one test on free ports in a directory of its own,
//! and stopped with it. See `tests/README.md` for what each test proves.
//!
//! - `binaries`: `spillway` and `spillway-agent`, built from the present source; `programs`: what `tests/setup`
//!   installs
//! - `process`: a child that ends with its test; `redis_server`, `coordinator`: the two that most tests start. They are
//!   the stage's, as the demo has them; what is returned there as an error fails the test here
//! - `forward`: a port that can be led to another server
//! - `jobs`, `driver`: jobs and whole queues, made by BullMQ itself
//! - `app`: the demo's application, with a test's own files
//! - `recorded_worker`: the application of chaos and interruptions, whose runs are recorded; `random`: numbers from a
//!   seed
//! - `prover`: an instance's registration, as its agent or an attacker makes it
//! - `authority`: one CA for several coordinators; `secure`: a client that speaks TLS
//! - `agent_session`: an agent's session without an agent; `recording`: a session message by message, recorded and read
//! - `moto`: somebody else's AWS
//! - `other_client`: another client of the same EC2; `neighbor`: another installation there
//! - `chaos`: two coordinators, kills, partitions and lost answers, and the invariant checks meanwhile
//! - `interruptions`: instances interrupted at random moments, and what became of every job
//! - `webhook`: where messages go
//! - `terminal`: a program on a terminal, and all that it drew
//! - `stage`: all of it around one queue; `wait`: waits for a condition, and shows logs, plans and calls if it is not
//!   met

pub mod agent_session;
pub mod app;
pub mod authority;
pub mod binaries;
pub mod chaos;
pub mod coordinator;
pub mod driver;
pub mod forward;
pub mod interruptions;
pub mod jobs;
pub mod machines;
pub mod metrics;
pub mod moto;
pub mod neighbor;
pub mod other_client;
pub mod ports;
pub mod process;
pub mod programs;
pub mod prover;
pub mod random;
pub mod recorded_worker;
pub mod recording;
pub mod redis_server;
pub mod secure;
pub mod stack;
pub mod stage;
pub mod strangers;
pub mod terminal;
pub mod wait;
pub mod webhook;

/// The queue of tests that need only one.
pub use spillway_stage::QUEUE;
