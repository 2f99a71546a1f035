//! Instances that are to be replaced. Of one with a rebalance recommendation EC2 may reclaim it soon, or never; of one
//! with a scheduled event EC2 says when. One of another image than launches take works on as well as before. It keeps
//! working and is capacity until its replacement is ready (`launch_replacements`, `drain_replaced`), or is drained at
//! once (`drain_recommended`). One at a time. Of recommendations a few in any hour, and a replacement is not replaced
//! in turn: where all of EC2's pools are recommended against, nothing churns. An event is of one host, and comes to
//! pass. An image replaces only what was launched before it was known.
//!
//! ```text
//!   recommended, or scheduled ──► replacement launched ──► replacement ready ──► drained
//!        ▲                                │
//!        └──────────── failed to boot ────┴── interrupted, drained or gone meanwhile, or the event cancelled: the
//!                                             replacement is an ordinary instance
//! ```

use std::time::Duration;

use super::{new_image, scale_out};
use crate::config::{Config, OnDrift, OnRebalance};
use crate::id::{InstanceId, LaunchToken};
use crate::instance::Instance;
use crate::launch_image::LaunchImage;
use crate::note::{Note, WorksOn};
use crate::phase::{DrainCause, PhaseKind};
use crate::phases::{draining, launching};
use crate::plan::{Decision, Plan, Planned};
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

/// What `rebalance_limit` is counted over. A replacement that is itself recommended against within it is not replaced.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Drains a recommended instance once its replacement is ready; forgets the pair where either is no longer what it was.
pub(crate) fn drain_replaced(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    let under_way = |instance: &Instance| Some((instance.token.clone(), instance.replaces.clone()?));
    let pairs: Vec<(LaunchToken, InstanceId)> = state.instances.iter().filter_map(under_way).collect();
    let image = replaced_for(state, config);
    for (token, id) in pairs {
        let Some(by) = state.by_token(&token) else { continue };
        let (is_ready, is_coming) = (by.is_capacity(), by.is_on_its_way(now));
        let (by, was_refused) = (by.name().to_owned(), by.is_gone() && by.id.is_none());
        let why = state.by_id(&id).and_then(|instance| Why::of(instance, now, image.as_ref(), config));
        let replaced = state.by_id(&id).filter(|instance| instance.is_capacity() && (is_ready || is_coming));
        let (Some(instance), Some(why)) = (replaced, &why) else {
            state.by_token(&token).into_iter().for_each(|by| by.replaces = None);
            if was_refused && why == Some(Why::Rebalance) {
                state.rebalances.pop_back();
            }
            continue;
        };
        if is_ready {
            if let Why::Drift { image } = why {
                instance.drained_for_image = Some(image.clone());
            }
            begin_drain(instance, now, config, why.replaced(by), plan);
            state.by_token(&token).into_iter().for_each(|by| by.replaces = None);
        } else {
            plan.notes.push(why.waits(id, by));
        }
    }
}

/// Why an instance is to be replaced.
#[derive(Clone, Debug, PartialEq)]
enum Why {
    Rebalance,
    /// Launches take this image, and it is of another.
    Drift {
        image: String,
    },
    /// An event of this kind begins in `left`, and in `drained_in` there is no time for a replacement any more.
    Scheduled {
        code: String,
        left: Duration,
        drained_in: Duration,
    },
}

impl Why {
    /// What EC2 has scheduled outweighs what it recommends, and that an older image.
    fn of(instance: &Instance, now: Timestamp, image: Option<&LaunchImage>, config: &Config) -> Option<Why> {
        if let Some(event) = instance.scheduled_and_due(now, config) {
            let (left, drained_in) = (now.until(event.at), now.until(event.drained_from(config)));
            return Some(Why::Scheduled { code: event.code.clone(), left, drained_in });
        }
        let image = image.filter(|image| instance.is_drifted(image));
        if instance.is_rebalance_due() && (config.rebalance == OnRebalance::Replace || image.is_none()) {
            return Some(Why::Rebalance);
        }
        image.map(|image| Why::Drift { image: image.id.clone() })
    }

    fn replaces(self, id: InstanceId) -> Reason {
        match self {
            Why::Rebalance => Reason::Replaces { id },
            Why::Drift { image } => Reason::ReplacesImage { id, image },
            Why::Scheduled { code, left, .. } => Reason::ReplacesScheduled { id, code, left },
        }
    }

