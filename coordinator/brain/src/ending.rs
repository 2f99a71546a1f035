//! How an instance ended, in one sentence: our reason first, EC2's where that says something else, and somebody else's
//! hand by that name. Owns what EC2's state reasons mean for it; decides nothing.

use crate::instance::Instance;
use crate::phase::Phase;
use crate::refusal_class::RefusalClass;
use crate::state_reason::{Meaning, StateReason};

/// Begins the phase's reason of one that nobody here decided to terminate.
const SHUTS_DOWN: &str = "EC2 is shutting it down";

/// Why EC2 shows it terminated, or shutting down. `reason` is EC2's, where it gives one.
pub(crate) fn in_words(instance: &Instance, reason: Option<&StateReason>) -> String {
    if let Some(ours) = our_reason(instance) {
        return match reason.filter(|reason| reason.meaning() != Meaning::ByACall) {
            Some(reason) => format!("terminated: {ours}; EC2 gives another reason: {reason}"),
            None => format!("terminated: {ours}"),
        };
    }
    let meanwhile = instance.ended_for.as_ref().map_or(String::new(), |why| format!(", while it was draining: {why}"));
    let Some(reason) = reason else { return format!("terminated (no reason given){meanwhile}") };
    match reason.meaning() {
        _ if instance.ec2.took_back => took_back(reason),
        // Its ledger may have been lost with the decision.
        Meaning::ByACall if instance.adopted => {
            format!(
                "terminated by somebody else, or by this coordinator before its ledger was lost ({reason}){meanwhile}"
            )
        }
        Meaning::ByACall => format!("terminated by somebody else, not by this coordinator ({reason}){meanwhile}"),
        Meaning::FromInside => {
            format!("powered off from inside, by its agent or by somebody on it ({reason}){meanwhile}")
        }
        // A notice has said why it drains.
        Meaning::Reclaimed if instance.ec2.interrupted_at.is_some() => {
            format!("EC2 reclaimed the spot instance ({reason})")
        }
        Meaning::Reclaimed => format!("EC2 reclaimed the spot instance ({reason}){meanwhile}"),
        _ => format!("ended by EC2 ({reason}){meanwhile}"),
    }
}

/// Why it works no more: why it drains, or what ended it.
pub(crate) fn so_far(instance: &Instance) -> String {
    instance.ended_for.clone().unwrap_or_else(|| instance.phase_reason.clone())
}

/// Why it is gone that EC2 no longer lists.
pub(crate) fn unlisted(instance: &Instance) -> String {
    const UNLISTED: &str = "EC2 no longer lists it";
    match (our_reason(instance), &instance.ended_for) {
        (Some(ours), _) => format!("terminated: {ours}; {UNLISTED}"),
        (None, Some(why)) => format!("{UNLISTED}, while it was draining: {why}"),
        (None, None) => UNLISTED.to_owned(),
    }
}

/// Why it is terminating although nobody here decided that.
pub(crate) fn shuts_down(instance: &Instance, reason: Option<&StateReason>) -> String {
    format!("{SHUTS_DOWN}: {}", in_words(instance, reason))
}

/// Why it ended where EC2 accepted its launch, and nothing ran there.
pub(crate) fn took_back(reason: &StateReason) -> String {
    format!("EC2 accepted the launch, and ended the instance before anything ran there ({reason})")
}

/// That it ends says nothing about its boot: EC2 reclaims it, or somebody else terminated it.
pub(crate) fn was_taken(instance: &Instance, reason: Option<&StateReason>) -> bool {
    let meaning = reason.map(StateReason::meaning);
    let is_by_somebody_else = meaning == Some(Meaning::ByACall) && our_reason(instance).is_none();
    instance.ec2.interrupted_at.is_some() || meaning == Some(Meaning::Reclaimed) || is_by_somebody_else
}

/// The class of refusal that its end comes to, where EC2 accepted the launch and ended the instance before anything ran
/// there. None of any other end. A notice is no other end: the list of spot requests shows the end of one as a notice.
/// `was_running`: EC2 has shown it running.
pub(crate) fn refusal_class(
    instance: &Instance,
    was_running: bool,
    reason: Option<&StateReason>,
) -> Option<RefusalClass> {
    let has_run = instance.agent.registered || instance.ready_at.is_some();
    if has_run || our_reason(instance).is_some() {
        return None;
    }
    match reason?.meaning() {
        // What was adopted may have run for long, and its agent never have come here.
        Meaning::LaunchFailed(class) if !(was_running && instance.adopted) => Some(class),
        Meaning::Fault if !was_running => Some(RefusalClass::Retry),
        Meaning::Reclaimed if !was_running => Some(RefusalClass::Capacity),
        Meaning::Other(class) if !was_running => Some(class),
        _ => None,
    }
}

/// Why this coordinator terminated it; None where it did not.
fn our_reason(instance: &Instance) -> Option<String> {
    let how = match &instance.terminated_for {
        Some(how) => how,
        // A ledger of an older version has it in the phase alone.
        None if matches!(instance.phase, Phase::Terminating { .. })
            && !instance.phase_reason.starts_with(SHUTS_DOWN) =>
        {
            &instance.phase_reason
        }
        None => return None,
    };
    Some(match &instance.ended_for {
        Some(why) if why != how => format!("{why}; {how}"),
        _ => how.clone(),
    })
}
