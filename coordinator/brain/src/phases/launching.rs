//! Launching: the intent is persisted and EC2 is asked, with the same token until it answers or the deadline passes.
//! Past the deadline only EC2's list tells what became of it (`gone`); until then it counts against the cap.
//!
//! It becomes Booting when EC2 accepts it or lists it, and Gone when EC2 refuses its first attempt, says that its
//! instance is terminated, or never shows it.

use super::booting;
use crate::backoff;
use crate::config::Config;
use crate::ending;
use crate::event::LaunchAnswer;
use crate::id::{InstanceId, LaunchToken};
use crate::instance::Instance;
use crate::note::Note;
use crate::phase::Phase;
use crate::plan::{AlertKind, Decision, Plan, Planned};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::refusal_class::RefusalClass;
use crate::state::State;
use crate::state_reason::StateReason;
use crate::time::Timestamp;

/// A new intent, to be persisted before the call. Its token is the ledger's nonce and a number that it never had.
pub(crate) fn intend(state: &mut State, now: Timestamp, config: &Config) -> LaunchToken {
    state.launches += 1;
    let token = LaunchToken(format!("{}-{}", state.nonce, state.launches));
    state.instances.push_back(Instance::intended(token.clone(), now, now + config.launch_timeout));
    token
}

/// EC2 shows a token of this ledger's nonce that this state of the ledger may not know of (an older copy was restored):
/// its number must not be used again.
pub(crate) fn never_again(state: &mut State, token: &LaunchToken) {
    let number = token.0.strip_prefix(&state.nonce).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
    state.launches = state.launches.max(number.unwrap_or(0));
}

/// Takes in an instance that carries one of our tokens and that the ledger does not know.
pub(crate) fn adopt(state: &mut State, now: Timestamp, token: LaunchToken, id: InstanceId, config: &Config) {
    let mut instance = Instance::intended(token, now, now + config.launch_timeout);
    instance.adopted = true;
    booting::begin(&mut instance, now, id, config, "adopted: EC2's list shows it with a launch token of ours");
    state.launched_total += 1;
    state.instances.push_back(instance);
}

pub(crate) fn answered(state: &mut State, now: Timestamp, token: LaunchToken, answer: LaunchAnswer, config: &Config) {
    match answer {
        LaunchAnswer::Accepted { id } => accepted(state, now, token, id, config),
        LaunchAnswer::Refused { class, code, message } => refused(state, now, token, (class, code, message), config),
    }
}

fn accepted(state: &mut State, now: Timestamp, token: LaunchToken, id: InstanceId, config: &Config) {
    state.count_outcome("accepted");
    // Of the others it proves nothing: what they refuse is accepted first.
    state.forget_refusals_that(|refusal| !refusal.after_accept);
    // Its tags said otherwise, where somebody had changed them before this answer.
    state.strangers.retain(|stranger| stranger.id != id);
    match state.by_token(&token) {
        Some(instance) if instance.id.is_none() => {
            booting::begin(instance, now, id, config, "EC2 accepted the launch");
            state.launched_total += 1;
        }
        Some(_) => {}
        None => adopt(state, now, token, id, config),
    }
}

fn refused(
    state: &mut State,
    now: Timestamp,
    token: LaunchToken,
    (class, code, message): (RefusalClass, String, String),
    config: &Config,
) {
    state.count_outcome(class.outcome());
    if let Some(instance) = state.by_token(&token)
        && let Phase::Launching { attempts, next_try, deadline, .. } = &mut instance.phase
    {
        match class {
            RefusalClass::Retry => {
                *next_try = Some(now + backoff::wait(config, class, *attempts));
                instance.problem = Some(code.clone());
            }
            // It is on its way, or was: until its deadline it holds back further launches.
            RefusalClass::TokenUsed => {
                *next_try = None;
                instance.token_used = true;
                instance.problem = Some(code.clone());
            }
            RefusalClass::TokenEnded => {
                instance.enter(now, Phase::Gone, format!("the instance of this launch is terminated already: {code}"));
            }
            // An earlier attempt was not answered, and may have its effect yet: EC2's list tells.
            _ if *attempts > 1 => {
                (*next_try, *deadline) = (None, now.min(*deadline));
                instance.problem = Some(code.clone());
            }
            _ => instance.enter(now, Phase::Gone, format!("EC2 refused the launch: {code}: {message}")),
        }
    }
    let refusal = Refusal::next(state.refusal_of(class, false), now, config, (class, code.clone(), message.clone()));
    if let Some(alert) = AlertKind::of_refusal(class) {
        let retried_in = Some(refusal.left(now));
        state.raise(alert, Reason::Refused { class, code, message, retried_in });
    }
    state.remember(refusal);
}

