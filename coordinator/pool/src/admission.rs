//! Which agent is let in: that of an instance which the leader's ledger knows and still expects.

use std::collections::BTreeSet;

use spillway_brain::{InstanceId, State};

/// Who is let in now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// None on a standby: it knows the fleet by EC2's list alone, and what it is told would be lost to the leader.
    expected: Option<BTreeSet<InstanceId>>,
}

/// Why an agent is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdmitted {
    NotTheLeader,
    /// The ledger does not know its instance, or not yet, or has seen its end.
    NotExpected,
}

impl Admission {
    pub(crate) fn of(state: &State) -> Self {
        let expected = || {
            let alive = state.instances().filter(|instance| !instance.is_gone());
            alive.filter_map(|instance| instance.id.clone()).collect()
        };
        Admission { expected: state.is_leader().then(expected) }
    }

    /// Whether the agent of this instance is let in.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, id: &InstanceId) -> Result<(), NotAdmitted> {
        let expected = self.expected.as_ref().ok_or(NotAdmitted::NotTheLeader)?;
        if expected.contains(id) { Ok(()) } else { Err(NotAdmitted::NotExpected) }
    }
}
