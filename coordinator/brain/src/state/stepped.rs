//! Which times of the state move when a clock was set.
//!
//! Each type takes itself apart without `..`: a new field does not compile before it is decided whether it moves. What
//! EC2 or an agent calls a time of its own clock does not.

use crate::instance::{Instance, NotTerminated, Owed, Rebalance, SaidByAgent, SaidByEc2};
use crate::phase::Phase;
use crate::plan::{Decision, Planned};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scheduled::ScheduledEvent;
use crate::state::{Spare, State};
use crate::stepped::Stepped;

impl Stepped for Spare {
    fn step(&mut self, by: i64) {
        let Spare { since, seen, gave_at } = self;
        since.step(by);
        seen.step(by);
        gave_at.step(by);
    }
}

impl Stepped for State {
    fn step(&mut self, by: i64) {
        let State {
            nonce: _,
            launches: _,
            strangers: _,
            leader: _,
            led_since,
            backlog,
            observation_problem: _,
            seen_queues: _,
            listed_at,
            listing_problem: _,
            launch_image,
            proven_images: _,
            sustain,
            work,
            measures: _,
            spare,
            desired: _,
            by_policy: _,
            // The calendar's.
            floors: _,
            nothing_taken_since,
            instances,
            foreign: _,
            hold: _,
            held_since,
            resumed: _,
            drill,
            breaker,
            breaker_set_aside,
            early_ends,
            refusal,
            other_refusals,
            launch_outcomes: _,
            alerts: _,
            alert_reasons: _,
            pending,
            rebalances,
            launched_total: _,
            terminated_total: _,
            handed_back_total: _,
        } = self;
        led_since.step(by);
        backlog.step(by);
        listed_at.step(by);
        launch_image.step(by);
        sustain.step(by);
        work.step(by);
        spare.step(by);
        nothing_taken_since.step(by);
        held_since.step(by);
        instances.step(by);
        drill.step(by);
        breaker.step(by);
        breaker_set_aside.step(by);
        early_ends.step(by);
        refusal.step(by);
        other_refusals.step(by);
        pending.step(by);
        rebalances.step(by);
    }
}

impl Stepped for Instance {
    fn step(&mut self, by: i64) {
        let Instance {
            token: _,
            id: _,
            phase,
            phase_since,
            phase_reason: _,
            planned_at,
            accepted_at,
            boot_deadline,
            ready_at,
            adopted: _,
            boot_failed: _,
            ended_suddenly_at,
            is_settled: _,
            kept_until,
            ended_for: _,
            terminated_for: _,
            problem: _,
            ec2,
            agent,
            jobs_in_redis,
            takes_none_since,
            drain_told_at,
            cancelled_at,
            owed,
            token_used: _,
            not_terminated,
            drained_for_image: _,
            is_replacement: _,
            replaces: _,
            has_two_agents: _,
            is_for_drill: _,
        } = self;
        phase.step(by);
        phase_since.step(by);
        planned_at.step(by);
        accepted_at.step(by);
        boot_deadline.step(by);
        ready_at.step(by);
        ended_suddenly_at.step(by);
        kept_until.step(by);
        ec2.step(by);
        agent.step(by);
        jobs_in_redis.step(by);
        takes_none_since.step(by);
        drain_told_at.step(by);
        cancelled_at.step(by);
        owed.step(by);
        not_terminated.step(by);
    }
}

impl Stepped for NotTerminated {
    fn step(&mut self, by: i64) {
        let NotTerminated { class: _, detail: _, since, alerted: _, power_off_due: _ } = self;
        since.step(by);
    }
}

impl Stepped for Phase {
    fn step(&mut self, by: i64) {
        match self {
            Phase::Launching { attempts: _, next_try, last_try, deadline } => {
                next_try.step(by);
                last_try.step(by);
                deadline.step(by);
            }
            Phase::Booting { deadline } => deadline.step(by),
            Phase::Draining { cause: _, deadline, drained_at } => {
                deadline.step(by);
                drained_at.step(by);
            }
            Phase::Terminating { attempts: _, next_try } => next_try.step(by),
            Phase::Ready | Phase::Gone => {}
        }
    }
}

