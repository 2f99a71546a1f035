//! Whether this process tells of a pool: it leads it, or led it when the ledger was heard last.

use std::collections::BTreeSet;
use std::time::Duration;

use spillway_attention::{Incident, Kept, Kind, Led};
use spillway_brain::Timestamp;
use spillway_proto::v1;

/// One that has not led since its start leaves it to others for so long to tell that nobody leads.
const ALONE_AFTER: Duration = Duration::from_secs(300);

/// What this process is to a pool's messages.
#[derive(Debug, Default)]
pub(super) enum Role {
    /// Another tells, or nobody.
    #[default]
    Silent,
    /// It leads, in this epoch; what the ledger has.
    Leads { epoch: u64, saved: Kept },
    /// It led when the ledger was heard last, and tells only what the ledger does not have. `aside`: everything, as it
    /// was then.
    Cut { epoch: u64, aside: Kept, frozen: BTreeSet<String> },
    /// Another leads by now: only what this process has told alone is told to its end.
    Ends,
    /// It has never led, and nobody is seen to.
    Alone,
}

impl Role {
    /// The epoch under which incidents are saved; None: they are not.
    pub(super) fn epoch(&self) -> Option<u64> {
        if let Role::Leads { epoch, .. } = self { Some(*epoch) } else { None }
    }

    pub(super) fn saved(&mut self, kept: Kept) {
        if let Role::Leads { saved, .. } = self {
            *saved = kept;
        }
    }

    /// Whether the pool is led here now, and what the ledger has of it is to be read.
    pub(super) fn takes_over(&self, led: Led, leads: bool, epoch: u64) -> bool {
        led == Led::Here && leads && self.epoch() != Some(epoch)
    }

    /// It leads from now on: what it tells of. `own`: what it has told of alone.
    pub(super) fn led(&mut self, epoch: u64, saved: Kept, saved_in: u64, own: Kept) -> Kept {
        let mut kept = match std::mem::take(self) {
            // Nobody else has led meanwhile: what is remembered is newer than what the ledger has.
            Role::Cut { epoch, aside, .. } if epoch == saved_in => aside,
            _ => saved.clone(),
        };
        let is_known = |kept: &Kept, it: &Incident| {
            kept.closed.iter().any(|other| (&other.kind, other.opened_at) == (&it.kind, it.opened_at))
        };
        for (kind, incident) in own.open {
            kept.open.insert(kind, incident);
        }
        for incident in own.closed {
            // It may have been set aside as open, or as closed.
            kept.open.retain(|_, it| (&it.kind, it.opened_at) != (&incident.kind, incident.opened_at));
            if !is_known(&kept, &incident) {
                kept.closed.push(incident);
            }
        }
        *self = Role::Leads { epoch, saved };
        kept
    }

    /// It leads, and the ledger cannot be read. True: it tells from memory from now on, and remembers nothing.
    pub(super) fn unread(&mut self) -> bool {
        if matches!(self, Role::Cut { .. }) {
            return false;
        }
        // No save is of epoch 0.
        *self = Role::Cut { epoch: 0, aside: Kept::default(), frozen: BTreeSet::new() };
        true
    }

    /// It does not lead, as far as is known. `Some(None)`: it tells nothing any more; `Some(Some(…))`: it tells of
    /// this; None: as before.
    pub(super) fn not_led(&mut self, led: Led, kept: Option<&Kept>, now: Timestamp) -> Option<Option<Kept>> {
        match (std::mem::take(self), led) {
            (Role::Leads { epoch, saved }, Led::Unknown { .. }) => {
                let all = kept.cloned().unwrap_or_default();
                // What was about to be told is told now: the ledger that has it does not answer.
                let own = minus(&all, |it| it.told > 0 && has(&saved, it));
                let frozen = all.open.keys().filter(|kind| !own.open.contains_key(*kind)).cloned().collect();
                *self = Role::Cut { epoch, aside: all, frozen };
                Some(Some(own))
            }
            (Role::Leads { saved, .. }, Led::Elsewhere) => {
                *self = Role::Ends;
                Some(Some(own_to_end(kept, |it| has(&saved, it))))
            }
            (Role::Cut { .. } | Role::Alone, Led::Elsewhere) => {
                *self = Role::Ends;
                Some(Some(own_to_end(kept, |_| false)))
            }
            (Role::Ends, _) if kept.is_none_or(|kept| kept.open.is_empty() && kept.closed.is_empty()) => Some(None),
            (Role::Silent, Led::Unknown { since }) if now.since(since) >= ALONE_AFTER => {
                *self = Role::Alone;
                Some(Some(Kept::default()))
            }
            (role, _) => {
                *self = role;
                None
            }
        }
    }

