//! Bugs in an operator's drill: brain.

use super::list::{Mutant, Shown, bug};

pub const MUTANTS: &[Mutant] = &[
    bug(
        "drill-ignores-the-cap",
        "a drill launches beyond max_instances",
        "coordinator/brain/src/capacity/drill.rs",
        "    (room.min(tried), Some(note))",
        "    (tried.min(room + 2), Some(note))",
    ),
    bug(
        "drill-never-ends",
        "a drill's instances are never drained",
        "coordinator/brain/src/capacity/drill.rs",
        "drill.ended_at.is_none() && drill.has_all_outcomes();",
        "drill.ended_at.is_some() && drill.has_all_outcomes();",
    ),
    bug(
        "drill-while-held",
        "a drill launches while an operator holds the pool",
        "coordinator/brain/src/capacity/drill.rs",
        "    if let Some(reason) = &state.hold {\n        return (0, Some(Note::Held { reason: or_empty::some(reason.clone()) }));\n    }\n",
        "",
    )
    .shown_by(Shown::Scenario("drill/what_keeps_its_instance")),
    bug(
        "drill-scaled-in",
        "scale-in takes a drill's instances before they are ready",
        "coordinator/brain/src/capacity/scale_in.rs",
        "let excess = state.counts(now).capacity_without_drill().saturating_sub(desired) as usize;",
        "let excess = state.counts(now).capacity_to_be().saturating_sub(desired) as usize;",
    )
    .shown_by(Shown::Scenario("drill/demand_that_comes")),
    bug(
        "drill-drains-what-is-wanted",
        "a drill's instances are drained although the policy asks for them by then",
        "coordinator/brain/src/capacity/drill.rs",
        "false => (place < wanted).then_some(Stays::Wanted { desired }),",
        "false => (place < wanted && is_held).then_some(Stays::Wanted { desired }),",
    )
    .shown_by(Shown::Scenario("drill/demand_that_comes")),
    bug(
        "drill-asks-once",
        "an unanswered launch of a drill is not retried where no job waits",
        "coordinator/brain/src/controller/tick.rs",
        "wants_launches || (instance.is_for_drill && !is_held)",
        "wants_launches || (instance.is_for_drill && is_held && !is_held)",
    )
    .shown_by(Shown::Scenario("drill/an_empty_queue")),
    bug(
        "drill-settles-too-early",
        "what the same tick drains has no outcome for the drill before the next one",
        "coordinator/brain/src/capacity/drill.rs",
        "    follow(state, now);\n    let is_settled",
        "    let is_settled",
    )
    .shown_by(Shown::Scenario("drill/what_keeps_its_instance")),
];
