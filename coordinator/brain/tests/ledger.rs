//! What an earlier version of this crate kept in the ledger is read, and gone on from.

use spillway_brain::{Backlog, Config, Controller, Decision, Event, JobsByInstance, QueueBacklog, State, Timestamp};

/// Written at the commit before hand-backs and rebalance recommendations were known: 943de99.
const BEFORE_HAND_BACK: &str = include_str!("fixtures/state-before-hand-back.json");

#[test]
fn a_ledger_from_before_hand_backs_is_read_and_what_ended_with_a_job_is_handed_back() {
    let state: State = serde_json::from_str(BEFORE_HAND_BACK).expect("it is read");
    let phases: Vec<&str> = state.instances().map(|instance| instance.phase_name()).collect();
    assert_eq!(phases, ["ready", "draining", "gone", "draining", "gone"]);
    let written = serde_json::to_string(&state).expect("it is written");
    assert_eq!(serde_json::from_str::<State>(&written).expect("it is read again"), state);

    let now = Timestamp(1_764_000_060_000);
    let mut controller = Controller::restore(Config::default(), state);
    controller.handle(now, Event::Started);
    controller.handle(now, Event::LeadershipGained);
    let queue = QueueBacklog { queue: "video".to_owned(), waiting: 5, ..QueueBacklog::default() };
    controller.handle(now, Event::BacklogObserved(Backlog { queues: vec![queue] }));
    controller.handle(now, Event::JobsSeen { asked_at: now, seen: JobsByInstance::default() });
    let plan = controller.tick(now);
    let handed_back = plan.decisions.iter().filter_map(|planned| match &planned.decision {
        Decision::HandBack { id, certain, .. } => Some((id.0.as_str(), *certain)),
        _ => None,
    });
    // Terminated before the new version came; the others work, drain, or never were.
    assert_eq!(handed_back.collect::<Vec<_>>(), [("i-3", true)]);
}

/// Written at 0bc1f9e: instances in each phase, a hand-back that failed once, a decision that no tick has
/// given out yet.
const IN_EVERY_PHASE: &str = include_str!("fixtures/state-in-every-phase.json");

/// Coordinators of two versions may take turns at one ledger while they are updated: the newer one writes what the older
/// one reads.
#[test]
fn a_ledger_of_today_is_read_and_written_again_as_it_was() {
    let kept: serde_json::Value = serde_json::from_str(IN_EVERY_PHASE).expect("it is JSON");
    let state: State = serde_json::from_str(IN_EVERY_PHASE).expect("it is read");
    assert_eq!(serde_json::to_value(&state).expect("it is written"), kept);
    let phases: Vec<&str> = state.instances().map(|instance| instance.phase_name()).collect();
    let all = ["ready", "draining", "gone", "terminating", "draining", "booting", "draining", "launching"];
    assert_eq!(phases[..8], all);
    let gone = state.instances().find(|instance| instance.owes_hand_back()).expect("one owes a hand-back");
    assert_eq!(gone.owed.hand_back.as_ref().and_then(|it| it.problem.as_deref()), Some("NOPERM"));
}
