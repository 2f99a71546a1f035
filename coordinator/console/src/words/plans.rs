//! Plans and decisions in the reader's words, as `spillway explain` prints them.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use spillway_proto::v1;
use spillway_words::in_words;

use crate::times::{self, ago};

/// Plans, as `spillway explain` prints them.
pub fn plans(plans: &[v1::PlanRecord], now: SystemTime) -> String {
    let mut text = String::new();
    let several = plans.iter().any(|plan| plan.pool != plans[0].pool);
    for plan in plans {
        let _ = write_plan(&mut text, plan, several, now);
    }
    text
}

fn write_plan(out: &mut String, plan: &v1::PlanRecord, with_pool: bool, now: SystemTime) -> std::fmt::Result {
    let mut when = ago(plan.until.as_ref(), now);
    if let (Some(first), Some(last)) = (&plan.at, &plan.until) {
        let over = times::between(first, last);
        match plan.times {
            // Its numbers are those of the last tick.
            2.. => drop(write!(when, ", unchanged for {}", in_words(over))),
            // One of the record has the numbers of when it was made.
            _ if over >= Duration::from_secs(1) => {
                when =
                    format!("{} ({} UTC), in force for {}", ago(Some(first), now), times::clock(first), in_words(over));
            }
            _ => {}
        }
    }
    let desired = plan.desired.map_or("unknown".to_owned(), |desired| desired.to_string());
    let demand = plan.demand.map_or("unknown".to_owned(), |demand| demand.to_string());
    let pool = if with_pool { format!("{}: ", plan.pool) } else { String::new() };
    writeln!(out, "{pool}{when}: demand {demand}, instances desired {desired}")?;
    for decision in &plan.decisions {
        writeln!(out, "  -> {}", decision_line(decision))?;
    }
    for note in &plan.notes {
        writeln!(out, "     {note}")?;
    }
    Ok(())
}

/// A decision with its reason.
pub fn decision_line(decision: &v1::Decision) -> String {
    let kind = decision.kind.replace('_', " ");
    match decision.instance.as_str() {
        "" => format!("{kind}: {}", decision.reason),
        instance => format!("{kind} {instance}: {}", decision.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_of_the_record_says_when_it_was_made_and_for_how_long_it_was_in_force() {
        let at = |seconds: i64| Some(prost_types::Timestamp { seconds: 1_795_933_570 + seconds, nanos: 0 });
        let plan = v1::PlanRecord { demand: Some(7), at: at(0), until: at(300), times: 1, ..v1::PlanRecord::default() };
        let now = times::system_time(at(3600).as_ref());
        let line = "1 h ago (06:26:10 UTC), in force for 5 min: demand 7, instances desired unknown\n";
        assert_eq!(plans(std::slice::from_ref(&plan), now), line);
        let unchanged = "55 min ago, unchanged for 5 min: demand 7, instances desired unknown\n";
        assert_eq!(plans(&[v1::PlanRecord { times: 9, ..plan }], now), unchanged);
    }
}
