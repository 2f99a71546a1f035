//! What a person must be told about EC2's list: instances that are not ours but look like it, and instances of ours
//! that it shows otherwise than it should. Each is named when it is new, and noted for as long as it lasts.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::id::InstanceId;
use crate::instance::Instance;
use crate::note::Note;
use crate::plan::{AlertKind, Decision, Plan, Planned};
use crate::reason::Reason;
use crate::state::State;
use crate::stranger::Stranger;
use crate::time::Timestamp;

/// What one list has that is not ours.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Without a launch token.
    pub(super) unmanaged: Vec<InstanceId>,
    /// With one that is not ours: whose, by the tag.
    pub(super) strangers: Vec<(InstanceId, Option<String>)>,
}

/// Keeps what a list had; a person is told of what is new.
pub(super) fn told(state: &mut State, now: Timestamp, found: Found, config: &Config) {
    state.foreign = found.unmanaged;
    match state.foreign.first().cloned() {
        Some(id) => state.raise(AlertKind::UnknownInstance, Reason::NotOurs { id }),
        None => {
            state.alerts.remove(&AlertKind::UnknownInstance);
        }
    }
    let mut new: BTreeMap<Option<String>, Vec<InstanceId>> = BTreeMap::new();
    for (id, installation) in found.strangers {
        match state.strangers.iter_mut().find(|known| known.id == id) {
            Some(known) if known.installation == installation => known.last_listed = now,
            known => {
                new.entry(installation.clone()).or_default().push(id.clone());
                let stranger = Stranger { id, installation, last_listed: now };
                match known {
                    Some(known) => *known = stranger,
                    None => state.strangers.push(stranger),
                }
            }
        }
    }
    state.strangers.retain(|stranger| now.since(stranger.last_listed) <= config.consistency_grace);
    for (installation, ids) in new {
        let (alert, ours) = (AlertKind::Strangers, config.installation.clone());
        state.alerts.insert(alert);
        state.pending.push(Planned::new(Decision::Alert { alert }, Reason::Strangers { ids, installation, ours }));
    }
    if state.strangers.is_empty() {
        state.alerts.remove(&AlertKind::Strangers);
    }
}

/// Tells a person of instances of ours whose tags were changed, and of those that EC2 shows to nobody while their
/// agents report.
pub(super) fn unlike_listed(state: &mut State, now: Timestamp, asked_at: Timestamp, config: &Config) {
    let alive = || state.instances.iter().filter(|instance| !instance.is_gone());
    let retagged = alive().find_map(|it| Some((it.id.clone()?, it.ec2.retagged.clone()?)));
    let unlisted = alive().find(|it| is_unlisted(it, now, asked_at, config)).and_then(|it| it.id.clone());
    let reason = retagged.map(|(id, tags)| Reason::TagsChanged { id, tags });
    raise_or_end(state, AlertKind::TagsChanged, reason);
    raise_or_end(state, AlertKind::Unlisted, unlisted.map(|id| Reason::Unlisted { id }));
}

/// EC2 shows it neither by its tags nor by its id for longer than lists may be late, and its agent reports.
fn is_unlisted(instance: &Instance, now: Timestamp, asked_at: Timestamp, config: &Config) -> bool {
    let missing_since = instance.ec2.missing_since.filter(|_| instance.id.is_some());
    instance.is_reporting(now, config.heartbeat_timeout)
        && missing_since.is_some_and(|since| asked_at > since + config.consistency_grace)
}

fn raise_or_end(state: &mut State, alert: AlertKind, reason: Option<Reason>) {
    match reason {
        Some(reason) => state.raise(alert, reason),
        None => {
            state.alerts.remove(&alert);
        }
    }
}

/// Says it again for as long as it lasts.
pub(super) fn notes(state: &State, now: Timestamp, config: &Config, plan: &mut Plan) {
    for id in &state.foreign {
        plan.notes.push(Note::NotOurs { id: id.clone() });
    }
    for stranger in &state.strangers {
        let (id, installation) = (stranger.id.clone(), stranger.installation.clone());
        plan.notes.push(Note::Stranger { id, installation, ours: config.installation.clone() });
    }
    for instance in state.instances.iter().filter(|instance| !instance.is_gone()) {
        let Some(id) = instance.id.clone() else { continue };
        if let Some(tags) = instance.ec2.retagged.clone() {
            plan.notes.push(Note::TagsChanged { id, tags });
        } else if state.listed_at.is_some_and(|asked_at| is_unlisted(instance, now, asked_at, config)) {
            plan.notes.push(Note::Unlisted { id });
        }
    }
}
