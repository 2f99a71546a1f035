//! Taking over, and being taken over from.

use std::time::Duration;

use spillway_brain::{Config, Controller};
use spillway_pool::lease::{Hold, LEASE, LeaseAnswer, LeaseChange};
use spillway_pool::{Effect, Happening, Input, Saved, SavedState};

use crate::support::{Stage, save_in};

#[test]
fn what_was_read_for_another_epoch_is_not_led() {
    let mut stage = Stage::new();
    stage.effects();
    stage.tell(Input::Lead { epoch: 1 });
    stage.tell(Input::StandBy);
    stage.tell(Input::Loaded { epoch: 1, saved: None, plans: Vec::new() });
    assert!(!stage.pool.is_leader());
    stage.tell(Input::Lead { epoch: 2 });
    stage.tell(Input::Loaded { epoch: 1, saved: None, plans: Vec::new() });
    assert!(!stage.pool.is_leader());
    stage.tell(Input::Loaded { epoch: 2, saved: None, plans: Vec::new() });
    assert!(stage.pool.is_leader());
    assert_eq!(stage.pool.epoch(), 2);
}

#[test]
fn a_ledger_that_cannot_be_read_is_asked_again_after_a_second() {
    let mut stage = Stage::new();
    stage.effects();
    stage.tell(Input::Lead { epoch: 1 });
    stage.effects();
    stage.tell(Input::NotLoaded { epoch: 1, problem: "no".to_owned() });
    assert!(!stage.effects().iter().any(|effect| matches!(effect, Effect::Load { .. })));
    assert_eq!(stage.pool.next_deadline(stage.now()), Duration::from_secs(1));
    assert!(stage.after(1).iter().any(|effect| matches!(effect, Effect::Load { epoch: 1 })));
    assert!(!stage.after(1).iter().any(|effect| matches!(effect, Effect::Load { .. })), "one at a time");
}

#[test]
fn a_ledger_that_cannot_be_read_is_told_of_once_until_the_problem_is_another() {
    let mut stage = Stage::new();
    stage.tell(Input::Lead { epoch: 1 });
    let mut told = |problem: &str| {
        stage.tell(Input::NotLoaded { epoch: 1, problem: problem.to_owned() });
        let is_told = |effect: &Effect| matches!(effect, Effect::Happened(Happening::LedgerUnreadable { .. }));
        stage.effects().iter().filter(|effect| is_told(effect)).count()
    };
    assert_eq!(["newer", "newer", "no answer", "newer"].map(&mut told), [1, 0, 1, 1]);
}

#[test]
fn a_ledger_that_is_refused_is_shown_without_leading_and_forgotten_once_it_is_read() {
    let mut stage = Stage::new();
    stage.effects();
    let mut told = |problem: Option<&str>| {
        stage.tell(Input::LedgerRefused { problem: problem.map(str::to_owned) });
        let is_told = |effect: &Effect| matches!(effect, Effect::Happened(Happening::LedgerUnreadable { .. }));
        let told = stage.effects().iter().filter(|effect| is_told(effect)).count();
        (told, stage.pool.ledger_problem().map(str::to_owned))
    };
    let newer = Some("newer".to_owned());
    assert_eq!(told(Some("newer")), (1, newer.clone()));
    assert_eq!(told(Some("newer")), (0, newer.clone()));
    assert_eq!(told(None), (0, None));
    assert_eq!(told(Some("newer")), (1, newer));
    assert!(!stage.pool.is_leader());
    stage.tell(Input::Lead { epoch: 1 });
    stage.tell(Input::Loaded { epoch: 1, saved: None, plans: Vec::new() });
    assert_eq!(stage.pool.ledger_problem(), None);
    // It was sent before the ledger was led.
    stage.tell(Input::LedgerRefused { problem: Some("newer".to_owned()) });
    assert_eq!((stage.pool.is_leader(), stage.pool.ledger_problem()), (true, None));
}

