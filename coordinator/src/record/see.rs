//! Entries of the record from a pool's status, as operators see it: the same numbers in both.

use prost_types::Timestamp;
use spillway_proto::times;
use spillway_proto::v1;
use spillway_record::{Ids, Look, Step, StepState};

/// Milliseconds since the epoch.
pub(super) fn millis(at: Option<&Timestamp>) -> Option<u64> {
    u64::try_from(times::since_epoch(at?).as_millis()).ok()
}

/// The sums of a pool's status.
pub(super) fn look(view: &v1::Pool, now: u64) -> Look {
    let count = |phases: &[&str]| {
        let those = view.instances.iter().filter(|instance| phases.contains(&instance.phase.as_str()));
        u32::try_from(those.count()).unwrap_or(u32::MAX)
    };
    let backlog = view.backlog.as_ref().filter(|_| view.observation_problem.is_empty());
    let age = |backlog: &v1::Backlog| {
        let age = times::from_duration(backlog.oldest_age.as_ref()?)?;
        let since = now.saturating_sub(millis(backlog.at.as_ref())?);
        Some(u64::try_from(age.as_millis()).ok()?.saturating_add(since))
    };
    Look {
        at: now,
        demand: backlog.map(|backlog| backlog.demand),
        active: backlog.map_or(0, |backlog| backlog.active),
        oldest_ms: backlog.and_then(age),
        desired: view.desired,
        ready: count(&["ready"]),
        on_the_way: count(&["launching", "booting"]),
        draining: count(&["draining", "terminating"]),
    }
}

/// What an instance is.
pub(super) fn ids(instance: &v1::Instance, now: u64) -> Ids {
    let is_real = |notice: &&v1::Notice| notice.kind() == v1::NoticeKind::Interruption;
    let commit = instance.heartbeat.as_ref().map(|beat| beat.git_commit.clone()).unwrap_or_default();
    Ids {
        at: now,
        token: instance.token.clone(),
        id: instance.id.clone(),
        instance_type: instance.instance_type.clone(),
        zone: instance.availability_zone.clone(),
        capacity_type: instance.capacity_type.clone(),
        image: instance.image_id.clone(),
        commit,
        interrupted_at: instance.notices.iter().filter(is_real).find_map(|it| millis(it.seen_at.as_ref())),
    }
}

/// Its boot steps, as its agent reported them.
pub(super) fn steps(instance: &v1::Instance) -> Vec<Step> {
    let state = |state| match state {
        v1::StepState::Running => Some(StepState::Running),
        v1::StepState::Retrying => Some(StepState::Retrying),
        v1::StepState::Succeeded => Some(StepState::Succeeded),
        v1::StepState::Failed => Some(StepState::Failed),
        v1::StepState::Unspecified => None,
    };
    let of = |step: &v1::BootStep| {
        let from = millis(step.started_at.as_ref())?;
        let took = step.took.as_ref().and_then(times::from_duration).unwrap_or_default();
        let at = from.saturating_add(u64::try_from(took.as_millis()).unwrap_or(0));
        let (instance, name) = (instance.token.clone(), step.name.clone());
        Some(Step { at, from, instance, name, state: state(step.state())? })
    };
    instance.boot_steps.iter().filter_map(of).collect()
}
