//! The agent's messages on the wire. Owns the translation from the agent's types to the protocol's; never sends.

use std::time::{Duration, SystemTime};

use spillway_machine::{DrainOutcome, Phase};
use spillway_proto::times::{duration, timestamp as time};
use spillway_proto::v1::register_request::Proof;
use spillway_proto::v1::session_request::Message;
use spillway_proto::v1::{
    self, AgentPhase, BootStep, CommandResult, Drained, Farewell, Identity, Notice, NoticeKind, RegisterRequest,
    Schedule, SessionRequest, StepState,
};

use crate::boot::Attempt;
use crate::clock;
use crate::config::Step;
use crate::imds::poll::ReadNotice;
use crate::imds::{Document, Notice as Imds, ScheduledEvent};

/// The message with this inside.
pub fn envelope(message: Message) -> SessionRequest {
    SessionRequest { message: Some(message) }
}

/// The request for a session token. `can_prove`: a challenge can be answered here.
pub fn register(document: &Document, boot_id: &str, join_token: Option<&str>, can_prove: bool) -> RegisterRequest {
    RegisterRequest {
        identity: Some(Identity {
            instance_id: document.instance_id.clone(),
            account_id: document.account_id.clone(),
            region: document.region.clone(),
            availability_zone: document.availability_zone.clone(),
            image_id: document.image_id.clone(),
            instance_type: document.instance_type.clone(),
            private_ip: document.private_ip.clone(),
            boot_id: boot_id.to_owned(),
        }),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        proof: join_token.map(|token| Proof::JoinToken(token.to_owned())),
        can_prove,
    }
}

/// The agent's phase.
pub fn phase(phase: &Phase) -> AgentPhase {
    match phase {
        Phase::Identifying | Phase::Booting { .. } => AgentPhase::Booting,
        Phase::Proving => AgentPhase::Proving,
        Phase::Ready { .. } => AgentPhase::Ready,
        Phase::Draining(_) => AgentPhase::Draining,
        Phase::Drained(_) => AgentPhase::Drained,
        Phase::Failed(_) => AgentPhase::Failed,
    }
}

/// A step that begins.
pub fn step_running(index: usize, count: usize, step: &Step, attempt: u32, started_at: SystemTime) -> BootStep {
    BootStep {
        index: index as u32,
        count: count as u32,
        name: step.name.clone(),
        command: step.run.clone(),
        state: StepState::Running.into(),
        attempt,
        started_at: Some(time(started_at)),
        ..BootStep::default()
    }
}

/// A step that has ended.
pub fn step_ended(index: usize, count: usize, step: &Step, attempt: u32, ended: &Attempt) -> BootStep {
    let state = match ended.problem.is_none() {
        true => StepState::Succeeded,
        false if attempt <= step.retries => StepState::Retrying,
        false => StepState::Failed,
    };
    BootStep {
        state: state.into(),
        took: Some(duration(ended.took)),
        exit_code: ended.exit_code,
        output_tail: ended.tail.clone(),
        problem: ended.problem.clone().unwrap_or_default(),
        ..step_running(index, count, step, attempt, ended.started_at)
    }
}

/// A notice from EC2; `left` until an interruption.
pub fn notice(seen: &ReadNotice, left: Option<Duration>) -> Notice {
    let (kind, action, at) = match &seen.notice {
        Imds::Interruption { action, at } => (NoticeKind::Interruption, action.clone(), *at),
        Imds::Rebalance { at } => (NoticeKind::Rebalance, String::new(), *at),
        Imds::Maintenance { code, at } => (NoticeKind::Maintenance, code.clone(), *at),
    };
    let (at, seen_at) = (Some(time(at)), Some(time(seen.at)));
    Notice { kind: kind.into(), action, at, seen_at, left: left.map(duration) }
}

/// What EC2 has scheduled, as far as the coordinator reads it.
pub fn schedule(events: &[ScheduledEvent]) -> Schedule {
    const MOST: usize = 16;
    let event = |event: &ScheduledEvent| v1::ScheduledEvent {
        code: event.code.clone(),
        not_before: event.at.map(time),
        left: event.at.map(|at| duration(at.duration_since(clock::wall_now()).unwrap_or_default())),
    };
    Schedule { events: events.iter().take(MOST).map(event).collect() }
}

/// A rehearsed notice.
pub fn rehearsed(at: SystemTime, seen_at: SystemTime, left: Duration) -> Notice {
    let kind = NoticeKind::Interruption.into();
    let (at, seen_at) = (Some(time(at)), Some(time(seen_at)));
    Notice { kind, action: "rehearsal".to_owned(), at, seen_at, left: Some(duration(left)) }
}

/// How a drain ended.
pub fn drained(outcome: &DrainOutcome) -> Drained {
    let end = if outcome.killed { "the worker was killed" } else { "the worker stopped by itself" };
    let back = match outcome.handed_back {
        0 => String::new(),
        n => format!("; {n} handed back"),
    };
    let left = match outcome.jobs_left {
        Some(0) => "no job is left",
        Some(_) => "jobs are left: another worker runs them again once their locks have expired",
        None => "it is unknown whether jobs are left",
    };
    Drained {
        command_id: outcome.command.clone().unwrap_or_default(),
        clean: outcome.clean,
        jobs_finished: outcome.jobs_finished,
        jobs_left: outcome.jobs_left,
        detail: format!("{end}{back}; {left}"),
        jobs_handed_back: outcome.handed_back,
        killed: outcome.killed,
    }
}

/// The result of a command.
pub fn command_result(id: &str, refused: Option<&str>) -> CommandResult {
    CommandResult {
        command_id: id.to_owned(),
        accepted: refused.is_none(),
        problem: refused.unwrap_or_default().to_owned(),
    }
}

/// The last message of a session.
pub fn farewell(reason: &str) -> Farewell {
    Farewell { reason: reason.to_owned() }
}
