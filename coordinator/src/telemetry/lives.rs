//! What happened to instances between two looks at them: boots, drains, interruptions. Each is told once. What was
//! there at the first look is known, and nothing of it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use spillway_brain::{DrainCause, Instance, LaunchToken, Phase, State, Timestamp};
use spillway_proto::times::from_duration;
use spillway_proto::v1;

/// What is told of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// From EC2's answer to a worker that is proven to work.
    Ready(Duration),
    /// A boot step succeeded.
    Step(String, Duration),
    /// Its drain is over: it is terminated, or has ended.
    Drained(DrainCause, Duration),
    Interrupted(Interrupted),
}

/// How EC2 took an instance, or said that it might.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    Notice,
    Rebalance,
    /// It ended without notice.
    Silent,
}

impl Interrupted {
    pub(super) const ALL: [Interrupted; 3] = [Interrupted::Notice, Interrupted::Rebalance, Interrupted::Silent];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Interrupted::Notice => "notice",
            Interrupted::Rebalance => "rebalance",
            Interrupted::Silent => "silent",
        }
    }
}

/// A pool's instances, as they were at the last look.
#[derive(Debug, Default)]
pub struct Lives {
    /// None before the first look.
    known: Option<BTreeMap<LaunchToken, Life>>,
}

#[derive(Clone, Debug, Default)]
struct Life {
    is_ready: bool,
    drain: Option<(DrainCause, Timestamp)>,
    has_notice: bool,
    rebalance: Option<Timestamp>,
    ended_suddenly: bool,
    /// It was there at the first look: its agent repeats to each coordinator what it did before.
    is_old: bool,
    steps: BTreeSet<String>,
}

impl Lives {
    /// What happened since the last look.
    pub(super) fn look(&mut self, state: &State, view: &v1::Pool) -> Vec<Happened> {
        let is_first = self.known.is_none();
        let mut before = self.known.take().unwrap_or_default();
        let mut happened = Vec::new();
        let mut known = BTreeMap::new();
        for instance in state.instances() {
            let unknown = || Life { is_old: is_first, ..Life::default() };
            let mut life = before.remove(&instance.token).unwrap_or_else(unknown);
            life.look(instance, &mut happened);
            known.insert(instance.token.clone(), life);
        }
        for instance in &view.instances {
            let Some(life) = known.get_mut(&LaunchToken(instance.token.clone())) else { continue };
            life.steps(&instance.boot_steps, &mut happened);
        }
        self.known = Some(known);
        if is_first { Vec::new() } else { happened }
    }
}

impl Life {
    fn look(&mut self, instance: &Instance, happened: &mut Vec<Happened>) {
        if let Some(ready_at) = instance.ready_at.filter(|_| !self.is_ready) {
            self.is_ready = true;
            happened.extend(instance.accepted_at.map(|accepted_at| Happened::Ready(ready_at.since(accepted_at))));
        }
        match (&instance.phase, self.drain.take()) {
            (Phase::Draining { cause, .. }, _) => self.drain = Some((*cause, instance.phase_since)),
            (Phase::Terminating { .. } | Phase::Gone, Some((cause, since))) => {
                happened.push(Happened::Drained(cause, instance.phase_since.since(since)));
            }
            _ => {}
        }
        let ec2 = &instance.ec2;
        let mut interrupted = |how| happened.push(Happened::Interrupted(how));
        let has_notice = ec2.interrupted_at.is_some() && !ec2.is_rehearsed;
        if has_notice && !self.has_notice {
            interrupted(Interrupted::Notice);
        }
        self.has_notice |= has_notice;
        let rebalance = ec2.rebalance.map(|it| it.at);
        if rebalance.is_some() && rebalance != self.rebalance {
            interrupted(Interrupted::Rebalance);
        }
        self.rebalance = rebalance.or(self.rebalance);
        if instance.ended_suddenly_at.is_some() && !self.ended_suddenly {
            self.ended_suddenly = true;
            interrupted(Interrupted::Silent);
        }
    }

