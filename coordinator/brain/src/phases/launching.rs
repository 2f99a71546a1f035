//! Launching: the intent is persisted and EC2 is asked, with the same token until it answers or the deadline passes.
//! Past the deadline only EC2's list tells what became of it (`listing`); until then it counts against the cap.

use super::planned;
use crate::decision::{Decision, Note, Plan, Reason};
use crate::instance::{Instance, Phase};
use crate::{RefusalClass, Timestamp};

pub(super) fn tick(instance: &mut Instance, now: Timestamp, wanted: bool, plan: &mut Plan) {
    let Phase::Launching { attempts, next_try, last_try, deadline } = &mut instance.phase else { return };
    if now >= *deadline {
        plan.notes.push(Note::LaunchUnseen { token: instance.token.clone() });
        return;
    }
    if let Some(at) = *next_try
        && wanted
        && now < at
        && !instance.problem.is_empty()
    {
        let (class, code) = (RefusalClass::Retry, instance.problem.clone());
        plan.notes.push(Note::BackOff { class, code, message: String::new(), left: now.until(at) });
    }
    if wanted && next_try.is_some_and(|at| now >= at) {
        *attempts += 1;
        *next_try = None;
        *last_try = now;
        let reason = Reason::LaunchUnanswered { attempt: *attempts };
        plan.decisions.push(planned(Decision::Launch { token: instance.token.clone() }, reason));
    }
}
