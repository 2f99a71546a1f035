//! Bugs in the `wait` policy and its forecast, and in schedules: brain. Scenarios show these.

use super::list::{Mutant, Shown, bug};

const LATE: Shown = Shown::Scenario("wait/an_instance_is_launched");
const DRAIN: Shown = Shown::Scenario("wait/a_drain_is_cancelled");
const UNMEASURED: Shown = Shown::Scenario("wait/while_nothing_is_measured");

const WORTH: Shown = Shown::Scenario("wait/what_an_instance_is_worth");
const SCHEDULE: Shown = Shown::Scenario("schedule/instances_are_ready");

pub const MUTANTS: &[Mutant] = &[
    bug(
        "wait-launches-at-once",
        "a launch that is not due yet is made",
        "coordinator/brain/src/capacity/wait.rs",
        "if least(a_look_later).is_some_and(|later| later <= launches) {",
        "if least(a_look_later).is_some_and(|later| later < launches) {",
    )
    .shown_by(LATE),
    bug(
        "wait-gives-up-old-jobs",
        "a job that no launch can start within the target is promised nothing",
        "coordinator/brain/src/forecast.rs",
        "age.saturating_add(self.boot).div_ceil(self.target).max(1).saturating_mul(self.target)",
        "if age + self.boot > self.target { LONGEST } else { self.target }",
    )
    .shown_by(LATE),
    bug(
        "wait-idle-ignored",
        "an instance is given back as soon as the promise holds without it",
        "coordinator/brain/src/capacity/wait.rs",
        "    let is_due = span >= idle && since < now",
        "    let is_due = span >= idle / 1_000_000 && since < now",
    )
    .shown_by(LATE),
    bug(
        "wait-boots-beside-drains",
        "an instance is launched although a drain could be cancelled",
        "coordinator/brain/src/capacity/wait.rs",
        "scale_out::can_cancel(it, self.now, config) || goes_with_drill(it);",
        "goes_with_drill(it);",
    )
    .shown_by(DRAIN),
    bug(
        "wait-old-look",
        "a look at the jobs that is out of date decides",
        "coordinator/brain/src/capacity/wait.rs",
        "    if looked_at < observed_at && work.is_waiting() != (demand > 0) {",
        "    if looked_at < observed_at && demand == 1_000_000 {",
    )
    .shown_by(UNMEASURED),
    bug(
        "wait-believes-agents",
        "an agent's word of its worker's slots is believed whatever Redis shows",
        "coordinator/brain/src/measures.rs",
        "self.told_slots.map(|told| told.min(shown));",
        "self.told_slots.map(|told| told.min(usize::MAX.max(shown)));",
    )
    .shown_by(WORTH),
    bug(
        "wait-beyond-concurrency",
        "instances are launched beyond the queue's global concurrency",
        "coordinator/brain/src/capacity/wait.rs",
        "    let room = cap.min(helpful);",
        "    let room = cap.min(helpful.max(cap));",
    )
    .shown_by(WORTH),
    bug(
        "wait-paced-is-idle",
        "what a rate limit paces is taken to be idle",
        "coordinator/brain/src/capacity/wait.rs",
        "let spare = if backlog.is_idle() { capacity } else { 0 };",
        "let spare = if backlog.demand() == 0 { capacity } else { 0 };",
    )
    .shown_by(WORTH),
    bug(
        "schedule-too-late",
        "a scheduled instance is launched when it should be ready",
        "coordinator/brain/src/floor.rs",
        "now.until(floor.from) <= lead;",
        "now.until(floor.from) <= lead / 1000;",
    )
    .shown_by(SCHEDULE),
    bug(
        "schedule-remembered",
        "what a schedule asked for is what the policy goes on from",
        "coordinator/brain/src/capacity.rs",
        "state.by_policy = more.map(|_| by_policy);",
        "state.by_policy = more.map(|floor| by_policy.max(floor.instances));",
    )
    .shown_by(SCHEDULE),
    bug(
        "schedule-needs-demand",
        "no scheduled instance is launched while no job waits",
        "coordinator/brain/src/capacity/scale_out.rs",
        "        need = by_floor;",
        "        need = by_floor / 1000;",
    )
    .shown_by(SCHEDULE),
];
