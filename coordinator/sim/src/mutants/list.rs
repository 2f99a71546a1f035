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
}

pub(super) const fn bug(
    name: &'static str,
    what: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant { name, file, find, replace, what }
}

/// All of them, by what they are bugs in.
pub fn all() -> impl Iterator<Item = &'static Mutant> {
    [capacity::MUTANTS, drains::MUTANTS, seen::MUTANTS, pool::MUTANTS].into_iter().flatten()
}
