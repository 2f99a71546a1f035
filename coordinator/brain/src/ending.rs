//! How an instance ended, in one sentence: our reason first, EC2's where that says something else, and somebody else's hand by
//! that name. Owns what EC2's state reasons mean for it; decides nothing.

use crate::event::StateReason;
use crate::instance::Instance;
use crate::phase::Phase;

/// EC2's reason when TerminateInstances was called, by whomever.
const BY_A_CALL: &str = "Client.UserInitiatedShutdown";
/// When a process on the instance powered it off.
const FROM_INSIDE: &str = "Client.InstanceInitiatedShutdown";
/// Begins the phase's reason of one that nobody here decided to terminate.
const SHUTS_DOWN: &str = "EC2 is shutting it down";

/// Why EC2 shows it terminated, or shutting down. `reason` is EC2's, where it gives one.
pub(crate) fn in_words(instance: &Instance, reason: Option<&StateReason>) -> String {
    if let Some(ours) = our_reason(instance) {
        return match reason.filter(|reason| reason.code() != BY_A_CALL) {
            Some(reason) => format!("terminated: {ours}; EC2 gives another reason: {reason}"),
            None => format!("terminated: {ours}"),
        };
    }
    let meanwhile = instance.ended_for.as_ref().map_or(String::new(), |why| format!(", while it was draining: {why}"));
    let Some(reason) = reason else { return format!("terminated (no reason given){meanwhile}") };
    match reason.code() {
        // Its ledger may have been lost with the decision.
        BY_A_CALL if instance.adopted => {
            format!(
                "terminated by somebody else, or by this coordinator before its ledger was lost ({reason}){meanwhile}"
            )
        }
        BY_A_CALL => format!("terminated by somebody else, not by this coordinator ({reason}){meanwhile}"),
        FROM_INSIDE => format!("powered off from inside, by its agent or by somebody on it ({reason}){meanwhile}"),
        // A notice has said why it drains.
        _ if reason.is_spot() && instance.ec2.interrupted_at.is_some() => {
            format!("EC2 reclaimed the spot instance ({reason})")
        }
        _ if reason.is_spot() => format!("EC2 reclaimed the spot instance ({reason}){meanwhile}"),
        _ => format!("ended by EC2 ({reason}){meanwhile}"),
    }
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

/// Somebody called TerminateInstances, and it was not this coordinator.
pub(crate) fn is_by_somebody_else(instance: &Instance, reason: Option<&StateReason>) -> bool {
    reason.is_some_and(|reason| reason.code() == BY_A_CALL) && our_reason(instance).is_none()
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
