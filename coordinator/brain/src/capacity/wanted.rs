//! What a policy says.

use std::time::Duration;

use crate::late_start::LateStart;
use crate::note::Note;
use crate::reason::Reason;

/// What a policy says.
pub(crate) struct Wanted {
    pub desired: u32,
    /// Of those, so many because a schedule asks for them: also while no job waits.
    pub floor: u32,
    /// Why instances beyond that go.
    pub excess: Excess,
    /// For which jobs more instances are wanted, where the policy looks at jobs.
    pub late: Option<LateStart>,
    /// What it waits for.
    pub note: Note,
}

/// Why there are more instances than desired.
#[derive(Clone, Copy)]
pub(crate) enum Excess {
    /// Demand has been 0 for long enough.
    Idle,
    /// Fewer are desired than before.
    Lowered,
    /// The promised wait has held without them for `span`.
    NotNeeded {
        waiting: u64,
        target: Duration,
        span: Duration,
    },
    /// A schedule asked for more until now.
    FloorEnded,
    PoolRetired,
}

impl Excess {
    pub(crate) fn reason(self, desired: u32) -> Reason {
        match self {
            Excess::Idle => Reason::ScaleIn { desired, idle: true },
            Excess::Lowered => Reason::ScaleIn { desired, idle: false },
            Excess::NotNeeded { waiting, target, span } => Reason::NotNeeded { waiting, target, span, desired },
            Excess::FloorEnded => Reason::FloorEnded { desired },
            Excess::PoolRetired => Reason::PoolRetired,
        }
    }
}
