//! A process begins, or begins to lead: what was asked, answered or told before may have reached somebody else.

use crate::config::Config;
use crate::instance::Instance;
use crate::phases::{booting, draining, launching, terminating};
use crate::state::State;
use crate::time::Timestamp;

/// This process began: what an earlier one left unanswered is retried, and what EC2 refused is tried again. The breaker
/// stays: a coordinator that restarts again and again must not boot one broken instance after the other.
pub(super) fn started(state: &mut State, now: Timestamp, config: &Config) {
    state.forget_refusals();
    lists_anew(state, now);
    for instance in &mut state.instances {
        expect_to_hear_again(instance);
        launching::ask_again(instance, now);
        terminating::ask_again(instance, now);
        if let Some(hand_back) = &mut instance.owed.hand_back {
            hand_back.unanswered(now);
        }
        if instance.agent.registered {
            comes_back(instance, now, config);
        }
    }
}

/// Agents spoke with another leader meanwhile. Where no ledger tells what they said (it was wiped), they have time to
/// come here before they are called silent, and one that never came here has a boot's time from now.
pub(super) fn gained(state: &mut State, now: Timestamp, config: &Config) {
    if std::mem::replace(&mut state.leader, true) {
        return;
    }
    lists_anew(state, now);
    for instance in &mut state.instances {
        expect_to_hear_again(instance);
        // Another leader may have drained it meanwhile.
        instance.takes_none_since = None;
        if instance.agent.registered {
            comes_back(instance, now, config);
        } else {
            booting::begin_deadline_anew(instance, now, config);
        }
    }
}

/// Its agent needs time to come back before it is called silent, or its boot failed.
fn comes_back(instance: &mut Instance, now: Timestamp, config: &Config) {
    booting::wait_for_agent(instance, now, config);
    instance.agent.last_report = Some(now);
}

/// Nothing is decided before EC2 is asked anew. When it was last listed is what the ledger says, and a ledger may be an
/// older copy, or somebody else's writing.
fn lists_anew(state: &mut State, now: Timestamp) {
    state.led_since = Some(now);
    state.listed_at = None;
    state.launch_image.iter_mut().for_each(|image| image.is_known = false);
}

/// What its agent said was said to another leader, or before a while in which it may have worked again: it counts once
/// the agent says it again.
pub(super) fn expect_to_hear_again(instance: &mut Instance) {
    instance.agent.phase = None;
    draining::expect_to_hear_again(instance);
    terminating::expect_to_hear_again(instance);
}
