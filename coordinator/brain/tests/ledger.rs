//! What an earlier version of this crate kept in the ledger is read, and gone on from.

use std::collections::BTreeSet;
use std::time::Duration;
use std::{fs, io};

use serde_json::Value;
use spillway_brain::{
    Backlog, Config, Controller, Decision, Ec2State, Event, Instance, JobsByInstance, LaunchToken, Listed, Phase,
    QueueBacklog, State, Timestamp,
};

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

/// Coordinators of two versions may take turns at one ledger while they are updated: the newer one writes what the
/// older one reads.
#[test]
fn a_ledger_of_today_is_read_and_written_again_as_it_was() {
    let kept: Value = serde_json::from_str(IN_EVERY_PHASE).expect("it is JSON");
    let state: State = serde_json::from_str(IN_EVERY_PHASE).expect("it is read");
    assert_eq!(serde_json::to_value(&state).expect("it is written"), kept);
    let phases: Vec<&str> = state.instances().map(|instance| instance.phase_name()).collect();
    let all = ["ready", "draining", "gone", "terminating", "draining", "booting", "draining", "launching"];
    assert_eq!(phases[..8], all);
    let gone = state.instances().find(|instance| instance.owes_hand_back()).expect("one owes a hand-back");
    assert_eq!(gone.owed.hand_back.as_ref().and_then(|it| it.problem.as_deref()), Some("NOPERM"));
}

/// Recorded by `scenarios/recorder.rs`: each field filled and each variant met, as far as the scenarios go.
const RECORDED: [(&str, &str); 1] = [("0.1.0", include_str!("fixtures/states-0.1.0.jsonl"))];

const PHASES: [&str; 6] = ["launching", "booting", "ready", "draining", "terminating", "gone"];
const CAUSES: [&str; 8] = [
    "scale-in",
    "interruption",
    "failed boot",
    "lost agent",
    "agent",
    "operator",
    "rebalance recommendation",
    "scheduled event",
];

#[test]
fn every_recording_is_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let name = |entry: io::Result<fs::DirEntry>| entry.expect("an entry").file_name().to_string_lossy().into_owned();
    let mut versions: Vec<String> = fs::read_dir(folder)
        .expect("the fixtures")
        .map(name)
        .filter_map(|name| Some(name.strip_prefix("states-")?.strip_suffix(".jsonl")?.to_owned()))
        .collect();
    versions.sort();
    assert_eq!(versions, RECORDED.map(|(version, _)| version), "{folder}, and RECORDED here");
}

#[test]
fn what_any_release_wrote_is_read_without_loss() {
    for (version, states) in RECORDED {
        let mut met = BTreeSet::new();
        for text in states.lines() {
            let kept: Value = serde_json::from_str(text).expect("it is JSON");
            let state: State = serde_json::from_str(text).unwrap_or_else(|error| panic!("{version}: {error}: {text}"));
            let written = serde_json::to_value(&state).expect("it is written");
            let mut lost = Vec::new();
            compare("", &kept, &written, &mut lost);
            assert!(lost.is_empty(), "{version}: {lost:#?}");
            for instance in state.instances() {
                met.insert(instance.phase_name());
                if let Phase::Draining { cause, .. } = instance.phase {
                    met.insert(cause.in_words());
                }
            }
        }
        for expected in PHASES.iter().chain(&CAUSES) {
            assert!(met.contains(expected), "{version} has none: {expected}");
        }
    }
}

/// Names all that `kept` has and `written` has not. More may be written than was.
fn compare(path: &str, kept: &Value, written: &Value, lost: &mut Vec<String>) {
    match (kept, written) {
        (Value::Object(kept), Value::Object(written)) => {
            for (key, value) in kept {
                compare(&format!("{path}.{key}"), value, written.get(key).unwrap_or(&Value::Null), lost);
            }
        }
        (Value::Array(kept), Value::Array(written)) if kept.len() == written.len() => {
            for (at, (kept, written)) in kept.iter().zip(written).enumerate() {
                compare(&format!("{path}[{at}]"), kept, written, lost);
            }
        }
        (kept, written) if kept == written => {}
        (kept, written) => lost.push(format!("{path}: {kept} became {written}")),
    }
}

#[test]
fn what_any_release_wrote_is_gone_on_from() {
    for text in RECORDED.iter().flat_map(|(_, states)| states.lines()) {
        let state: State = serde_json::from_str(text).expect("it is read");
        let known: Vec<Instance> = state.instances().filter(|instance| !instance.is_gone()).cloned().collect();
        let known_tokens: BTreeSet<LaunchToken> = state.instances().map(|instance| instance.token.clone()).collect();
        let at = [state.listed_at(), state.backlog().map(|(_, at)| *at)].into_iter().flatten().max();
        let now = at.unwrap_or_default() + Duration::from_secs(10);
        let mut controller = Controller::restore(Config { max_instances: 9, ..Config::default() }, state);
        for event in [Event::Started, Event::LeadershipGained, listed(now, &known), observed()] {
            controller.handle(now, event);
        }
        let plan = controller.tick(now);
        for instance in &known {
            let kept = controller.state().instances().find(|it| it.token == instance.token);
            assert!(kept.is_some_and(|it| it.id == instance.id), "{} is forgotten: {text}", instance.name());
        }
        for planned in &plan.decisions {
            if let Decision::Launch { token } = &planned.decision {
                // Asked for again, or one that was never given out.
                let is_again = known.iter().any(|it| it.token == *token && it.id.is_none());
                assert!(is_again || !known_tokens.contains(token), "{token:?} is given out again: {text}");
            }
        }
        assert!(controller.tick(now).decisions.is_empty());
        // What it makes of it is read as well.
        let written = serde_json::to_string(controller.state()).expect("it is written");
        assert_eq!(&serde_json::from_str::<State>(&written).expect("it is read again"), controller.state());
    }
}

/// EC2's list, in which nothing has changed.
fn listed(now: Timestamp, known: &[Instance]) -> Event {
    let shown = |instance: &Instance| {
        Some(Listed {
            id: instance.id.clone()?,
            token: Some(instance.token.clone()),
            installation: None,
            retagged: None,
            state: instance.ec2.state.unwrap_or(Ec2State::Running),
            image: None,
            state_reason: None,
            launched_at: now,
        })
    };
    Event::InstancesListed { asked_at: now, instances: known.iter().filter_map(shown).collect() }
}

fn observed() -> Event {
    let queue = QueueBacklog { queue: "video".to_owned(), waiting: 50, ..QueueBacklog::default() };
    Event::BacklogObserved(Backlog { queues: vec![queue] })
}