    /// Leaves of what is found what this process is to tell of.
    pub(super) fn only(&self, found: &mut Vec<v1::Finding>, kept: Option<&Kept>) {
        found.retain(|finding| match self {
            Role::Silent => false,
            Role::Leads { .. } => true,
            Role::Ends => kept.is_some_and(|kept| kept.open.contains_key(&finding.kind)),
            Role::Cut { frozen, .. } => !frozen.contains(&finding.kind),
            Role::Alone => finding.kind == Kind::NoLeader.as_str(),
        });
    }
}

/// Whether the ledger has this incident.
fn has(saved: &Kept, incident: &Incident) -> bool {
    let mut all = saved.open.values().chain(&saved.closed);
    all.any(|it| (&it.kind, it.opened_at) == (&incident.kind, incident.opened_at))
}

/// What is told to its end although another leads. What only that one can see is told by it, as an incident of its own:
/// here nobody would see its end.
fn own_to_end(kept: Option<&Kept>, of_others: impl Fn(&Incident) -> bool) -> Kept {
    let mut own = minus(&kept.cloned().unwrap_or_default(), of_others);
    own.open.retain(|_, it| it.is_seen(false));
    own
}

/// Without those that others tell of.
fn minus(kept: &Kept, of_others: impl Fn(&Incident) -> bool) -> Kept {
    let own = |it: &&Incident| !of_others(it);
    Kept {
        open: kept.open.iter().filter(|(_, it)| own(it)).map(|(kind, it)| (kind.clone(), it.clone())).collect(),
        closed: kept.closed.iter().filter(own).cloned().collect(),
        ..Kept::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Led = Led::Unknown { since: Timestamp(0) };

    fn incident(kind: &str, opened_at: u64, told: u8) -> Incident {
        Incident { kind: kind.to_owned(), opened_at: Timestamp(opened_at), told, ..Incident::default() }
    }

    fn open(all: &[(&str, u64, u8)]) -> Kept {
        let one = |(kind, at, told): &(&str, u64, u8)| ((*kind).to_owned(), incident(kind, *at, *told));
        Kept { open: all.iter().map(one).collect(), ..Kept::default() }
    }

    fn found(role: &Role, kept: &Kept, kinds: &[&str]) -> Vec<String> {
        let finding = |kind: &&str| v1::Finding { kind: (*kind).to_owned(), ..v1::Finding::default() };
        let mut all: Vec<v1::Finding> = kinds.iter().map(finding).collect();
        role.only(&mut all, Some(kept));
        all.into_iter().map(|it| it.kind).collect()
    }

    /// A leader of epoch 7 whose ledger has two incidents, one of them told.
    fn leader() -> (Role, Kept) {
        let mut role = Role::default();
        assert!(role.takes_over(Led::Here, true, 7) && !role.takes_over(Led::Elsewhere, false, 0));
        let kept = role.led(7, open(&[("held", 1, 1), ("queues_unknown", 2, 0)]), 6, Kept::default());
        assert!(!role.takes_over(Led::Here, true, 7));
        (role, kept)
    }

    #[test]
    fn without_the_ledger_what_is_new_or_was_not_told_yet_is_told_and_the_rest_waits() {
        let (mut role, mut kept) = leader();
        kept.open.insert("cap_reached".to_owned(), incident("cap_reached", 3, 0));
        let own = role.not_led(CUT, Some(&kept), Timestamp(1)).flatten().expect("it tells");
        assert_eq!(own.open.keys().collect::<Vec<_>>(), ["cap_reached", "queues_unknown"]);
        assert_eq!(found(&role, &own, &["held", "queues_unknown", "no_leader"]), ["queues_unknown", "no_leader"]);
        assert_eq!(role.epoch(), None, "nothing is saved");
        assert!(role.not_led(CUT, Some(&own), Timestamp(2)).is_none(), "as before");
        // It leads again, and nobody did meanwhile.
        let told = open(&[("queues_unknown", 2, 1), ("no_leader", 4, 1)]);
        let again = role.led(8, open(&[("held", 1, 1), ("queues_unknown", 2, 0)]), 7, told);
        let told: Vec<(&str, u8)> = again.open.iter().map(|(kind, it)| (kind.as_str(), it.told)).collect();
        assert_eq!(told, [("cap_reached", 0), ("held", 1), ("no_leader", 1), ("queues_unknown", 1)]);
    }

    #[test]
    fn after_another_leader_what_was_told_alone_is_told_to_its_end_and_nothing_else() {
        let (mut role, kept) = leader();
        role.not_led(CUT, Some(&kept), Timestamp(1)).expect("it is cut off");
        // The new leader sees a hold itself, and nobody else sees its end.
        let told = open(&[("no_leader", 4, 1), ("held", 5, 1)]);
        let own = role.not_led(Led::Elsewhere, Some(&told), Timestamp(2)).flatten().expect("it tells");
        assert_eq!(own, open(&[("no_leader", 4, 1)]));
        assert_eq!(found(&role, &own, &["held", "no_leader", "cap_reached"]), ["no_leader"]);
        assert_eq!(role.not_led(Led::Elsewhere, Some(&Kept::default()), Timestamp(3)), Some(None), "it is over");
        assert_eq!(found(&role, &Kept::default(), &["held"]), Vec::<String>::new());
    }

    #[test]
    fn a_leader_that_cannot_read_the_ledger_tells_all_the_same_and_knows_what_was_told_once_it_can() {
        let mut role = Role::default();
        assert!(role.unread() && !role.unread(), "it goes on with what it told");
        assert_eq!(found(&role, &Kept::default(), &["queues_unknown"]), ["queues_unknown"]);
        assert!(role.takes_over(Led::Here, true, 7));
        let kept = role.led(7, open(&[("held", 1, 1)]), 6, open(&[("queues_unknown", 2, 1)]));
        assert_eq!(kept.open.keys().collect::<Vec<_>>(), ["held", "queues_unknown"]);
    }

    #[test]
    fn what_another_leader_has_done_since_wins_over_what_is_remembered() {
        let (mut role, kept) = leader();
        role.not_led(CUT, Some(&kept), Timestamp(1)).expect("it is cut off");
        let again = role.led(9, open(&[("strangers", 5, 1)]), 8, Kept::default());
        assert_eq!(again.open.keys().collect::<Vec<_>>(), ["strangers"]);
    }

    #[test]
    fn a_leader_that_is_followed_by_another_leaves_it_all_to_that_one() {
        let (mut role, mut kept) = leader();
        kept.open.insert("cap_reached".to_owned(), incident("cap_reached", 3, 0));
        let own = role.not_led(Led::Elsewhere, Some(&kept), Timestamp(1)).flatten().expect("what it told alone");
        assert_eq!(own, Kept::default());
    }

    #[test]
    fn one_that_has_never_led_tells_after_five_minutes_that_nobody_does_and_nothing_else() {
        let mut role = Role::default();
        assert_eq!(role.not_led(CUT, None, Timestamp(299_999)), None);
        assert_eq!(found(&role, &Kept::default(), &["no_leader"]), Vec::<String>::new());
        assert_eq!(role.not_led(CUT, None, Timestamp(300_000)), Some(Some(Kept::default())));
        assert_eq!(found(&role, &Kept::default(), &["no_leader", "queues_unknown"]), ["no_leader"]);
        let kept = role.led(1, Kept::default(), 0, open(&[("no_leader", 4, 1)]));
        assert_eq!(kept.open.len(), 1, "its end is told by the leader that it becomes");
    }
}
