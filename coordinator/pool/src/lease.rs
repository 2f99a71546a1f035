//! The leader lease, as its holder sees it: how long it lasts, and what an attempt to take or renew it means.

use std::time::Duration;

/// How long the lease lasts without a renewal; a standby takes over that long after its holder died.
pub const LEASE: Duration = Duration::from_secs(15);
/// Between two attempts to take or renew it.
pub const RENEWED_EACH: Duration = Duration::from_secs(3);

/// What Redis answered to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAnswer {
    /// It is ours, in this epoch.
    Ours {
        epoch: u64,
    },
    Anothers,
    /// Redis did not answer.
    Unknown,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    Gained { epoch: u64 },
    Lost,
    Unchanged,
}

/// One process' hold on the lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// Until when by its own clock, and in which epoch.
    held: Option<(Duration, u64)>,
}

impl Hold {
    /// Without an answer the lease is held until its time is over by our own clock, counted from before the last
    /// renewal was asked for: never longer than Redis holds it.
    pub fn answered(&mut self, asked_at: Duration, answered_at: Duration, answer: LeaseAnswer) -> LeaseChange {
        let before = self.held;
        match answer {
            LeaseAnswer::Ours { epoch } => {
                self.held = Some((asked_at + LEASE, epoch));
                // Another epoch than before: it had run out, or was lost with Redis' data, and is taken anew.
                let is_same = before.is_some_and(|(_, held)| held == epoch);
                if is_same { LeaseChange::Unchanged } else { LeaseChange::Gained { epoch } }
            }
            LeaseAnswer::Anothers => {
                self.held = None;
                if before.is_some() { LeaseChange::Lost } else { LeaseChange::Unchanged }
            }
            LeaseAnswer::Unknown => {
                let is_over = self.held.take_if(|(until, _)| answered_at >= *until).is_some();
                if is_over { LeaseChange::Lost } else { LeaseChange::Unchanged }
            }
        }
    }

    /// Until when it is held without another renewal, and in which epoch.
    pub fn held(&self) -> Option<(Duration, u64)> {
        self.held
    }

    /// Given back.
    pub fn release(&mut self) {
        self.held = None;
    }
}