    fn replaced(&self, by: String) -> Reason {
        match self.clone() {
            Why::Rebalance => Reason::Replaced { by },
            Why::Drift { image } => Reason::ReplacedImage { image, by: Some(by) },
            Why::Scheduled { code, left, .. } => Reason::ReplacedScheduled { code, left, by },
        }
    }

    fn waits(&self, id: InstanceId, replacement: String) -> Note {
        match self.clone() {
            Why::Rebalance => Note::RebalanceWaits { id, replacement },
            Why::Drift { image } => Note::DriftWaits { id, image, replacement },
            Why::Scheduled { code, left, .. } => Note::EventWaits { id, code, left, replacement },
        }
    }

    fn held(self, id: InstanceId, why: WorksOn) -> Note {
        match self {
            Why::Rebalance => Note::RebalanceHeld { id, why },
            Why::Drift { image } => Note::DriftHeld { id, image, why },
            Why::Scheduled { code, left, drained_in } => Note::EventHeld { id, code, left, drained_in, why },
        }
    }
}

/// With `rebalance = "fence"`: drains what EC2 recommends to replace, at once. Returning demand does not cancel these
/// drains, since they are what made room for the replacements.
pub(super) fn drain_recommended(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    if config.rebalance != OnRebalance::Fence {
        return;
    }
    for id in recommended(state, |instance| instance.is_capacity() || instance.phase_kind() == PhaseKind::Booting) {
        if let Some(why) = not_acted_on(state, now, config, &id) {
            plan.notes.push(Note::RebalanceHeld { id, why });
            continue;
        }
        state.rebalances.push_back(now);
        if let Some(instance) = state.by_id(&id) {
            begin_drain(instance, now, config, Reason::RebalanceRecommended, plan);
        }
    }
}

/// Launches a replacement: for the instance whose event comes first; with `rebalance = "replace"` for the one with the
/// oldest recommendation.
pub(super) fn launch_replacements(state: &mut State, now: Timestamp, config: &Config, plan: &mut Plan) {
    let is_replaced = |id: &InstanceId| state.instances.iter().any(|instance| instance.replaces.as_ref() == Some(id));
    let mut waiting = scheduled(state, now, config);
    if config.rebalance == OnRebalance::Replace {
        let recommended = recommended(state, Instance::is_capacity).into_iter();
        waiting.extend(recommended.filter(|id| !waiting.contains(id)).collect::<Vec<_>>());
    }
    let image = replaced_for(state, config).filter(|image| image.is_known);
    let drifted = image.as_ref().map(|image| drifted(state, image)).unwrap_or_default();
    waiting.extend(drifted.into_iter().filter(|id| !waiting.contains(id)).collect::<Vec<_>>());
    waiting.retain(|id| !is_replaced(id));
    for id in waiting {
        let why = state.by_id(&id).and_then(|instance| Why::of(instance, now, image.as_ref(), config));
        let Some(why) = why else { continue };
        if let Some(works_on) = not_replaced(state, now, config, &id, &why) {
            if let Why::Drift { image } = &why
                && makes_room(state, now, config, works_on)
            {
                drain_for_room(state, now, config, (&id, image), plan);
                return;
            }
            plan.notes.push(why.held(id, works_on));
            continue;
        }
        if let Some(note) = scale_out::launches_blocked(state, now) {
            plan.notes.push(note);
            return;
        }
        if scale_out::launches_left(state, now, config) == 0 || new_image::allows(state, now, 1, plan) == 0 {
            return;
        }
        if why == Why::Rebalance {
            state.rebalances.push_back(now);
        }
        let token = launching::intend(state, now, config);
        if let Some(by) = state.by_token(&token) {
            (by.is_replacement, by.replaces) = (true, Some(id.clone()));
        }
        plan.decisions.push(Planned::new(Decision::Launch { token }, why.replaces(id)));
    }
}

/// Instances whose recommendation has not been acted on, the oldest recommendation first.
fn recommended(state: &State, can_be: impl Fn(&Instance) -> bool) -> Vec<InstanceId> {
    let due = state.instances.iter().filter(|instance| instance.is_rebalance_due() && can_be(instance));
    let mut due: Vec<_> = due.filter_map(|it| Some((it.ec2.rebalance?.at, it.id.clone()?))).collect();
    due.sort();
    due.into_iter().map(|(_, id)| id).collect()
}

