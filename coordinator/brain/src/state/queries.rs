//! What others may ask of the state: the shell, the interfaces, the simulator.

use super::{Counts, State};
use crate::backlog::Backlog;
use crate::breaker::Breaker;
use crate::drill::Drill;
use crate::early_ends::EarlyEnds;
use crate::floor::Floor;
use crate::id::InstanceId;
use crate::instance::{Instance, NotTerminated};
use crate::plan::AlertKind;
use crate::proven_images::{NeverRan, ProvenImages};
use crate::refusal::Refusal;
use crate::stranger::Stranger;
use crate::time::Timestamp;

/// The window of one policy step, while every observation meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The step's threshold.
    pub jobs: u64,
    pub since: Timestamp,
}

impl State {
    pub fn demand(&self) -> Option<u64> {
        self.backlog.as_ref().map(|(backlog, _)| backlog.demand())
    }

    /// The last observation, and when it was made.
    pub fn backlog(&self) -> Option<&(Backlog, Timestamp)> {
        self.backlog.as_ref()
    }

    pub fn observation_problem(&self) -> Option<&str> {
        self.observation_problem.as_deref()
    }

    /// When EC2 was asked for the last list that it answered.
    pub fn listed_at(&self) -> Option<Timestamp> {
        self.listed_at
    }

    pub fn listing_problem(&self) -> Option<&str> {
        self.listing_problem.as_deref()
    }

    pub fn desired(&self) -> Option<u32> {
        self.desired
    }

    /// The spans in which instances are scheduled.
    pub fn floors(&self) -> &[Floor] {
        &self.floors
    }

    /// Oldest first; those that are gone for a while too.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter()
    }

    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id.as_ref() == Some(id))
    }

    /// The operator's reason, while the pool is held.
    pub fn hold(&self) -> Option<&str> {
        self.hold.as_deref()
    }

    /// When the hold began; None where that is not known.
    pub fn held_since(&self) -> Option<Timestamp> {
        self.held_since
    }

    /// The drill that is under way, or the last one.
    pub fn drill(&self) -> Option<&Drill> {
        self.drill.as_ref()
    }

    /// Instances with the pool's tag and a launch token that is not ours.
    pub fn strangers(&self) -> &[Stranger] {
        &self.strangers
    }

    /// What a person was told of, and is not over.
    pub fn alerts(&self) -> impl Iterator<Item = AlertKind> {
        self.alerts.iter().copied()
    }

    /// What was said when this alert was raised; None where it is over, or was raised by a version that did not keep
    /// it.
    pub fn alert_reason(&self, alert: AlertKind) -> Option<&str> {
        self.alert_reasons.get(&alert).filter(|_| self.alerts.contains(&alert)).map(String::as_str)
    }

    pub fn is_leader(&self) -> bool {
        self.leader
    }

    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Instances that ended without notice soon after they became ready.
    pub fn early_ends(&self) -> &EarlyEnds {
        &self.early_ends
    }

    /// EC2's refusals of launches that still count, one for each class: since the last launch that EC2 accepted (and
    /// one more for each class of those that it took back, since one that ran), the last start and the last resume.
    pub fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        self.other_refusals.iter().chain(&self.refusal)
    }

    /// The refusal that keeps launches back for longest; None where EC2 may be asked to launch.
    pub fn back_off(&self, now: Timestamp) -> Option<&Refusal> {
        self.refusals().filter(|refusal| refusal.holds(now)).max_by_key(|refusal| refusal.until)
    }

    /// EC2's answers to launches of this outcome (`accepted`, `refused_quota`), since this ledger began.
    pub fn launch_outcomes(&self, outcome: &str) -> u64 {
        self.launch_outcomes.get(outcome).copied().unwrap_or(0)
    }

    /// Instances that EC2 refuses to terminate, for so long or in such a way that a person is needed.
    pub fn not_terminated(&self) -> impl Iterator<Item = (&Instance, &NotTerminated)> {
        let refused = self.instances.iter().filter_map(|instance| Some((instance, instance.not_terminated.as_ref()?)));
        refused.filter(|(_, not_terminated)| not_terminated.alerted)
    }

    /// The thresholds that the observed demand meets, each with the beginning of its window.
    pub fn windows(&self) -> impl Iterator<Item = Window> + '_ {
        self.sustain.windows().map(|(jobs, since)| Window { jobs, since })
    }

    /// Launches that EC2 accepted, since this ledger began.
    pub fn launched_total(&self) -> u64 {
        self.launched_total
    }

    /// Jobs put back to wait, by agents and by the coordinator, since this ledger began.
    pub fn handed_back_total(&self) -> u64 {
        self.handed_back_total
    }

    /// Instances that EC2 showed as gone, since this ledger began.
    pub fn terminated_total(&self) -> u64 {
        self.terminated_total
    }

    /// The images on which an instance has become ready, since this ledger began.
    pub fn proven_images(&self) -> &ProvenImages {
        &self.proven_images
    }

    /// The image that launches take, while no instance has become ready on it. One that EC2 has told and does not tell
    /// now is still it: a call that fails must not end the trial of an image.
    pub fn unproven_image(&self) -> Option<&str> {
        let image = self.launch_image.as_ref().map(|image| image.id.as_str());
        image.filter(|image| !self.proven_images.contains(image))
    }

    /// What all boots since the last success failed on, where it has never run here.
    pub fn never_ran(&self) -> Option<NeverRan> {
        let image = self.breaker.image.clone().filter(|image| !self.proven_images.contains(image))?;
        Some(NeverRan { image, last_good: self.proven_images.last().map(str::to_owned) })
    }

    pub fn counts(&self, now: Timestamp) -> Counts {
        let may_be_ours = self.strangers.iter().filter(|stranger| stranger.may_be_ours()).count();
        let foreign = u32::try_from(self.foreign.len() + may_be_ours).unwrap_or(u32::MAX);
        let mut counts = Counts { billing: foreign, not_ours: foreign, ..Counts::default() };
        for instance in &self.instances {
            let (is_on_its_way, may_bill) = (instance.is_on_its_way(now), instance.may_bill());
            counts.ready += u32::from(instance.is_capacity());
            counts.on_the_way += u32::from(is_on_its_way);
            counts.billing = counts.billing.saturating_add(u32::from(may_bill));
            counts.interrupted += u32::from(may_bill && instance.ec2.interrupted_at.is_some());
            counts.replacements += u32::from(is_on_its_way && instance.replaces.is_some());
            counts.drilled += u32::from((is_on_its_way || instance.is_capacity()) && instance.is_for_drill);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn what_was_said_of_an_alert_is_kept_in_the_ledger_until_it_is_over() {
        let mut state = State::new("t");
        let gone = |queue: &str| Reason::QueueGone { queue: queue.to_owned() };
        state.raise(AlertKind::QueueGone, gone("video"));
        state.raise(AlertKind::QueueGone, gone("mail"));
        let written = serde_json::to_string(&state).expect("it is written");
        let mut state: State = serde_json::from_str(&written).expect("it is read");
        let said = state.alert_reason(AlertKind::QueueGone).unwrap_or_default();
        assert!(said.starts_with("queue \"video\" was there"), "that a person was told: {said}");
        state.alerts.remove(&AlertKind::QueueGone);
        assert_eq!(state.alert_reason(AlertKind::QueueGone), None);
        state.raise(AlertKind::TwoAgents, Reason::TwoAgents { id: InstanceId("i-1".to_owned()) });
        assert_eq!(state.alert_reasons.len(), 1, "what is over is not kept");
    }
}
