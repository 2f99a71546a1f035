//! A pool's status as `spillway.v1` messages: the brain's state, and what its agents reported last.

pub mod images;

use std::collections::BTreeMap;

use spillway_brain::{
    Backlog, Controller, Drill, Instance, InstanceId, Next, Outcome, PhaseKind, Plan, Refusal, State, Timestamp, Tried,
};
use spillway_proto::times::duration;
use spillway_proto::v1;

use crate::agents::Agents;
use crate::cloud::ListedInstance;
use crate::wire_time::timestamp;

/// One pool's status at `now`.
pub fn pool(
    name: &str,
    controller: &Controller,
    agents: &Agents,
    listed: &BTreeMap<InstanceId, ListedInstance>,
    now: Timestamp,
    plan: Option<v1::PlanRecord>,
) -> v1::Pool {
    let state = controller.state();
    let heartbeat_timeout = controller.config().heartbeat_timeout;
    // What was decided and asked for when a standby led is another's to say now.
    let led = Some(state).filter(|state| state.is_leader());
    let hold = led.and_then(State::hold);
    v1::Pool {
        name: name.to_owned(),
        desired: led.and_then(State::desired),
        max_instances: controller.config().max_instances,
        held: hold.is_some(),
        hold_reason: hold.unwrap_or_default().to_owned(),
        backlog: state.backlog().map(|(seen, at)| backlog(seen, *at)),
        observation_problem: state.observation_problem().unwrap_or_default().to_owned(),
        listing_problem: state.listing_problem().unwrap_or_default().to_owned(),
        instances: state
            .instances()
            .map(|it| instance(it, agents, listed, it.is_silent(now, heartbeat_timeout)))
            .collect(),
        plan,
        launched_total: state.launched_total(),
        terminated_total: state.terminated_total(),
        jobs_handed_back_total: state.handed_back_total(),
        launches_blocked: state.refusals().filter(|it| state.is_leader() && it.blocks(now)).map(blocked).collect(),
        drill: led.and_then(State::drill).map(drill),
        ..v1::Pool::default()
    }
}

fn drill(drill: &Drill) -> v1::Drill {
    v1::Drill {
        number: drill.number,
        by: drill.by.clone(),
        reason: drill.reason.clone().unwrap_or_default(),
        at: Some(timestamp(drill.at)),
        ended_at: drill.ended_at.map(timestamp),
        instances: drill.tried.iter().map(tried).collect(),
    }
}

fn tried(tried: &Tried) -> v1::DrillInstance {
    let (outcome, cause) = match &tried.outcome {
        None => ("", String::new()),
        Some(Outcome::Ready) => ("ready", String::new()),
        Some(Outcome::Failed { cause }) => ("failed", cause.clone()),
    };
    let times = &tried.times;
    v1::DrillInstance {
        token: tried.token.as_ref().map(|token| token.0.clone()).unwrap_or_default(),
        id: tried.id.as_ref().map(|id| id.0.clone()).unwrap_or_default(),
        outcome: outcome.to_owned(),
        cause,
        stays: tried.stays.map(|why| why.to_string()).unwrap_or_default(),
        is_free: tried.is_free,
        planned_at: times.planned_at.map(timestamp),
        accepted_at: times.accepted_at.map(timestamp),
        running_at: times.running_at.map(timestamp),
        registered_at: times.registered_at.map(timestamp),
        ready_at: times.ready_at.map(timestamp),
        draining_at: times.draining_at.map(timestamp),
        drained_at: times.drained_at.map(timestamp),
        terminating_at: times.terminating_at.map(timestamp),
        gone_at: times.gone_at.map(timestamp),
    }
}

fn instance(
    instance: &Instance,
    agents: &Agents,
    listed: &BTreeMap<InstanceId, ListedInstance>,
    silent: bool,
) -> v1::Instance {
    let record = instance.id.as_ref().and_then(|id| agents.record(id)).unwrap_or_default();
    let details = instance.id.as_ref().and_then(|id| listed.get(id));
    let text = |pick: fn(&ListedInstance) -> &str| details.map(|it| pick(it).to_owned()).unwrap_or_default();
    v1::Instance {
        token: instance.token.0.clone(),
        id: instance.id.as_ref().map(|id| id.0.clone()).unwrap_or_default(),
        phase: instance.phase_name().to_owned(),
        phase_reason: instance.phase_reason.clone(),
        phase_since: Some(timestamp(instance.phase_since)),
        phase_deadline: instance.phase_deadline().map(timestamp),
        launched_at: instance.accepted_at.map(timestamp),
        instance_type: text(|it| &it.instance_type),
        availability_zone: text(|it| &it.availability_zone),
        image_id: text(|it| &it.image_id),
        capacity_type: text(|it| if it.is_spot { "spot" } else { "on-demand" }),
        ec2_state: instance.ec2.state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
        connected: record.is_connected(),
        stale: instance.agent.registered && silent && has_agent(instance.phase_kind()),
        last_heartbeat_at: record.last_heartbeat.map(timestamp),
        heartbeat: record.heartbeat,
        boot_steps: record.boot_steps.into_values().collect(),
        notices: record.notices,
        agent_version: record.version,
        jobs_in_redis: instance.jobs_in_redis.map(|(jobs, _)| jobs),
        jobs_handed_back: instance.jobs_handed_back(),
        hand_back: hand_back(instance).to_owned(),
        terminate_problem: instance.not_terminated.as_ref().map(|it| it.detail.clone()).unwrap_or_default(),
        worker_log: instance.agent.worker_log.clone().unwrap_or_default(),
        for_drill: instance.is_for_drill,
        other_image: None,
        other_commit: None,
        dollars_per_hour: None,
    }
}

