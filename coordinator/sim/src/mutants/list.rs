//! What a mutant is, and all of them: each replaces one text that its file has exactly once; a test checks that.

use super::{capacity, drains, drill, images, pool, seen, wait};

/// One bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    pub name: &'static str,
    /// From the repository's root.
    pub file: &'static str,
    pub find: &'static str,
    pub replace: &'static str,
    pub what: &'static str,
    /// What shows a bug that hardly any seed shows.
    pub shown_by: Option<Shown>,
}

/// What is run for one mutant, before the seeds that are run for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A seed of [`RARE_DAYS`]. Other draws of faults want another one: a sweep of the mutant finds it.
    Seed(u64),
    /// A scenario of the brain, as `topic/name` or the beginning of it: where no seed is known that shows the bug.
    Scenario(&'static str),
}

/// Virtual days of a seed that is named for one mutant.
pub const RARE_DAYS: f64 = 3.0;

impl Mutant {
    pub(super) const fn shown_by(mut self, shown: Shown) -> Mutant {
        self.shown_by = Some(shown);
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
    let brain = [capacity::MUTANTS, drill::MUTANTS, images::MUTANTS, drains::MUTANTS, seen::MUTANTS, wait::MUTANTS];
    brain.into_iter().flatten().chain(pool::MUTANTS)
}
