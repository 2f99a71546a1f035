//! Handing back: what an instance's worker held when it died goes back to wait, so that no stall check has to find it.
//! Asked for as soon as the worker is known to be dead, and with more care while it may still run.

use crate::config::Config;
use crate::event::Ec2State;
use crate::hand_back::{HandBack, Next, Suspect, Turn};
use crate::id::InstanceId;
use crate::instance::Instance;
use crate::note::Note;
use crate::phase::Phase;
use crate::plan::{AlertKind, Decision, Plan, Planned};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// Hand-backs under way at a time (invariant 10).
const AT_ONCE: usize = 10;

pub(super) fn tick(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    let awaited = |instance: &&Instance| {
        let answers = |it: &HandBack| matches!(it.next, Next::Answer { .. }) && it.due_at().is_some_and(|at| now < at);
        instance.owed.hand_back.as_ref().is_some_and(answers)
    };
    let mut room = AT_ONCE.saturating_sub(state.instances.iter().filter(awaited).count());
    for instance in &mut state.instances {
        let Some((certain, why)) = why(instance, now, config) else { continue };
        let Some(id) = instance.id.clone() else { continue };
        let is_sudden = instance.ended_suddenly_at.is_some();
        let is_new = instance.owed.hand_back.as_ref().is_none_or(|before| certain && !before.certain);
        if is_new {
            instance.owed.hand_back = Some(HandBack::begin(now, certain));
        }
        let Some(hand_back) = &mut instance.owed.hand_back else { continue };
        let Some(due_at) = hand_back.due_at() else { continue };
        if now >= due_at && room > 0 {
            room -= 1;
            let again = Reason::HandBackAgain { left: hand_back.left, problem: hand_back.problem.clone() };
            let reason = if is_new || (hand_back.left, &hand_back.problem) == (None, &None) { why } else { again };
            hand_back.asked(now);
            let (certain, sudden) = (hand_back.certain, is_sudden);
            let decision = Decision::HandBack { id: id.clone(), certain, sudden };
            plan.decisions.push(Planned::new(decision, reason));
        }
        let (left, problem) = (hand_back.left, hand_back.problem.clone());
        plan.notes.push(Note::HandsBack { id, certain: hand_back.certain, left, problem });
    }
}

/// Whether its jobs are to be handed back, whether it is certain that its worker is dead, and how that is known.
fn why(instance: &Instance, now: Timestamp, config: &Config) -> Option<(bool, Reason)> {
    if !instance.may_hold_jobs() {
        return None;
    }
    let jobs = instance.jobs_after_fence();
    match (&instance.phase, instance.ec2.state, jobs) {
        (_, Some(Ec2State::Terminated), _) => Some((true, Reason::Terminated)),
        (_, Some(Ec2State::ShuttingDown), _) => Some((false, Reason::ShutsDown)),
        (Phase::Gone, ..) => Some((false, Reason::Vanished)),
        (Phase::Draining { drained_at: Some(_), .. }, _, Some(jobs)) if jobs > 0 => {
            // In a silence its machine may have rebooted, and its worker taken jobs since.
            Some((!instance.is_silent(now, config.heartbeat_timeout), Reason::LeftByDrain { jobs }))
        }
        _ => None,
    }
}

/// Jobs that may be what ends their instances: a person is told of each.
pub(super) fn suspected(state: &mut State, id: &InstanceId, suspects: Vec<Suspect>) {
    for suspect in suspects {
        let Some(instance) = state.by_id(id) else { return };
        // What is left is found again at each attempt.
        if !instance.owed.suspects.contains(&suspect) {
            instance.owed.suspects.push(suspect.clone());
            state.alerts.remove(&AlertKind::SuspectJob);
            state.raise(AlertKind::SuspectJob, Reason::SuspectJob { id: id.clone(), suspect });
        }
    }
}

/// What a hand-back came to.
pub(super) fn answered(state: &mut State, now: Timestamp, id: InstanceId, certain: bool, jobs: u32, left: u32) {
    state.handed_back_total += u64::from(jobs);
    state.alerts.remove(&AlertKind::HandBackFails);
    let Some(instance) = state.by_id(&id) else { return };
    instance.owed.handed_back += jobs;
    // An answer to what was asked while it was uncertain does not speak for after.
    if let Some(hand_back) = instance.owed.hand_back.as_mut().filter(|it| it.certain == certain && !it.is_over())
        && hand_back.answered(now, left) == Turn::GivenUp
    {
        let span = now.since(hand_back.began_at);
        state.alerts.remove(&AlertKind::JobsLeft);
        state.raise(AlertKind::JobsLeft, Reason::JobsLeft { id, left, span });
    }
}

pub(super) fn failed(state: &mut State, now: Timestamp, id: InstanceId, certain: bool, detail: String) {
    let hand_back = state.by_id(&id).and_then(|instance| instance.owed.hand_back.as_mut());
    let Some(hand_back) = hand_back.filter(|it| it.certain == certain && !it.is_over()) else { return };
    if hand_back.failed(now, detail.clone()) != Turn::GoesOn {
        state.raise(AlertKind::HandBackFails, Reason::HandBackFails { id, detail });
    }
}
