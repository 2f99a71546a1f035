//! What is of the installation, and of no pool: who leads, and volumes that nobody has any more.

use std::time::Duration;

use spillway_brain::Timestamp;
use spillway_words::counted;

use crate::finding::{Finding, list};
use crate::kind::Kind;

/// A lease that nobody is seen to hold for so long is nobody's.
const LEADERLESS: Duration = Duration::from_secs(60);

/// Who leads a pool, as far as this coordinator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Led {
    Here,
    /// Another coordinator holds the lease.
    Elsewhere,
    /// Nobody, or the ledger does not tell, since then.
    Unknown {
        since: Timestamp,
    },
}

/// The findings of the installation: `pools` are those of the settings, `left` the volumes that EC2 shows.
pub fn installation(pools: &[Led], left: &[String], now: Timestamp) -> Vec<Finding> {
    let mut found = Vec::new();
    let nobody = pools.iter().filter_map(|led| match led {
        Led::Unknown { since } if now.since(*since) >= LEADERLESS => Some(*since),
        _ => None,
    });
    if let Some(since) = nobody.min() {
        let detail = "The ledger does not tell that any coordinator leads. Where none does, nothing is launched, drained \
                      or terminated; instances go on with their jobs, and end by themselves once they have none.";
        found.push(Finding::new(Kind::NoLeader).detail(detail).since(Some(since)));
    } else if pools.contains(&Led::Elsewhere) {
        let detail = "It observes and decides nothing.";
        found.push(Finding::new(Kind::Standby).detail(detail));
    }
    if !left.is_empty() {
        let many = u64::try_from(left.len()).unwrap_or(u64::MAX);
        let title = format!("{} left behind by instances that are gone, and billed on", counted(many, "volume"));
        found.push(Finding::new(Kind::LeftVolumes).title(title).detail(list(left)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(pools: &[Led], at: u64) -> Vec<Kind> {
        installation(pools, &[], Timestamp(at)).iter().map(|it| it.kind).collect()
    }

    #[test]
    fn a_lease_that_nobody_holds_is_told_after_a_minute_and_a_standby_at_once() {
        let unknown = Led::Unknown { since: Timestamp(1000) };
        assert_eq!(kinds(&[Led::Here], 90_000), []);
        assert_eq!(kinds(&[Led::Here, unknown], 60_999), []);
        assert_eq!(kinds(&[Led::Here, unknown], 61_000), [Kind::NoLeader]);
        assert_eq!(kinds(&[Led::Elsewhere], 90_000), [Kind::Standby]);
        assert_eq!(kinds(&[], 0), []);
    }

    #[test]
    fn volumes_that_were_left_are_named() {
        let left = ["vol-1".to_owned(), "vol-2".to_owned()];
        let found = installation(&[Led::Here], &left, Timestamp(0));
        assert_eq!(found[0].kind, Kind::LeftVolumes);
        assert_eq!(found[0].title, "2 volumes left behind by instances that are gone, and billed on");
        assert_eq!(found[0].detail, "vol-1, vol-2");
    }
}