impl Stepped for SaidByEc2 {
    fn step(&mut self, by: i64) {
        let SaidByEc2 {
            state: _,
            launched_at,
            image: _,
            last_listed,
            missing_since,
            interrupted_at,
            noticed_at,
            is_rehearsed: _,
            rebalance,
            scheduled,
            retagged: _,
            took_back: _,
        } = self;
        launched_at.step(by);
        last_listed.step(by);
        missing_since.step(by);
        interrupted_at.step(by);
        noticed_at.step(by);
        rebalance.step(by);
        scheduled.step(by);
    }
}

impl Stepped for ScheduledEvent {
    fn step(&mut self, by: i64) {
        let ScheduledEvent { code: _, at, answered: _ } = self;
        at.step(by);
    }
}

impl Stepped for Rebalance {
    fn step(&mut self, by: i64) {
        // EC2's own time tells one recommendation from the next.
        let Rebalance { at: _, seen_at, answered: _ } = self;
        seen_at.step(by);
    }
}

impl Stepped for SaidByAgent {
    fn step(&mut self, by: i64) {
        let SaidByAgent {
            registered: _,
            last_report,
            phase: _,
            proven: _,
            named: _,
            active_jobs: _,
            jobless_since,
            is_rate_limited: _,
            limiter_max: _,
            worker_log: _,
        } = self;
        last_report.step(by);
        jobless_since.step(by);
    }
}

impl Stepped for Owed {
    fn step(&mut self, by: i64) {
        let Owed { emptied: _, hand_back, handed_back: _, handed_back_by_agent: _, suspects: _ } = self;
        hand_back.step(by);
    }
}

impl Stepped for Refusal {
    fn step(&mut self, by: i64) {
        let Refusal { class: _, code: _, message: _, at, until, times: _, after_accept: _ } = self;
        at.step(by);
        until.step(by);
    }
}

/// What was decided, and no tick has given out yet.
impl Stepped for Planned {
    fn step(&mut self, by: i64) {
        if let Decision::Drain { deadline, .. } = &mut self.decision {
            deadline.step(by);
        }
        match &mut self.reason {
            Reason::Interrupted { at, .. } => at.step(by),
            Reason::BreakerOpened { until, .. } => until.step(by),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    /// Instances in each phase, with all that can be known of them.
    const IN_EVERY_PHASE: &str = include_str!("../../tests/fixtures/state-in-every-phase.json");

    /// Milliseconds from the epoch until 2026.
    const TODAY: i64 = 1_764_000_000_000;

    /// Every number of the written state that can only be a time; with where it stands.
    fn times(value: &serde_json::Value, path: &str, found: &mut Vec<(String, u64)>) {
        match value {
            serde_json::Value::Number(number) => {
                found.extend(number.as_u64().filter(|n| *n > 1_000_000_000_000).map(|n| (path.to_owned(), n)));
            }
            serde_json::Value::Array(all) => {
                all.iter().enumerate().for_each(|(n, it)| times(it, &format!("{path}/{n}"), found));
            }
            serde_json::Value::Object(all) => {
                all.iter().for_each(|(key, it)| times(it, &format!("{path}/{key}"), found));
            }
            _ => {}
        }
    }

    fn times_of(state: &State) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        times(&serde_json::to_value(state).expect("it is written"), "", &mut found);
        found
    }

    #[test]
    fn every_time_that_the_ledger_keeps_moves_with_the_clock_but_ec2s_own() {
        let mut before: State = serde_json::from_str(IN_EVERY_PHASE).expect("it is read");
        before.step(TODAY);
        let at = Timestamp(TODAY as u64);
        before.instances[0].ec2.rebalance = Some(Rebalance { at, seen_at: Some(at), answered: false });
        let mut state = before.clone();
        for by in [7_200_000, -7_200_000, -86_400_000] {
            let was = times_of(&state);
            assert!(was.len() > 60, "{} times", was.len());
            state.step(by);
            for ((path, was), (_, is)) in was.iter().zip(times_of(&state)) {
                let expected = if path.ends_with("/rebalance/at") { 0 } else { by };
                assert_eq!(Timestamp(is).offset_from(Timestamp(*was)), expected, "{path}");
            }
        }
        state.step(86_400_000);
        assert_eq!(state, before);
    }
}
