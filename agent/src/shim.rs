//! The worker shim: a small preload file of ours in the worker's processes, and the socket between them and the
//! agent. Owns the file, the socket and the processes' last reported state; never decides (the machine does).
//!
//! Nothing here can keep a worker from starting: without the socket the shim does nothing at all.

pub mod install;
pub mod process;
mod registry;
pub mod wire;

#[cfg(test)]
mod tests;

pub use install::{InstallError, Installed};
pub use registry::{Seen, ShimUpdate, Shims};

/// The file that the worker's processes load.
pub const SOURCE: &str = concat!(
    include_str!("../shim/shim.cjs"),
    include_str!("../shim/state.cjs"),
    "\nconst MOVE = `",
    include_str!("../shim/move.lua"),
    "`;\n"
);

/// The queues that this instance is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Of their keys.
    pub prefix: String,
    /// Their names.
    pub queues: Vec<String>,
}

impl Place {
    /// The Worker works one of them.
    pub fn is_ours(&self, worker: &wire::Worker) -> bool {
        worker.prefix == self.prefix && self.queues.contains(&worker.queue)
    }
}
