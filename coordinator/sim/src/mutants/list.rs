//! What a mutant is, and all of them: each replaces one text that its file has exactly once; a test checks that.

use super::{capacity, drains, pool, seen};

/// One bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    pub name: &'static str,
    /// From the repository's root.
    pub file: &'static str,
    pub find: &'static str,
    pub replace: &'static str,
    pub what: &'static str,
    /// A seed of [`RARE_DAYS`] that shows what hardly any other does. Other draws of faults want another one: a sweep
    /// of the mutant finds it.
    pub shown_by: Option<u64>,
}

/// Virtual days of a seed that is named for one mutant.
pub const RARE_DAYS: f64 = 3.0;

impl Mutant {
    pub(super) const fn shown_by(mut self, seed: u64) -> Mutant {
        self.shown_by = Some(seed);
        self
    }
}

pub(super) const fn bug(
    name: &'static str,
    what: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant { name, file, find, replace, what, shown_by: None }
}

/// All of them, by what they are bugs in.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    [capacity::MUTANTS, drains::MUTANTS, seen::MUTANTS, pool::MUTANTS].into_iter().flatten()
}
