//! EC2's list: the only word that makes an instance Gone, and how launches whose answers were lost are found again.

use crate::config::Config;
use crate::event::{Ec2State, Listed, StateReason};
use crate::id::InstanceId;
use crate::instance::Instance;
use crate::phase::PhaseKind;
use crate::phases::{booting, gone, launching, terminating};
use crate::plan::AlertKind;
use crate::reason::Reason;
use crate::state::State;
use crate::time::Timestamp;

pub(super) fn listed(state: &mut State, now: Timestamp, asked_at: Timestamp, list: Vec<Listed>, config: &Config) {
    // Absence must be seen all along: what was missing before a while without lists may have been there since.
    let is_gap = state.listed_at.is_none_or(|last| asked_at.since(last) > config.longest_listing_age());
    state.listed_at = Some(asked_at);
    state.listing_problem = None;
    let mut foreign = Vec::new();
    for entry in &list {
        take_in(state, now, entry, config, &mut foreign);
    }
    state.foreign = foreign;
    match state.foreign.first().cloned() {
        Some(id) => state.raise(AlertKind::UnknownInstance, Reason::NotOurs { id }),
        None => {
            state.alerts.remove(&AlertKind::UnknownInstance);
        }
    }
    for instance in &mut state.instances {
        if list.iter().any(|entry| is_entry_of(entry, instance)) {
            instance.ec2.missing_since = None;
        } else if gone::absent(instance, now, asked_at, is_gap, config) {
            state.terminated_total += 1;
        }
    }
}

fn take_in(state: &mut State, now: Timestamp, entry: &Listed, config: &Config, foreign: &mut Vec<InstanceId>) {
    // By its id before its launch token: tags can be copied, and a list may be damaged.
    let known = state.instances.iter().position(|instance| instance.id.as_ref() == Some(&entry.id));
    let Some(position) = known.or_else(|| state.instances.iter().position(|it| is_entry_of(entry, it))) else {
        let ends = matches!(entry.state, Ec2State::ShuttingDown | Ec2State::Terminated);
        if let Some(token) = &entry.token {
            launching::never_again(state, token);
        }
        match &entry.token {
            _ if ends => {}
            Some(token) => {
                launching::adopt(state, now, token.clone(), entry.id.clone(), config);
                take_in(state, now, entry, config, foreign);
            }
            None => foreign.push(entry.id.clone()),
        }
        return;
    };
    let instance = &mut state.instances[position];
    instance.ec2.last_listed = Some(now);
    if instance.id.is_none() {
        booting::begin(instance, now, entry.id.clone(), config, "EC2's list shows the launch");
    }
    // Lists are eventually consistent: an older state does not undo a later one.
    if instance.ec2.state.is_none_or(|seen| order(seen) <= order(entry.state)) {
        instance.ec2.state = Some(entry.state);
    }
    let why = entry.state_reason.as_ref().map_or("no reason given", StateReason::code);
    let was_booting = instance.phase_kind() == PhaseKind::Booting;
    let was_interrupted =
        instance.ec2.interrupted_at.is_some() || matches!(entry.state_reason, Some(StateReason::Spot(_)));
    let has_ended = match entry.state {
        Ec2State::Terminated => {
            let has_ended = gone::terminated(instance, now, why);
            state.terminated_total += u64::from(has_ended);
            has_ended
        }
        Ec2State::ShuttingDown => terminating::shut_down_by_ec2(instance, now, why, config),
        Ec2State::Pending | Ec2State::Running => {
            gone::listed_alive(instance, now, config);
            false
        }
        Ec2State::Stopping | Ec2State::Stopped => false,
    };
    if has_ended && was_booting && !was_interrupted && booting::count_once(&mut state.instances[position]) {
        booting::count_failure(state, now, config);
    }
}

fn is_entry_of(entry: &Listed, instance: &Instance) -> bool {
    instance.id.as_ref() == Some(&entry.id) || (instance.id.is_none() && entry.token.as_ref() == Some(&instance.token))
}

/// How far an instance is on its way to its end.
fn order(state: Ec2State) -> u8 {
    match state {
        Ec2State::Pending => 0,
        Ec2State::Running => 1,
        Ec2State::Stopping | Ec2State::Stopped => 2,
        Ec2State::ShuttingDown => 3,
        Ec2State::Terminated => 4,
    }
}
