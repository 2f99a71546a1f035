//! Gone: by EC2's own word, which is that it is terminated, or that its lists have not shown it for longer than they
//! may be late. Kept for `status`, and until its jobs are handed back.

use std::time::Duration;

use super::booting;
use crate::config::Config;
use crate::ending;
use crate::event::Ec2State;
use crate::instance::Instance;
use crate::phase::Phase;
use crate::state::State;
use crate::state_reason::StateReason;
use crate::time::Timestamp;

/// Instances that are gone are kept for `status`, this many.
pub const GONE_KEPT: usize = 20;
/// A standby keeps so many that owe a hand-back: if nobody led meanwhile, it goes on from what it knows. More of them
/// are the instances of another leader, which has them in the ledger.
const KEPT_BY_STANDBY: usize = 1000;
/// Longer than EC2 shows what has ended, which is about an hour: a standby then believes the lists.
const STANDBY_WAITS: Duration = Duration::from_secs(2 * 3600);

/// EC2's list shows it terminated. True where it was not gone already.
pub(crate) fn terminated(instance: &mut Instance, now: Timestamp, reason: Option<&StateReason>) -> bool {
    if instance.is_gone() {
        return false;
    }
    instance.ends_by_itself(now);
    let why = ending::in_words(instance, reason);
    instance.enter(now, Phase::Gone, why);
    true
}

/// Notes that a list which was asked for at `asked_at` does not show it. True once the lists had time enough, unless it
/// is gone already. One list alone is no proof, however long ago the last one was. `is_gap`: lists were missing for so
/// long that the instance may have been there in between.
pub(crate) fn note_absence(instance: &mut Instance, asked_at: Timestamp, is_gap: bool, config: &Config) -> bool {
    if is_gap {
        instance.ec2.missing_since = None;
    }
    let missing_since = *instance.ec2.missing_since.get_or_insert(asked_at);
    let known_since = match instance.phase {
        Phase::Launching { deadline, last_try, .. } => deadline.max(last_try),
        _ => instance.ec2.last_listed.or(instance.accepted_at).unwrap_or(instance.phase_since),
    };
    !instance.is_gone() && asked_at > known_since.max(missing_since) + config.consistency_grace
}

/// A list never outranks a living agent. A standby hears no agent: only a leader gives up what its lists do not show,
/// once the agent is silent, or the instance is terminating. Without an end nobody would forget what a standby found.
pub(crate) fn may_live(instance: &Instance, now: Timestamp, asked_at: Timestamp, leads: bool, config: &Config) -> bool {
    match instance.ec2.missing_since {
        Some(since) if !leads => asked_at.since(since) < STANDBY_WAITS,
        _ => instance.is_reporting(now, config.heartbeat_timeout),
    }
}

/// No list shows it. True where it was an instance of EC2's.
pub(crate) fn unlisted(instance: &mut Instance, now: Timestamp) -> bool {
    let had_id = instance.id.is_some();
    instance.ends_by_itself(now);
    let reason = if had_id { ending::unlisted(instance) } else { "EC2 never listed this launch".to_owned() };
    instance.enter(now, Phase::Gone, reason);
    had_id
}

/// EC2 lists as alive what was gone: it boots again, unless EC2 has shown its end. A stale list is not believed.
pub(crate) fn listed_alive(instance: &mut Instance, now: Timestamp, config: &Config) {
    let was_over = matches!(instance.ec2.state, Some(Ec2State::ShuttingDown | Ec2State::Terminated));
    if let Some(id) = instance.id.clone().filter(|_| instance.is_gone() && !was_over) {
        booting::begin(instance, now, id, config, "EC2 lists it again");
    }
}

/// Forgets those that have been gone for longest; a leader none that owes a hand-back.
pub(crate) fn forget(state: &mut State) {
    let kept_owing = if state.leader { usize::MAX } else { KEPT_BY_STANDBY };
    let mut gone = state.instances.iter().filter(|instance| instance.is_gone()).count();
    state.instances.retain(|instance| {
        let is_kept = gone <= GONE_KEPT || (gone <= kept_owing && instance.owes_hand_back());
        let forget = instance.is_gone() && !is_kept;
        gone -= usize::from(forget);
        !forget
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{InstanceId, LaunchToken};
    use crate::phases::launching;

    #[test]
    fn a_standby_does_not_keep_all_that_it_ever_saw_end() {
        let config = Config::default();
        let mut state = State::new("t");
        let now = Timestamp(0);
        for n in 0..KEPT_BY_STANDBY + 30 {
            let (token, id) = (LaunchToken(format!("t-{n}")), InstanceId(format!("i-{n}")));
            launching::adopt(&mut state, now, token, id, &config);
        }
        for instance in &mut state.instances {
            unlisted(instance, now);
        }
        state.leader = true;
        forget(&mut state);
        assert_eq!(state.instances.len(), KEPT_BY_STANDBY + 30, "each may have held a job");
        state.leader = false;
        forget(&mut state);
        assert_eq!(state.instances.len(), KEPT_BY_STANDBY);
        assert_eq!(state.instances[0].name(), "i-30", "the oldest go first");
    }
}
