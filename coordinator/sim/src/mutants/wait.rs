//! Bugs in the `wait` policy and its forecast: brain. The simulator draws the `steps` alone: scenarios show these.

use super::list::{Mutant, Shown, bug};

const LATE: Shown = Shown::Scenario("wait/an_instance_is_launched");
const DRAIN: Shown = Shown::Scenario("wait/a_drain_is_cancelled");
const UNMEASURED: Shown = Shown::Scenario("wait/while_nothing_is_measured");

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
        "    let (desired, excess) = match span >= idle {",
        "    let (desired, excess) = match span >= idle / 1_000_000 {",
    )
    .shown_by(LATE),
    bug(
        "wait-boots-beside-drains",
        "an instance is launched although a drain could be cancelled",
        "coordinator/brain/src/capacity/wait.rs",
        "filter(|it| scale_out::can_cancel(it, self.now, config));",
        "filter(|it| scale_out::can_cancel(it, self.now, config) && it.is_gone());",
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
];