/// Instances whose event is near enough, the first event first.
fn scheduled(state: &State, now: Timestamp, config: &Config) -> Vec<InstanceId> {
    let due = state.instances.iter().filter(|instance| instance.is_capacity());
    let mut due: Vec<_> = due.filter_map(|it| Some((it.scheduled_and_due(now, config)?.at, it.id.clone()?))).collect();
    due.sort();
    due.into_iter().map(|(_, id)| id).collect()
}

/// The image for which instances of another one are replaced; None where they are not.
fn replaced_for(state: &State, config: &Config) -> Option<LaunchImage> {
    state.launch_image.clone().filter(|_| config.on_drift == OnDrift::Replace)
}

/// Instances of another image than launches take, the first launched first.
fn drifted(state: &State, image: &LaunchImage) -> Vec<InstanceId> {
    let is_due = |instance: &&Instance| instance.is_capacity() && instance.is_drifted(image);
    state.instances.iter().filter(is_due).filter_map(|instance| instance.id.clone()).collect()
}

/// At the cap the first goes before its replacement comes, and only while no job is ready to run.
fn makes_room(state: &State, now: Timestamp, config: &Config, works_on: WorksOn) -> bool {
    works_on == WorksOn::NotWanted
        && state.demand() == Some(0)
        && scale_out::room(state.counts(now), config) == 0
        && !drains_for_image(state)
}

fn drain_for_room(
    state: &mut State,
    now: Timestamp,
    config: &Config,
    (id, image): (&InstanceId, &str),
    plan: &mut Plan,
) {
    let Some(instance) = state.by_id(id) else { return };
    instance.drained_for_image = Some(image.to_owned());
    let (image, until) = (image.to_owned(), now + config.drain_timeout);
    let reason = Reason::ReplacedImage { image, by: None };
    plan.decisions.extend(draining::begin(instance, now, until, DrainCause::Drift, reason));
}

/// One that is drained for its image is not gone yet.
fn drains_for_image(state: &State) -> bool {
    state.instances.iter().any(|it| it.phase_kind() == PhaseKind::Draining && it.drained_for_image.is_some())
}

fn begin_drain(instance: &mut Instance, now: Timestamp, config: &Config, reason: Reason, plan: &mut Plan) {
    if let Some(rebalance) = &mut instance.ec2.rebalance {
        rebalance.answered = true;
    }
    let is_for_image = matches!(reason, Reason::ReplacedImage { .. });
    let mut cause = if is_for_image { DrainCause::Drift } else { DrainCause::Rebalance };
    if instance.scheduled_and_due(now, config).is_some()
        && let Some(event) = &mut instance.ec2.scheduled
    {
        event.answered = true;
        cause = DrainCause::ScheduledEvent;
    }
    plan.decisions.extend(draining::begin(instance, now, now + config.drain_timeout, cause, reason));
}

/// Why a recommendation is not acted on, whichever way is configured.
fn not_acted_on(state: &mut State, now: Timestamp, config: &Config, id: &InstanceId) -> Option<WorksOn> {
    let instance = state.by_id(id)?;
    let rebalance = instance.ec2.rebalance?;
    let recommended_at = rebalance.seen_at.unwrap_or(rebalance.at);
    if instance.is_replacement && recommended_at < instance.planned_at + HOUR {
        return Some(WorksOn::Replacement);
    }
    state.rebalances.retain(|at| now.since(*at) < HOUR);
    let limit = config.rebalance_limit;
    (state.rebalances.len() >= limit as usize).then_some(WorksOn::Limit { limit })
}

/// Why no replacement is launched for an instance that is to be replaced.
fn not_replaced(state: &mut State, now: Timestamp, config: &Config, id: &InstanceId, why: &Why) -> Option<WorksOn> {
    let counts = state.counts(now);
    let is_wanted = state.demand().is_some_and(|demand| demand > 0)
        && state.desired.is_some_and(|desired| counts.capacity_to_be() <= desired);
    if !is_wanted {
        return Some(WorksOn::NotWanted);
    }
    if counts.replacements > 0 || (matches!(why, Why::Drift { .. }) && drains_for_image(state)) {
        return Some(WorksOn::OneAtATime);
    }
    // An event comes to pass: no limit keeps it off.
    let not_acted_on = if *why == Why::Rebalance { not_acted_on(state, now, config, id) } else { None };
    not_acted_on.or_else(|| {
        let max_instances = config.max_instances;
        (scale_out::room(counts, config) == 0).then_some(WorksOn::AtCap { max_instances })
    })
}
