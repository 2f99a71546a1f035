//! Instances over time: their phases, boot steps, jobs.

use serde::Serialize;

use crate::frame::{Ids, PhaseBegan, Step, StepState};

/// A phase from one time to another; `to` None: it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    pub phase: String,
    pub from: u64,
    pub to: Option<u64>,
    pub reason: String,
}

/// A boot step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepSpan {
    pub name: String,
    pub from: u64,
    pub to: Option<u64>,
    pub state: StepState,
}

/// So many jobs from one time to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    pub from: u64,
    pub to: Option<u64>,
    pub count: u32,
}

/// One instance's life. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// EC2's id; the launch token before it is known.
    pub instance: String,
    pub instance_type: String,
    pub zone: String,
    pub capacity_type: String,
    pub image_id: String,
    pub commit: String,
    pub phases: Vec<Span>,
    pub steps: Vec<StepSpan>,
    pub jobs: Vec<Held>,
    pub interrupted_at: Option<u64>,
    /// Why it ended; None while it lives.
    pub ended: Option<String>,
    #[serde(skip)]
    pub ended_at: Option<u64>,
}

/// Changes that are kept of one instance.
const KEPT: usize = 200;

impl Lane {
    pub(crate) fn is(&mut self, ids: &Ids) {
        let fill = |to: &mut String, from: &String| {
            if !from.is_empty() {
                to.clone_from(from);
            }
        };
        self.instance = if ids.id.is_empty() { ids.token.clone() } else { ids.id.clone() };
        fill(&mut self.instance_type, &ids.instance_type);
        fill(&mut self.zone, &ids.zone);
        fill(&mut self.capacity_type, &ids.capacity_type);
        fill(&mut self.image_id, &ids.image);
        fill(&mut self.commit, &ids.commit);
        self.interrupted_at = ids.interrupted_at.or(self.interrupted_at);
    }

    pub(crate) fn enters(&mut self, PhaseBegan { at, phase, reason, .. }: &PhaseBegan) {
        if let Some(last) = self.phases.last_mut() {
            if last.phase == *phase {
                return;
            }
            last.to.get_or_insert(*at);
        }
        if phase == "gone" {
            if self.ended_at.is_some() {
                return;
            }
            let last = self.phases.last().map(|last| last.reason.clone()).unwrap_or_default();
            self.ended = Some(if reason.is_empty() { last } else { reason.clone() });
            self.ended_at = Some(*at);
            self.jobs.iter_mut().for_each(|held| held.to = held.to.or(Some(*at)));
            return;
        }
        // What was gone is back: EC2's list had not shown it.
        (self.ended, self.ended_at) = (None, None);
        if self.phases.len() < KEPT {
            self.phases.push(Span { phase: phase.clone(), from: *at, to: None, reason: reason.clone() });
        }
    }

    pub(crate) fn steps_on(&mut self, step: &Step) {
        let is_over = matches!(step.state, StepState::Succeeded | StepState::Failed);
        let to = is_over.then_some(step.at);
        let is_same = |it: &&mut StepSpan| it.name == step.name && (it.to.is_none() || it.from == step.from);
        if let Some(same) = self.steps.iter_mut().rev().find(is_same) {
            (same.state, same.to) = (step.state, to);
        } else if self.steps.len() < KEPT {
            self.steps.push(StepSpan { name: step.name.clone(), from: step.from, to, state: step.state });
        }
    }

    pub(crate) fn holds(&mut self, at: u64, count: u32) {
        if let Some(last) = self.jobs.last_mut() {
            if last.to.is_none() && last.count == count {
                return;
            }
            last.to.get_or_insert(at);
        }
        if self.jobs.len() == KEPT {
            self.jobs.remove(0);
        }
        if count > 0 {
            self.jobs.push(Held { from: at, to: None, count });
        }
    }

    /// Its end, where nobody wrote one.
    pub(crate) fn not_seen_again(&self, token: &str) -> PhaseBegan {
        let times =
            self.phases.iter().map(|span| span.to.unwrap_or(span.from)).chain(self.steps.iter().map(|it| it.from));
        let at = times.chain(self.jobs.iter().map(|held| held.from)).max().unwrap_or_default();
        let reason = "it was not seen again: the record has a gap".to_owned();
        PhaseBegan { at, instance: token.to_owned(), phase: "gone".to_owned(), reason }
    }

    /// When it began; None before its first phase.
    pub(crate) fn began(&self) -> Option<u64> {
        Some(self.phases.first()?.from)
    }

    /// It lived at some time from one to the other.
    pub(crate) fn lives_within(&self, from: u64, to: u64) -> bool {
        self.began().is_some_and(|began| began <= to) && self.ended_at.is_none_or(|ended| ended >= from)
    }
}
