//! The emulator from outside: its EC2 API, its metadata service, its control API, and what its instances run.

mod account;
mod api;
mod faults;
mod images;
mod key;
mod machines;
mod metadata;
mod processes;
mod ssm;
mod start;
mod sts;
mod support;
mod volumes;