    fn steps(&mut self, steps: &[v1::BootStep], happened: &mut Vec<Happened>) {
        for step in steps.iter().filter(|step| step.state() == v1::StepState::Succeeded) {
            if let Some(took) = step.took.as_ref().and_then(from_duration)
                && self.steps.insert(step.name.clone())
                && !self.is_old
            {
                happened.push(Happened::Step(step.name.clone(), took));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use spillway_proto::times::duration;

    use super::*;

    /// A ledger with an instance that is ready, first, and one that drains for an interruption, second.
    fn ledger() -> Value {
        let text = include_str!("../../brain/tests/fixtures/state-in-every-phase.json");
        serde_json::from_str(text).expect("JSON")
    }

    fn state(ledger: &Value) -> State {
        serde_json::from_value(ledger.clone()).expect("a state")
    }

    fn told(lives: &mut Lives, ledger: &Value) -> Vec<Happened> {
        lives.look(&state(ledger), &v1::Pool::default())
    }

    #[test]
    fn of_what_was_there_at_the_first_look_only_what_comes_later_is_told_and_once() {
        let (mut lives, mut ledger) = (Lives::default(), ledger());
        assert_eq!(told(&mut lives, &ledger), []);
        assert_eq!(told(&mut lives, &ledger), []);
        ledger["instances"][0]["rebalance"]["at"] = json!(500_000);
        ledger["instances"][0]["interrupted_at"] = json!(700_000);
        ledger["instances"][1]["phase"] = json!({ "terminating": { "attempts": 1, "next_try": 999_000 } });
        ledger["instances"][1]["phase_since"] = json!(390_000);
        let expected = [
            Happened::Interrupted(Interrupted::Notice),
            Happened::Interrupted(Interrupted::Rebalance),
            Happened::Drained(DrainCause::Interruption, Duration::from_secs(40)),
        ];
        assert_eq!(told(&mut lives, &ledger), expected);
        ledger["instances"][0]["ended_suddenly_at"] = json!(720_000);
        assert_eq!(told(&mut lives, &ledger), [Happened::Interrupted(Interrupted::Silent)]);
        assert_eq!(told(&mut lives, &ledger), []);
    }

    #[test]
    fn what_an_agent_repeats_to_the_next_leader_is_not_told_again() {
        let (mut lives, ledger) = (Lives::default(), ledger());
        assert_eq!(told(&mut lives, &ledger), []);
        let step = v1::BootStep {
            name: "install".to_owned(),
            state: v1::StepState::Succeeded.into(),
            took: Some(duration(Duration::from_secs(9))),
            ..v1::BootStep::default()
        };
        let token = state(&ledger).instances().next().map(|it| it.token.0.clone()).expect("an instance");
        let instance = v1::Instance { token, boot_steps: vec![step], ..v1::Instance::default() };
        let view = v1::Pool { instances: vec![instance], ..v1::Pool::default() };
        assert_eq!(lives.look(&state(&ledger), &view), []);
    }

    #[test]
    fn a_rehearsed_notice_is_no_interruption_and_a_cancelled_drain_is_none_that_ended() {
        let (mut lives, mut ledger) = (Lives::default(), ledger());
        told(&mut lives, &ledger);
        ledger["instances"][0]["interrupted_at"] = json!(700_000);
        ledger["instances"][0]["is_rehearsed"] = json!(true);
        ledger["instances"][1]["phase"] = json!("ready");
        assert_eq!(told(&mut lives, &ledger), []);
        ledger["instances"][1]["phase"] = json!({ "terminating": { "attempts": 1, "next_try": 999_000 } });
        assert_eq!(told(&mut lives, &ledger), []);
    }

    #[test]
    fn a_boot_is_told_with_its_steps_once_they_have_succeeded() {
        let (mut lives, mut ledger) = (Lives::default(), ledger());
        let ready = ledger["instances"].as_array_mut().map(|all| all.remove(0)).expect("an instance");
        told(&mut lives, &ledger);
        ledger["instances"].as_array_mut().expect("instances").push(ready);
        let last = ledger["instances"].as_array().map_or(0, |all| all.len() - 1);
        ledger["instances"][last]["rebalance"] = Value::Null;
        ledger["instances"][last]["ready_at"] = json!(330_000);
        let step = |name: &str, state: v1::StepState, seconds| v1::BootStep {
            name: name.to_owned(),
            state: state.into(),
            took: Some(duration(Duration::from_secs(seconds))),
            ..v1::BootStep::default()
        };
        let steps = vec![step("install", v1::StepState::Succeeded, 9), step("worker", v1::StepState::Running, 2)];
        let instance = v1::Instance { token: "t-1".to_owned(), boot_steps: steps, ..v1::Instance::default() };
        let view = v1::Pool { instances: vec![instance], ..v1::Pool::default() };
        let expected =
            [Happened::Ready(Duration::from_secs(30)), Happened::Step("install".to_owned(), Duration::from_secs(9))];
        assert_eq!(lives.look(&state(&ledger), &view), expected);
        assert_eq!(lives.look(&state(&ledger), &view), []);
    }
}
