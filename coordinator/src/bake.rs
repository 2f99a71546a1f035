//! `spillway bake`: makes the workers' image from a copy of the primary.
//!
//! ```text
//!   primary ──► copy ──► builder ──► image ──► canary ──► parameter ──► clean-up
//! ```
//!
//! The copy is an image of the primary as it is. The builder is launched from it where it reaches nobody; there
//! `ami/prepare-image.sh` takes out what a worker must not have, and powers off. The image is made of the stopped
//! builder. The canary is launched from it among the workers, boots a worker against a Redis of its own, and powers
//! off. Then the parameter names the image, and launches take it.
//!
//! No file remembers a bake: what EC2 lists by the tags of `cloud::images` says how far it has come. So whoever calls
//! it again, on whatever machine, goes on with it; and what nothing goes on with is found, and removed. The name of the
//! copy is the same for every bake of an installation, and EC2 has each name once: two bakes cannot run at the same
//! time.
//!
//! `next` decides, without a clock or a call; `run` performs.

mod next;
mod plan;
mod removals;
mod rollback;
mod run;
mod scripts;
mod verdict;
mod work;

pub use next::{Step, Verdicts, next, unfinished};
pub use plan::{Plan, stacks_parameter};
pub use removals::{Removal, leftovers, pruned};
pub use rollback::{RollbackError, earlier};
pub use run::{BakeError, Baker, Done, Progress, Uninstalls, Way};
pub use verdict::Verdict;

/// The name of an installation's copy.
pub fn copy_name(installation: &str) -> String {
    format!("{installation}-bake-copy")
}

/// The name of the image of a bake.
pub fn image_name(installation: &str, bake: &str) -> String {
    format!("{installation}-worker-{bake}")
}
