//! What each event changes. Nothing is decided here but what an event decides by itself; that waits for the next tick.

use super::{agent, drill, hand_back, launch_image, leadership, listing, nothing_taken, operator, two_agents, unknown};
use crate::backlog::{Backlog, JobsByInstance};
use crate::capacity;
use crate::config::Config;
use crate::event::{Ec2State, Event};
use crate::hand_back::HandBack;
use crate::instance::Rebalance;
use crate::phase::PhaseKind;
use crate::phases::{booting, draining, launching, terminating};
use crate::state::State;
use crate::stepped::Stepped;
use crate::time::Timestamp;

pub(super) fn handle(state: &mut State, now: Timestamp, event: Event, config: &Config) {
    take_in(state, now, event, config);
    capacity::drill::follow(state, now);
}

fn take_in(state: &mut State, now: Timestamp, event: Event, config: &Config) {
    match event {
        Event::Started => leadership::started(state, now, config),
        Event::ClockStepped { by_ms } => state.step(by_ms),
        Event::LeadershipGained => leadership::gained(state, now, config),
        Event::LeadershipLost => state.leader = false,
        Event::BacklogObserved(backlog) => observed(state, now, backlog, config),
        Event::ObservationFailed { detail } => state.observation_problem = Some(detail),
        Event::WorkSeen(mut work) => {
            // A rate limit leaves workers without a job although some wait.
            let could_start = state.demand().is_none_or(|demand| demand > 0);
            state.measures.looked(&work, work.is_waiting() && could_start);
            // They are measured, and nothing else of them is wanted.
            work.finished.clear();
            state.work = Some((work, now));
        }
        Event::FloorsSet(floors) => state.floors = floors,
        Event::JobsSeen { asked_at, seen } => jobs_seen(state, asked_at, &seen),
        Event::InstancesListed { asked_at, instances } => listing::listed(state, now, asked_at, instances, config),
        Event::LaunchImageRead { image } => launch_image::told(state, now, image),
        Event::ListingFailed { detail } => state.listing_problem = Some(detail),
        Event::LaunchAnswered { token, answer } => launching::answered(state, now, token, answer, config),
        // EC2's list confirms it, or it is retried.
        Event::TerminateAccepted { id } => {
            if let Some(instance) = state.by_id(&id) {
                terminating::accepted(instance);
            }
        }
        Event::TerminateFailed { id, class, code, detail } => {
            if let Some(instance) = state.by_id(&id) {
                let detail = if detail.is_empty() { code } else { detail };
                terminating::refused(instance, now, (class, detail), config);
            }
        }
        Event::AgentRegistered { id } => agent::registered(state, now, &id),
        Event::RegisteredTwice { id } => two_agents::seen(state, id),
        Event::AgentReported(report) => agent::reported(state, now, report, config),
        Event::AgentDrained { id, jobs_left, jobs_handed_back } => {
            agent::drained(state, now, &id, jobs_left, jobs_handed_back);
        }
        Event::NoticeSeen { id, at, is_rehearsal } => {
            if let Some(instance) = state.by_id(&id) {
                draining::noticed(instance, now, at, is_rehearsal);
            }
        }
        Event::RebalanceRecommended { id, at } => {
            // Agents repeat what they saw when they come back.
            if let Some(instance) = state.by_id(&id)
                && instance.ec2.rebalance.is_none_or(|known| known.at < at)
            {
                instance.ec2.rebalance = Some(Rebalance { at, seen_at: Some(now), answered: false });
            }
        }
        Event::HandedBack { id, certain, handed_back, left, suspects } => {
            hand_back::suspected(state, &id, suspects);
            hand_back::answered(state, now, id, certain, handed_back, left);
        }
        Event::HandBackFailed { id, certain, detail } => hand_back::failed(state, now, id, certain, detail),
        Event::OperatorHold { reason } => {
            // A second hold changes the reason alone.
            state.held_since = state.held_since.filter(|_| state.hold.is_some()).or(Some(now));
            state.hold = Some(reason);
        }
        Event::OperatorResume { by } => operator::resume(state, now, by),
        Event::OperatorDrain { id, reason } => operator::drain(state, now, id, reason, config),
        Event::OperatorCancelDrain { id, by } => operator::cancel_drain(state, now, id, by, config),
        event @ Event::OperatorDrill { .. } => drill::begin(state, now, event, config),
    }
}

fn observed(state: &mut State, now: Timestamp, mut backlog: Backlog, config: &Config) {
    if let Some(detail) = unknown::missing(state, &backlog) {
        state.observation_problem = Some(detail);
        return;
    }
    if let Some((_, last)) = state.backlog {
        let blind = now.since(last);
        if blind > config.longest_gap() {
            state.instances.iter_mut().for_each(|instance| booting::prolong(instance, now, blind));
        }
    }
    let is_told = state.instances.iter().any(|instance| instance.is_capacity() && instance.agent.is_rate_limited);
    for queue in &mut backlog.queues {
        // Counted from the last observation, if it is recent enough to say something about now.
        let last = state.backlog.as_ref().filter(|(_, at)| now.since(*at) <= config.longest_gap());
        let last = last.and_then(|(last, _)| last.queues.iter().find(|it| it.queue == queue.queue));
        // A Worker is held back by its own limiter alone: jobs start up to the greatest, and without end where one has
        // none.
        let ready = state.instances.iter().filter(|instance| instance.is_capacity());
        let maxima = ready.map(|instance| instance.agent.limiter_max.get(&queue.queue).copied());
        let max = maxima.reduce(|one, other| one.zip(other).map(|(one, other)| one.max(other)));
        queue.infer_rate_limit(last, is_told, max.flatten());
    }
    state.sustain.observe(now, &backlog, config);
    nothing_taken::observed(state, now, &backlog, config);
    state.backlog = Some((backlog, now));
    state.observation_problem = None;
}

fn jobs_seen(state: &mut State, asked_at: Timestamp, seen: &JobsByInstance) {
    for instance in &mut state.instances {
        let jobs = instance.id.as_ref().and_then(|id| seen.jobs.get(id)).copied().unwrap_or(0);
        instance.jobs_in_redis = Some((jobs, asked_at));
        instance.owed.emptied &= jobs == 0;
        // Between the drain and its end it was rebooted: what its worker took since is owed once EC2 shows that end.
        let is_over = matches!(instance.ec2.state, Some(Ec2State::ShuttingDown | Ec2State::Terminated));
        let is_ending = instance.phase_kind() == PhaseKind::Terminating && !is_over;
        let is_undone = |it: &HandBack| is_ending && jobs > 0 && it.done_at().is_some_and(|at| at < asked_at);
        instance.owed.hand_back.take_if(|it| is_undone(it));
    }
}