/// What is terminated stops its agent: its silence is no news.
fn has_agent(phase: PhaseKind) -> bool {
    matches!(phase, PhaseKind::Booting | PhaseKind::Ready | PhaseKind::Draining)
}

fn blocked(refusal: &Refusal) -> v1::LaunchesBlocked {
    v1::LaunchesBlocked {
        class: refusal.class.as_str().to_owned(),
        code: refusal.code.clone(),
        message: refusal.message.clone(),
        at: Some(timestamp(refusal.at)),
        retried_at: refusal.until.map(timestamp),
        needs_a_person: refusal.class.needs_a_person(),
        after_accept: refusal.after_accept,
    }
}

fn hand_back(instance: &Instance) -> &'static str {
    match instance.owed.hand_back.as_ref().map(|it| it.next) {
        None => "",
        Some(Next::Ask { .. } | Next::Answer { .. }) => "under-way",
        Some(Next::Done { .. }) => "done",
        Some(Next::GivenUp { .. }) => "given-up",
    }
}

fn backlog(backlog: &Backlog, at: Timestamp) -> v1::Backlog {
    let sum = |pick: fn(&spillway_brain::QueueBacklog) -> u64| backlog.queues.iter().map(pick).sum();
    let limits: Vec<u64> = backlog.queues.iter().filter_map(|queue| queue.concurrency).collect();
    v1::Backlog {
        at: Some(timestamp(at)),
        waiting: sum(|queue| queue.waiting),
        prioritized: sum(|queue| queue.prioritized),
        delayed: sum(|queue| queue.delayed),
        delayed_due: sum(|queue| queue.delayed_due),
        active: sum(|queue| queue.active),
        demand: backlog.demand(),
        paused: !backlog.queues.is_empty() && backlog.queues.iter().all(|queue| queue.paused),
        // All queues together have a limit only if each has one.
        concurrency: (limits.len() == backlog.queues.len()).then(|| limits.iter().sum()),
        oldest_age: backlog.queues.iter().filter_map(|queue| queue.oldest_age).max().map(duration),
        completed: sum(|queue| queue.completed),
        failed: sum(|queue| queue.failed),
    }
}

/// A plan as `explain` shows it.
pub fn plan(pool: &str, plan: &Plan) -> v1::PlanRecord {
    v1::PlanRecord {
        pool: pool.to_owned(),
        at: Some(timestamp(plan.at)),
        demand: plan.demand,
        desired: plan.desired,
        decisions: plan
            .decisions
            .iter()
            .map(|planned| v1::Decision {
                kind: planned.decision.kind().to_owned(),
                instance: planned.decision.subject().to_owned(),
                reason: planned.reason.to_string(),
            })
            .collect(),
        notes: plan.notes.iter().map(ToString::to_string).collect(),
        times: 1,
        until: Some(timestamp(plan.at)),
    }
}

#[cfg(test)]
mod tests {
    use spillway_brain::{Config, Event};

    use super::*;

    #[test]
    fn a_standby_does_not_say_what_was_held_desired_and_drilled_when_it_led() {
        let mut controller = Controller::new(Config::default(), "nonce");
        let now = Timestamp(1_000);
        let drill = Event::OperatorDrill { instances: 1, by: "root".to_owned(), reason: String::new() };
        let hold = Event::OperatorHold { reason: "a look".to_owned() };
        let empty = Event::InstancesListed { asked_at: now, instances: Vec::new() };
        for event in [Event::LeadershipGained, Event::BacklogObserved(Backlog::default()), empty, drill] {
            controller.handle(now, event);
        }
        controller.tick(now);
        controller.handle(now, hold);
        let said = |controller: &Controller| {
            let shown = pool("video", controller, &Agents::default(), &BTreeMap::new(), now, None);
            (shown.desired.is_some(), shown.held, shown.hold_reason, shown.drill.is_some())
        };
        assert_eq!(said(&controller), (true, true, "a look".to_owned(), true));
        controller.handle(now, Event::LeadershipLost);
        assert_eq!(said(&controller), (false, false, String::new(), false));
        controller.handle(now, Event::LeadershipGained);
        assert!(said(&controller).1, "a leader again says what it knows, until the ledger's state is there");
    }

    #[test]
    fn silence_is_news_only_where_an_agent_should_speak() {
        use PhaseKind::{Booting, Draining, Gone, Launching, Ready, Terminating};
        assert!([Booting, Ready, Draining].into_iter().all(has_agent));
        assert!(![Launching, Terminating, Gone].into_iter().any(has_agent));
    }
}