#[test]
fn a_ledger_that_nobody_wrote_since_is_not_taken_over_again() {
    let mut stage = Stage::leading();
    let theirs = |epoch| {
        let state = Box::new(Controller::new(Config::default(), "theirs").state().clone());
        SavedState { state, epoch, ahead_ms: 0 }
    };
    stage.tell(Input::Lead { epoch: 8 });
    stage.tell(Input::Loaded { epoch: 8, saved: Some(theirs(7)), plans: Vec::new() });
    assert_eq!(stage.pool.state().demand(), Some(0), "what it knows is newer");
    stage.saves();
    stage.tell(Input::StandBy);
    stage.tell(Input::Lead { epoch: 10 });
    stage.tell(Input::Loaded { epoch: 10, saved: Some(theirs(9)), plans: Vec::new() });
    assert_eq!(stage.pool.state().demand(), None, "another led in between");
    let is_read = |effect: &Effect| matches!(effect, Effect::Happened(Happening::LedgerRead { .. }));
    assert!(stage.effects().iter().any(is_read));
}

#[test]
fn who_leads_anew_saves_nothing_before_the_ledger_is_read() {
    let mut stage = Stage::leading();
    stage.tell(Input::Lead { epoch: 9 });
    stage.effects();
    stage.tell(Input::NotLoaded { epoch: 9, problem: "no".to_owned() });
    stage.sees(1, Vec::new());
    assert!(!stage.effects().iter().any(|effect| matches!(effect, Effect::Save(_))));
    stage.tell(Input::Loaded { epoch: 9, saved: None, plans: Vec::new() });
    assert_eq!(save_in(stage.effects()).epoch, 9);
}

#[test]
fn a_standby_looks_and_saves_nothing() {
    let mut stage = Stage::new();
    assert!(matches!(stage.effects()[..], [Effect::Observe { with_jobs: false }, Effect::List]));
    stage.sees(5, Vec::new());
    assert!(stage.effects().is_empty());
    stage.tell(Input::Lead { epoch: 1 });
    stage.effects();
    stage.tell(Input::Loaded { epoch: 1, saved: None, plans: Vec::new() });
    assert_eq!(save_in(stage.effects()).epoch, 1);
}

#[test]
fn the_lease_is_held_from_before_its_renewal_was_asked_for() {
    let at = Duration::from_secs;
    let mut hold = Hold::default();
    assert_eq!(hold.answered(at(1), at(3), LeaseAnswer::Ours { epoch: 4 }), LeaseChange::Gained { epoch: 4 });
    assert_eq!(hold.held(), Some((at(1) + LEASE, 4)));
    assert_eq!(hold.answered(at(4), at(4), LeaseAnswer::Ours { epoch: 4 }), LeaseChange::Unchanged);
    assert_eq!(hold.answered(at(7), at(18), LeaseAnswer::Unknown), LeaseChange::Unchanged);
    assert_eq!(hold.answered(at(10), at(19), LeaseAnswer::Unknown), LeaseChange::Lost);
    assert_eq!(hold.answered(at(20), at(20), LeaseAnswer::Anothers), LeaseChange::Unchanged);
    hold.answered(at(30), at(30), LeaseAnswer::Ours { epoch: 5 });
    assert_eq!(hold.answered(at(31), at(31), LeaseAnswer::Ours { epoch: 6 }), LeaseChange::Gained { epoch: 6 });
    assert_eq!(hold.answered(at(32), at(32), LeaseAnswer::Anothers), LeaseChange::Lost);
}

#[test]
fn who_lost_the_lease_stands_by_in_good_health() {
    let mut stage = Stage::leading();
    stage.floods();
    stage.tell(Input::Saved(Saved::NotLeader { problem: "another leads".to_owned() }));
    assert!(!stage.pool.knows_queues(stage.now()));
    stage.tell(Input::StandBy);
    assert!(stage.pool.ledger_problem().is_none() && stage.pool.knows_queues(stage.now()));
}
