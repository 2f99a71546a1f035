//! EC2's list: the only word that makes an instance Gone, and how launches whose answers were lost are found again.

use super::strangers;
use crate::config::Config;
use crate::ending;
use crate::event::{Ec2State, Listed};
use crate::instance::Instance;
use crate::phase::PhaseKind;
use crate::phases::{booting, gone, launching, terminating};
use crate::state::State;
use crate::stranger::Whose;
use crate::time::Timestamp;

pub(super) fn listed(state: &mut State, now: Timestamp, asked_at: Timestamp, list: Vec<Listed>, config: &Config) {
    // Absence must be seen all along: what was missing before a while without lists may have been there since.
    let is_gap = state.listed_at.is_none_or(|last| asked_at.since(last) > config.longest_listing_age());
    // Decided upon only where it was asked for since the ledger was loaded: whatever was saved, EC2 tells what is
    // there.
    if state.led_since.is_none_or(|since| asked_at >= since) {
        state.listed_at = Some(asked_at);
    }
    state.listing_problem = None;
    let mut others = strangers::Found::default();
    for entry in &list {
        take_in(state, now, entry, config, &mut others);
    }
    strangers::told(state, now, others, config);
    for instance in &mut state.instances {
        if instance.ec2.last_listed == Some(now) {
            instance.ec2.missing_since = None;
            continue;
        }
        let is_absent = gone::note_absence(instance, asked_at, is_gap, config);
        if is_absent && !gone::may_live(instance, now, asked_at, state.leader, config) {
            state.terminated_total += u64::from(gone::unlisted(instance, now));
        }
    }
    strangers::unlike_listed(state, now, asked_at, config);
    // A tick does that for a leader.
    if !state.leader {
        gone::forget(state);
    }
}

fn take_in(state: &mut State, now: Timestamp, entry: &Listed, config: &Config, others: &mut strangers::Found) {
    // By its id before its launch token: tags can be copied, and a list may be damaged.
    let known = state.instances.iter().position(|instance| instance.id.as_ref() == Some(&entry.id));
    let Some(position) = known.or_else(|| state.instances.iter().position(|it| is_launch_of(entry, it, config))) else {
        if let Some(token) = &entry.token {
            launching::never_again(state, token);
        }
        match Whose::of(entry, &config.installation, &state.nonce) {
            _ if ends(entry.state) => {}
            Whose::Ours(token) => {
                launching::adopt(state, now, token, entry.id.clone(), config);
                if let Some(adopted) = state.by_id(&entry.id) {
                    adopted.ec2.launched_at = Some(entry.launched_at.min(now));
                }
                take_in(state, now, entry, config, others);
            }
            Whose::Anothers(installation) => others.strangers.push((entry.id.clone(), Some(installation))),
            Whose::Unknown => others.strangers.push((entry.id.clone(), None)),
            Whose::Unmanaged => others.unmanaged.push(entry.id.clone()),
        }
        return;
    };
    let instance = &mut state.instances[position];
    instance.ec2.last_listed = Some(now);
    // The ledger is believed before the tags: EC2 itself gave it this id, and anyone may edit a tag.
    instance.ec2.retagged.clone_from(&entry.retagged);
    instance.ec2.image = entry.image.clone().or(instance.ec2.image.take());
    if let Some(image) = instance.ec2.image.as_ref().filter(|_| instance.has_been_ready()) {
        state.proven_images.was_ready(image);
    }
    if instance.id.is_none() {
        if instance.is_gone() && ends(entry.state) {
            // EC2 has said so before: no boot has failed. What it may have held is handed back in its name.
            instance.id = Some(entry.id.clone());
        } else {
            booting::begin(instance, now, entry.id.clone(), config, "EC2's list shows the launch");
        }
    }
    let before = instance.ec2.state;
    // Lists are eventually consistent: an older state does not undo a later one.
    if instance.ec2.state.is_none_or(|seen| order(seen) <= order(entry.state)) {
        instance.ec2.state = Some(entry.state);
    }
    let reason = entry.state_reason.as_ref();
    if is_first_end(before, entry.state) {
        let class = ending::refusal_class(instance, before == Some(Ec2State::Running), reason);
        instance.ec2.took_back = class.is_some();
        // A standby that led before counts what it launched then: it may lead again.
        let is_counted = state.leader || !instance.adopted;
        if let Some((class, reason)) = class.zip(reason).filter(|_| is_counted) {
            launching::taken_back(state, now, position, (class, reason), config);
        }
    } else if before == Some(Ec2State::Running) && entry.state == Ec2State::Running && !instance.adopted {
        let launched_at = instance.planned_at;
        launching::got_through(state, launched_at);
    }
    let instance = &mut state.instances[position];
    let was_booting = instance.phase_kind() == PhaseKind::Booting;
    let is_failure = !instance.ec2.took_back && !ending::was_taken(instance, reason);
    let has_ended = match entry.state {
        Ec2State::Terminated => {
            let has_ended = gone::terminated(instance, now, reason);
            state.terminated_total += u64::from(has_ended);
            has_ended
        }
        Ec2State::ShuttingDown => terminating::shut_down_by_ec2(instance, now, reason, config),
        // A stopped one is terminated at the next tick: that it was not listed for a while makes it no less ours.
        Ec2State::Pending | Ec2State::Running | Ec2State::Stopping | Ec2State::Stopped => {
            gone::listed_alive(instance, now, config);
            false
        }
    };
    // A standby hears no agent: to it every instance boots until it ends.
    let has_failed = state.leader && has_ended && was_booting && is_failure;
    if has_failed && booting::count_once(&mut state.instances[position]) {
        let failed = state.instances[position].failed_boot();
        booting::count_failures(state, now, vec![failed], config);
    }
}

/// Before EC2 has told its id: by its launch token, unless the tag says that another installation launched the entry.
fn is_launch_of(entry: &Listed, instance: &Instance, config: &Config) -> bool {
    let is_anothers = entry.installation.as_ref().is_some_and(|theirs| *theirs != config.installation);
    instance.id.is_none() && entry.token.as_ref() == Some(&instance.token) && !is_anothers
}

fn ends(state: Ec2State) -> bool {
    matches!(state, Ec2State::ShuttingDown | Ec2State::Terminated)
}

/// EC2 shows for the first time that it ends or stops.
fn is_first_end(before: Option<Ec2State>, shown: Ec2State) -> bool {
    order(shown) > order(Ec2State::Running) && before.is_none_or(|before| order(before) <= order(Ec2State::Running))
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
