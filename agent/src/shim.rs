//! The worker shim: a small preload file of ours in the worker's processes, and the socket between them and the
//! agent. Owns the file, the socket and the processes' last reported state; never decides (the machine does).
//!
//! Nothing here can keep a worker from starting: without the socket the shim does nothing at all.

pub mod install;
mod process;
mod registry;
pub mod wire;

#[cfg(test)]
mod tests;

pub use install::{InstallError, Installed};
pub use registry::{ShimUpdate, Shims};

/// The file that the worker's processes load.
pub const SOURCE: &str =
    concat!(include_str!("../shim/shim.cjs"), "\nconst MOVE = `", include_str!("../shim/move.lua"), "`;\n");
