//! Doing what a plan says, with no choice left to make; and what operators may ask for.

use std::time::Duration;

use spillway_brain::{Controller, Decision, Event, InstanceId, Plan, in_words};
use spillway_proto::v1;
use spillway_proto::v1::session_response::Command;

use super::Reconciler;
use super::observe::Outcome;
use crate::{clock, view};

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
                    let hand_backs = self.hand_backs.clone();
                    let looks = self.looks.remove(&id).filter(|(then, _)| *then == certain);
                    let looks = looks.map(|(_, looks)| looks).unwrap_or_default();
                    self.under_way.spawn(async move {
                        let attempt = hand_backs.attempt(&id, certain, looks).await;
                        Outcome::HandedBack { id, certain, attempt }
                    });
                }
                Decision::Alert { .. } => {}
            }
        }
    }

    fn command(&self, id: &InstanceId, command: Command) {
        if let Err(problem) = self.agents.send(id, self.message(command)) {
            // The brain tells it again when its reports show that it does not know.
            tracing::warn!(pool = self.pool.name, %problem, "command not delivered");
        }
    }
}

impl Reconciler {
    /// Has an agent behave as if EC2 had given notice. What follows comes by its reports, as after a real one.
    pub(super) fn rehearse(&self, id: &InstanceId, notice: Duration) -> Result<String, String> {
        let state = self.controller.state();
        let Some(instance) = state.instance(id) else {
            return Err(format!("no instance {id} here: `spillway status` lists them"));
        };
        if instance.ec2.interrupted_at.is_some() || !instance.phase_kind().can_be_drained() {
            let going = if instance.ec2.interrupted_at.is_some() { " and interrupted" } else { "" };
            let phase = instance.phase_name();
            return Err(format!(
                "{id} is {phase}{going}: only a booting or ready instance can rehearse an interruption"
            ));
        }
        let deadline = Some(view::timestamp(clock::now() + notice));
        let message = self.message(Command::Rehearse(v1::Rehearse { deadline }));
        self.agents.send(id, message).map_err(|problem| problem.to_string())?;
        tracing::info!(pool = self.pool.name, %id, ?notice, "an interruption is rehearsed");
        Ok(format!(
            "{id} behaves as if EC2 took it in {}: it takes no new job, hands back what does not end in time, and is \
             replaced and terminated",
            in_words(notice)
        ))
    }

    fn message(&self, command: Command) -> v1::SessionResponse {
        let command_id = uuid::Uuid::new_v4().to_string();
        v1::SessionResponse { epoch: self.epoch, command_id, command: Some(command) }
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
            Some(instance) if instance.phase_kind().can_be_drained() => {
                Ok(format!("{id} takes no new job; it is terminated once its jobs are finished"))
            }
            Some(instance) => {
                Err(format!("{id} is {}: only a booting or ready instance can be drained", instance.phase_name()))
            }
            None => Err(format!("no instance {id} here: `spillway status` lists them")),
        },
        Event::OperatorCancelDrain { id } => match state.instance(id) {
            Some(instance) if instance.drain_can_be_cancelled() && state.would_drain_again() => Err(format!(
                "{id} would be drained again at once: 0 instances are wanted. `spillway hold` keeps what there is; cancel \
                 the drain after that"
            )),
            Some(instance) if instance.drain_can_be_cancelled() => Ok(format!("{id} goes back to work")),
            Some(instance) => Err(format!(
                "{id} is {}{}: there is no drain that could be taken back",
                instance.phase_name(),
                if instance.ec2.interrupted_at.is_some() { " and EC2 takes it" } else { "" }
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
