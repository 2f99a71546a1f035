//! What EC2's list says: the only word that makes an instance Gone, and how lost launches are found again.

use crate::config::Config;
use crate::decision::{AlertKind, Reason};
use crate::event::{Ec2State, Listed};
use crate::instance::{Instance, Phase};
use crate::state::{State, accepted};
use crate::{InstanceId, Timestamp};

impl State {
    pub(crate) fn listed(&mut self, now: Timestamp, asked_at: Timestamp, list: Vec<Listed>, config: &Config) {
        // Absence must be seen all along: what was missing before a while without lists may have been there since.
        let is_gap = self.listed_at.is_none_or(|last| asked_at.since(last) > config.longest_listing_age());
        self.listed_at = Some(asked_at);
        self.listing_problem = None;
        let mut foreign = Vec::new();
        for entry in &list {
            self.take_in(now, entry, config, &mut foreign);
        }
        self.foreign = foreign;
        match self.foreign.first().cloned() {
            Some(id) => self.raise(AlertKind::UnknownInstance, Reason::NotOurs { id }),
            None => {
                self.alerts.remove(&AlertKind::UnknownInstance);
            }
        }
        for position in 0..self.instances.len() {
            let instance = &mut self.instances[position];
            if list.iter().any(|entry| is_entry_of(entry, instance)) {
                instance.missing_since = None;
                continue;
            }
            if is_gap {
                instance.missing_since = None;
            }
            let missing_since = *instance.missing_since.get_or_insert(asked_at);
            if !instance.is_gone() && is_absent_for_sure(instance, missing_since, asked_at, config) {
                let had_id = instance.id.is_some();
                let reason = if had_id { "EC2 no longer lists it" } else { "EC2 never showed this launch" };
                instance.enter(now, Phase::Gone, reason);
                if had_id {
                    self.count_terminated();
                }
            }
        }
    }

    fn take_in(&mut self, now: Timestamp, entry: &Listed, config: &Config, foreign: &mut Vec<InstanceId>) {
        let ends = matches!(entry.state, Ec2State::ShuttingDown | Ec2State::Terminated);
        let Some(position) = self.instances.iter().position(|instance| is_entry_of(entry, instance)) else {
            if let Some(token) = &entry.token {
                self.not_again(token);
            }
            match &entry.token {
                _ if ends => {}
                Some(token) => {
                    self.adopt(now, token.clone(), entry.id.clone(), config);
                    self.take_in(now, entry, config, foreign);
                }
                None => foreign.push(entry.id.clone()),
            }
            return;
        };
        let instance = &mut self.instances[position];
        instance.last_listed = Some(now);
        if instance.id.is_none() {
            accepted(instance, now, entry.id.clone(), config, "its launch was answered by EC2's list");
        }
        // Lists are eventually consistent: an older state does not undo a later one.
        if instance.ec2_state.is_none_or(|seen| order(seen) <= order(entry.state)) {
            instance.ec2_state = Some(entry.state);
        }
        let why = entry.state_reason.as_deref().unwrap_or("no reason given");
        let was_booting = matches!(instance.phase, Phase::Booting { .. });
        let was_interrupted = instance.interrupted_at.is_some() || why.starts_with("Server.Spot");
        match entry.state {
            Ec2State::Terminated if !instance.is_gone() => {
                instance.enter(now, Phase::Gone, format!("terminated ({why})"));
                self.count_terminated();
            }
            Ec2State::ShuttingDown if !matches!(instance.phase, Phase::Terminating { .. } | Phase::Gone) => {
                let next_try = now + config.terminate_timeout;
                instance.enter(now, Phase::Terminating { attempts: 1, next_try }, format!("EC2 shuts it down ({why})"));
            }
            Ec2State::Pending | Ec2State::Running if instance.is_gone() && !was_over(instance) => {
                accepted(instance, now, entry.id.clone(), config, "EC2 lists it after all");
                return;
            }
            _ => return,
        }
        if was_booting && !was_interrupted && !self.instances[position].boot_failed {
            self.instances[position].boot_failed = true;
            self.boot_failed(now, config);
        }
    }
}

fn is_entry_of(entry: &Listed, instance: &Instance) -> bool {
    instance.id.as_ref() == Some(&entry.id) || (instance.id.is_none() && entry.token.as_ref() == Some(&instance.token))
}

/// EC2 has shown its end: a stale list that still has it running is not believed.
fn was_over(instance: &Instance) -> bool {
    matches!(instance.ec2_state, Some(Ec2State::ShuttingDown | Ec2State::Terminated))
}

/// It is not in the list that was asked for at `asked_at`, and the lists had time enough to show it. One list alone that
/// does not is no proof, however long ago the last one was.
fn is_absent_for_sure(instance: &Instance, missing_since: Timestamp, asked_at: Timestamp, config: &Config) -> bool {
    let known_since = match instance.phase {
        Phase::Launching { deadline, last_try, .. } => deadline.max(last_try),
        _ => instance.last_listed.or(instance.accepted_at).unwrap_or(instance.phase_since),
    };
    asked_at > known_since.max(missing_since) + config.consistency_grace
}

fn order(state: Ec2State) -> u8 {
    match state {
        Ec2State::Pending => 0,
        Ec2State::Running => 1,
        Ec2State::Stopping | Ec2State::Stopped => 2,
        Ec2State::ShuttingDown => 3,
        Ec2State::Terminated => 4,
    }
}