/// EC2 accepted the launch at `position`, and ended its instance before anything ran there: a refusal that came late,
/// and no failed boot. Its own faults pass, at first; several in a row are for a person.
pub(crate) fn taken_back(
    state: &mut State,
    now: Timestamp,
    position: usize,
    (class, why): (RefusalClass, &StateReason),
    config: &Config,
) {
    let instance = &mut state.instances[position];
    match instance.phase {
        // It was refused when it was asked for again, or no list showed it.
        Phase::Gone => instance.phase_reason = ending::took_back(why),
        _ => instance.ended_for = Some(ending::took_back(why)),
    }
    let (id, launched_at) = (instance.id.clone(), instance.planned_at);
    state.count_outcome(class.taken_back());
    let next = |class| {
        let what = (class, why.code().to_owned(), why.message().to_owned());
        Refusal::next_after_accept(state.refusal_of(class, true), (now, launched_at), config, what)
    };
    let mut refusal = next(class);
    if class == RefusalClass::Retry && refusal.times >= config.boot_failures {
        let for_a_person = next(RefusalClass::Unknown);
        // The row goes on as well: what runs since ends both, or neither.
        state.remember(std::mem::replace(&mut refusal, for_a_person));
    }
    if let (Some(alert), Some(id)) = (AlertKind::of_refusal(refusal.class), id) {
        let (class, retried_in) = (refusal.class, refusal.left(now));
        let (code, message) = (refusal.code.clone(), refusal.message.clone());
        state.raise(alert, Reason::TakenBack { id, class, code, message, retried_in });
    }
    state.remember(refusal);
}

/// An instance that was launched at `launched_at` runs: what was taken back before that no longer is.
pub(crate) fn got_through(state: &mut State, launched_at: Timestamp) {
    if state.refusals().any(|refusal| refusal.after_accept) {
        state.forget_refusals_that(|refusal| refusal.after_accept && refusal.at <= launched_at);
    }
}

/// Whoever waited for EC2's answer is gone: the same token is asked for again.
pub(crate) fn ask_again(instance: &mut Instance, now: Timestamp) {
    if let Phase::Launching { next_try: next_try @ None, .. } = &mut instance.phase
        && !instance.token_used
    {
        *next_try = Some(now);
    }
}

/// A back-off is over early.
pub(crate) fn forget_back_off(instance: &mut Instance, now: Timestamp) {
    if let Phase::Launching { next_try: Some(at), .. } = &mut instance.phase {
        *at = now.min(*at);
    }
}

/// `wanted`: there is demand, and the pool is not held: an unanswered launch may be retried.
pub(crate) fn tick(instance: &mut Instance, now: Timestamp, wanted: bool, plan: &mut Plan) {
    let Phase::Launching { attempts, next_try, last_try, deadline } = &mut instance.phase else { return };
    if instance.token_used {
        plan.notes.push(Note::TokenUsed { token: instance.token.clone() });
        return;
    }
    if now >= *deadline {
        plan.notes.push(Note::LaunchUnseen { token: instance.token.clone() });
        return;
    }
    if let Some(at) = *next_try
        && wanted
        && now < at
        && let Some(code) = instance.problem.clone()
    {
        let class = RefusalClass::Retry;
        let left = now.until(at);
        plan.notes.push(Note::BackOff { class, code, message: String::new(), left, after_accept: false });
    }
    if wanted && next_try.is_some_and(|at| now >= at) {
        *attempts += 1;
        *next_try = None;
        *last_try = now;
        let reason = Reason::LaunchUnanswered { attempt: *attempts };
        plan.decisions.push(Planned::new(Decision::Launch { token: instance.token.clone() }, reason));
    }
}
