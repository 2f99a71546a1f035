//! Reasons' names, for metrics: stable, and as many as there are kinds of reasons.

use super::Reason;

impl Reason {
    /// As metrics write it: what kind of reason this is, without its numbers and words.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::BelowDesired { .. } => "below_desired",
            Reason::StartsLate { .. } => "starts_late",
            Reason::NotNeeded { .. } => "not_needed",
            Reason::Floor { .. } => "floor",
            Reason::FloorEnded { .. } => "floor_ended",
            Reason::LaunchUnanswered { .. } => "launch_unanswered",
            Reason::ScaleIn { .. } => "scale_in",
            Reason::Interrupted { .. } => "interrupted",
            Reason::BootFailed { .. } => "boot_failed",
            Reason::BootDeadline { .. } => "boot_deadline",
            Reason::AgentLost { .. } => "agent_lost",
            Reason::TakesNoJob { .. } => "takes_no_job",
            Reason::AgentDrains { .. } => "agent_drains",
            Reason::Stopped { .. } => "stopped",
            Reason::OperatorAsked { .. } => "operator_asked",
            Reason::DemandReturned { .. } => "demand_returned",
            Reason::ToldAgain { .. } => "told_again",
            Reason::Drained { .. } => "drained",
            Reason::NoAgentNoJob { .. } => "no_agent_no_job",
            Reason::DrainOverdue { .. } => "drain_overdue",
            Reason::TerminateAgain { .. } => "terminate_again",
            Reason::BreakerOpened { .. } => "breaker_opened",
            Reason::Refused { .. } => "refused",
            Reason::TakenBack { .. } => "taken_back",
            Reason::NotTerminated { .. } => "not_terminated",
            Reason::NotOurs { .. } => "not_ours",
            Reason::Strangers { .. } => "strangers",
            Reason::TagsChanged { .. } => "tags_changed",
            Reason::Unlisted { .. } => "unlisted",
            Reason::PoolRetired => "pool_retired",
            Reason::HandedBack { .. } => "handed_back",
            Reason::LeftByDrain { .. } => "left_by_drain",
            Reason::Terminated => "terminated",
            Reason::ShutsDown => "shuts_down",
            Reason::Vanished => "vanished",
            Reason::HandBackAgain { .. } => "hand_back_again",
            Reason::HandBackFails { .. } => "hand_back_fails",
            Reason::JobsLeft { .. } => "jobs_left",
            Reason::SuspectJob { .. } => "suspect_job",
            Reason::NothingTaken { .. } => "nothing_taken",
            Reason::TwoAgents { .. } => "two_agents",
            Reason::EarlyEnds { .. } => "early_ends",
            Reason::QueuesUnknown { .. } => "queues_unknown",
            Reason::InstancesUnknown { .. } => "instances_unknown",
            Reason::QueueGone { .. } => "queue_gone",
            Reason::NoJobByItsAgent { .. } => "no_job_by_its_agent",
            Reason::StoppedUnseen { .. } => "stopped_unseen",
            Reason::Drill { .. } => "drill",
            Reason::DrillOver { .. } => "drill_over",
            Reason::RebalanceRecommended => "rebalance_recommended",
            Reason::Replaces { .. } => "replaces",
            Reason::Replaced { .. } => "replaced",
            Reason::ReplacesImage { .. } => "replaces_image",
            Reason::ReplacedImage { .. } => "replaced_image",
            Reason::EventScheduled { .. } => "event_scheduled",
            Reason::ReplacesScheduled { .. } => "replaces_scheduled",
            Reason::ReplacedScheduled { .. } => "replaced_scheduled",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_reason_is_called_as_the_ledger_calls_it() {
        for (reason, name) in [
            (Reason::Terminated, "terminated"),
            (Reason::PoolRetired, "pool_retired"),
            (Reason::RebalanceRecommended, "rebalance_recommended"),
            (Reason::LaunchUnanswered { attempt: 1 }, "launch_unanswered"),
            (Reason::DemandReturned { demand: 1, desired: 1 }, "demand_returned"),
        ] {
            let written = serde_json::to_value(&reason).expect("JSON");
            let tag = match &written {
                Value::Object(fields) => fields.keys().next().cloned(),
                other => other.as_str().map(str::to_owned),
            };
            assert_eq!((reason.name(), tag.as_deref()), (name, Some(name)));
        }
    }
}
