//! End to end, with the real parts: one program, so that its tests run side by side. `tests/README.md` says what each
//! module proves; `cargo test --workspace --test e2e restart::` runs one of them.

mod acl;
mod boot;
mod chaos;
mod closed_pipe;
mod command_queues;
mod dead_man;
mod demo;
mod demo_screen;
mod drain;
mod failover;
mod faults;
mod first_hour;
mod fuzz;
mod gameday;
mod impostor;
mod installations;
mod interfaces;
mod interruptions;
mod machines;
mod moto;
mod plan;
mod proxy;
mod queue_counts;
mod refusals;
mod rehearse;
mod restart;
mod scheduled;
mod settings;
mod strangers;
mod suspect;
mod taken_back;
mod unknown;
mod vanish;
mod versions;
mod volumes;
