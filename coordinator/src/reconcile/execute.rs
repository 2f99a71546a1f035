//! Doing what a plan says, with no choice left to make; and what operators may ask for.

use spillway_brain::{Controller, Decision, Event, InstanceId, Plan};
use spillway_proto::v1;
use spillway_proto::v1::coordinator_message::Command;

use super::Reconciler;
use super::observe::Outcome;
use crate::view;

impl Reconciler {
    pub(super) fn execute(&mut self, plan: &Plan) {
        for planned in &plan.decisions {
            let reason = planned.reason.to_string();
            let (kind, subject) = (planned.decision.kind(), planned.decision.subject());
            match &planned.decision {
                Decision::Alert { .. } => tracing::error!(pool = self.pool.name, reason, "alert"),
                _ => tracing::info!(pool = self.pool.name, subject, reason, "{kind}"),
            }
            match planned.decision.clone() {
                Decision::Launch { token } => {
                    let (cloud, pool) = (self.cloud.clone(), self.pool.clone());
                    self.under_way.spawn(async move {
                        let answer = cloud.launch(&pool, &token).await;
                        Outcome::Launched { token, answer }
                    });
                }
                Decision::Terminate { id } => {
                    let cloud = self.cloud.clone();
                    self.under_way.spawn(async move {
                        let answer = cloud.terminate(&id).await;
                        Outcome::Terminated { id, answer }
                    });
                }
                Decision::Drain { id, deadline } => {
                    let drain = v1::Drain { deadline: Some(view::timestamp(deadline)), reason };
                    self.command(&id, Command::Drain(drain));
                }
                Decision::CancelDrain { id } => self.command(&id, Command::CancelDrain(v1::CancelDrain {})),
                Decision::HandBack { id, certain } => {
                    let detail = "this coordinator cannot hand jobs back yet".to_owned();
                    self.tell(Event::HandBackFailed { id, certain, detail });
                }
                Decision::Alert { .. } => {}
            }
        }
    }

    fn command(&self, id: &InstanceId, command: Command) {
        let command_id = uuid::Uuid::new_v4().to_string();
        let message = v1::CoordinatorMessage { epoch: self.epoch, command_id, command: Some(command) };
        if let Err(problem) = self.agents.send(id, message) {
            // The brain tells it again when its reports show that it does not know.
            tracing::warn!(pool = self.pool.name, %problem, "command not delivered");
        }
    }
}

/// What an operator's wish comes to: what will happen, or why it cannot.
pub(super) fn operator(controller: &Controller, event: &Event) -> Result<String, String> {
    let state = controller.state();
    match event {
        Event::OperatorHold { .. } => {
            Ok("held: nothing is launched or scaled in until `spillway resume`; what is under way goes on".to_owned())
        }
        Event::OperatorResume => Ok("resumed: the next tick decides again".to_owned()),
        Event::OperatorDrain { id, .. } => match state.instance(id) {
            Some(instance) if matches!(instance.phase_name(), "booting" | "ready") => {
                Ok(format!("{id} takes no new job; it is terminated once its jobs are finished"))
            }
            Some(instance) => {
                Err(format!("{id} is {}: only a booting or ready instance can be drained", instance.phase_name()))
            }
            None => Err(format!("no instance {id} here: `spillway status` lists them")),
        },
        Event::OperatorCancelDrain { id } => match state.instance(id) {
            Some(instance) if instance.drain_can_be_cancelled() => Ok(format!("{id} goes back to work")),
            Some(instance) => Err(format!(
                "{id} is {}{}: there is no drain that could be taken back",
                instance.phase_name(),
                if instance.interrupted_at.is_some() { " and EC2 takes it" } else { "" }
            )),
            None => Err(format!("no instance {id} here: `spillway status` lists them")),
        },
        _ => Err("not an operator's wish".to_owned()),
    }
}

/// Makes this ledger's launch tokens unlike any other's.
pub(super) fn nonce() -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("spillway-{}", &id[..12])
}
