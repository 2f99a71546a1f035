//! What a drill came to: the seconds of each step, what is billed, and what failed with its cause.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use spillway_console::{times, words};
use spillway_coordinator::clock;
use spillway_proto::v1;

/// EC2 bills by the second, and so many of them at least.
const BILLED_AT_LEAST: u64 = 60;
/// Lines of a failed step's output that are shown; `--json` has all that the agent told.
const TAIL_LINES: usize = 12;
/// Prices are asked of nobody.
const NO_PRICE: &str = "the price is not known here";

/// What was seen of an instance while it was followed: a coordinator that restarted has forgotten its boot steps.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    last: Option<v1::Instance>,
    /// By index.
    boot_steps: BTreeMap<u32, v1::BootStep>,
    worker_log: String,
}

impl Seen {
    pub(super) fn take_in(&mut self, instance: v1::Instance) {
        self.boot_steps.extend(instance.boot_steps.iter().map(|step| (step.index, step.clone())));
        if !instance.worker_log.is_empty() {
            self.worker_log.clone_from(&instance.worker_log);
        }
        self.last = Some(instance);
    }

    pub(super) fn last(&self) -> Option<&v1::Instance> {
        self.last.as_ref()
    }

    pub(super) fn boot_steps(&self) -> impl Iterator<Item = &v1::BootStep> {
        self.boot_steps.values()
    }

    /// `spot c6i.xlarge`, as far as EC2's list told.
    fn kind(&self) -> Option<String> {
        let last = self.last.as_ref()?;
        let parts = [last.capacity_type.as_str(), last.instance_type.as_str()];
        Some(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
            .filter(|kind| !kind.is_empty())
    }
}

/// The steps that an instance has taken, each with how long after its launch was decided.
pub(super) fn steps(it: &v1::DrillInstance) -> Vec<(&'static str, Duration)> {
    let times = [
        ("accepted by EC2", &it.accepted_at),
        ("running", &it.running_at),
        ("registered", &it.registered_at),
        ("ready", &it.ready_at),
        ("draining", &it.draining_at),
        ("drained", &it.drained_at),
        ("terminating", &it.terminating_at),
        // Of a launch that never was an instance.
        if it.id.is_empty() { ("given up", &it.gone_at) } else { ("terminated", &it.gone_at) },
    ];
    let after = |at: &prost_types::Timestamp| Some(times::between(it.planned_at.as_ref()?, at));
    let mut steps: Vec<_> = times.into_iter().filter_map(|(step, at)| Some((step, after(at.as_ref()?)?))).collect();
    steps.sort_by_key(|(_, after)| *after);
    steps
}

/// What a drill came to.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pool: String,
    drill: v1::Drill,
    /// By launch token.
    seen: BTreeMap<String, Seen>,
}

impl Report {
    pub(super) fn new(pool: String, drill: v1::Drill, seen: BTreeMap<String, Seen>) -> Self {
        Report { pool, drill, seen }
    }

    /// Why it failed; None where each instance was ready.
    pub(super) fn cause(&self) -> Option<String> {
        let failed: Vec<&v1::DrillInstance> = self.drill.instances.iter().filter(|it| it.outcome != "ready").collect();
        let mut causes: Vec<String> = failed.iter().map(|it| format!("{}: {}", title(it), it.cause)).collect();
        causes.dedup();
        let of = self.drill.instances.len();
        (!failed.is_empty()).then(|| {
            format!(
                "{} of {of} did not become ready: {}",
                spillway_words::counted(failed.len() as u64, "instance"),
                causes.join("; ")
            )
        })
    }

    fn seen(&self, it: &v1::DrillInstance) -> Option<&Seen> {
        self.seen.get(&it.token)
    }

    pub(super) fn in_lines(&self) -> String {
        let mut lines = String::from("\n");
        for it in &self.drill.instances {
            // Writing to a string does not fail.
            let _ = self.write_instance(&mut lines, it);
        }
        let ready = self.drill.instances.iter().filter(|it| it.outcome == "ready").count();
        let _ = writeln!(lines, "{ready} of {} ready", self.drill.instances.len());
        lines
    }

    fn write_instance(&self, out: &mut String, it: &v1::DrillInstance) -> std::fmt::Result {
        let seen = self.seen(it);
        let kind = seen.and_then(Seen::kind).map(|kind| format!(", {kind}")).unwrap_or_default();
        writeln!(out, "{}{kind}", title(it))?;
        for (step, after) in steps(it) {
            writeln!(out, "  {step:<22}{:>8.1} s", after.as_secs_f64())?;
            // They are between an agent's first word and its worker's proof.
            if step == "registered" {
                for step in seen.iter().flat_map(|seen| seen.boot_steps()) {
                    let took = step.took.as_ref().map(|took| format!("{:.1} s", times::span(took).as_secs_f64()));
                    writeln!(out, "    boot step {:<12}{:>8}", step.name, took.unwrap_or_else(|| "?".to_owned()))?;
                }
            }
        }
        if !it.cause.is_empty() {
            writeln!(out, "  FAILED  {}", it.cause)?;
            write_tails(out, seen)?;
        }
        if !it.stays.is_empty() {
            writeln!(out, "  stays   {}", it.stays)?;
        }
        match billed(it) {
            _ if it.accepted_at.is_none() => writeln!(out, "  cost    nothing: EC2 launched no instance"),
            0 => {
                writeln!(out, "  cost    nothing: EC2 does not bill what it takes back, or reclaims in the first hour")
            }
            seconds => writeln!(out, "  cost    {seconds} s billed{}; {NO_PRICE}", on(it)),
        }
    }

    /// The last line of `spillway drill --json`.
    pub(super) fn to_json(&self) -> Value {
        let drill = &self.drill;
        let count = |is_ready: bool| drill.instances.iter().filter(|it| (it.outcome == "ready") == is_ready).count();
        let whole = drill.at.as_ref().zip(drill.ended_at.as_ref());
        json!({
            "ok": self.cause().is_none(),
            "cause": self.cause(),
            "pool": self.pool,
            "drill": drill.number,
            "by": drill.by,
            "reason": Some(&drill.reason).filter(|reason| !reason.is_empty()),
            "ready": count(true),
            "failed": count(false),
            "seconds_total": whole.map(|(first, last)| times::between(first, last).as_secs_f64()),
            "billed_seconds": drill.instances.iter().map(billed).sum::<u64>(),
            "cost_usd": null,
            "instances": drill.instances.iter().map(|it| self.instance(it)).collect::<Vec<_>>(),
        })
    }

    fn instance(&self, it: &v1::DrillInstance) -> Value {
        let seen = self.seen(it);
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let last = seen.and_then(Seen::last);
        let steps: serde_json::Map<String, Value> = steps(it)
            .into_iter()
            .map(|(step, after)| {
                (format!("{}_after_seconds", step.replace(' ', "_").to_lowercase()), after.as_secs_f64().into())
            })
            .collect();
        json!({
            "id": text(&it.id),
            "ok": it.outcome == "ready",
            "cause": text(&it.cause),
            "stays": text(&it.stays),
            "steps": steps,
            "boot_steps": seen.iter().flat_map(|seen| seen.boot_steps()).map(spillway_console::json::step).collect::<Vec<_>>(),
            "worker_log": seen.and_then(|seen| text(&seen.worker_log)),
            "instance_type": last.and_then(|last| text(&last.instance_type)),
            "capacity_type": last.and_then(|last| text(&last.capacity_type)),
            "billed_seconds": billed(it),
        })
    }
}

/// What the steps that failed, and the worker, said last.
fn write_tails(out: &mut String, seen: Option<&Seen>) -> std::fmt::Result {
    let Some(seen) = seen else { return Ok(()) };
    for step in seen.boot_steps().filter(|step| step.state() == v1::StepState::Failed) {
        writeln!(out, "    {}", words::step_line(step, clock::system_now()))?;
        write_tail(out, &step.output_tail)?;
    }
    if !seen.worker_log.is_empty() {
        writeln!(out, "    the end of its worker's log:")?;
        write_tail(out, &seen.worker_log)?;
    }
    Ok(())
}

fn write_tail(out: &mut String, text: &str) -> std::fmt::Result {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().try_for_each(|line| writeln!(out, "      {line}"))
}

fn title(it: &v1::DrillInstance) -> &str {
    if it.id.is_empty() { "no instance" } else { &it.id }
}

/// Of one that is not ended by the drill: so far.
fn on(it: &v1::DrillInstance) -> &'static str {
    if it.terminating_at.is_none() { " so far, and on" } else { "" }
}

/// From EC2's answer to the end, or to now where it stays; EC2 begins a little later.
fn billed(it: &v1::DrillInstance) -> u64 {
    let Some(accepted_at) = it.accepted_at.as_ref().filter(|_| !it.is_free) else { return 0 };
    let lasted = match &it.terminating_at {
        Some(end) => times::between(accepted_at, end),
        None => times::since(Some(accepted_at), clock::system_now()),
    };
    (lasted.as_millis().div_ceil(1000) as u64).max(BILLED_AT_LEAST)
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn ready() -> v1::DrillInstance {
        v1::DrillInstance {
            token: "t-1".to_owned(),
            id: "i-1".to_owned(),
            outcome: "ready".to_owned(),
            planned_at: at(100),
            accepted_at: at(101),
            // EC2's list is later than its agent.
            running_at: at(115),
            registered_at: at(110),
            ready_at: at(140),
            draining_at: at(140),
            drained_at: at(145),
            terminating_at: at(150),
            gone_at: at(160),
            ..v1::DrillInstance::default()
        }
    }

    fn report(instances: Vec<v1::DrillInstance>) -> Report {
        let mut seen = Seen::default();
        let step = v1::BootStep {
            name: "install".to_owned(),
            state: v1::StepState::Failed.into(),
            problem: "exit code 1".to_owned(),
            output_tail: "lockfile is frozen\n".to_owned(),
            ..v1::BootStep::default()
        };
        seen.take_in(v1::Instance { boot_steps: vec![step], ..v1::Instance::default() });
        seen.take_in(v1::Instance { capacity_type: "spot".to_owned(), ..v1::Instance::default() });
        let drill = v1::Drill { number: 3, at: at(100), ended_at: at(160), instances, ..v1::Drill::default() };
        Report::new("video".to_owned(), drill, BTreeMap::from([("t-1".to_owned(), seen)]))
    }

    #[test]
    fn steps_are_in_the_order_in_which_they_were_seen_and_at_least_a_minute_is_billed() {
        let report = report(vec![ready()]);
        let order: Vec<&str> = steps(&ready()).iter().map(|(step, _)| *step).collect();
        let expected = ["accepted by EC2", "registered", "running", "ready", "draining", "drained"];
        assert_eq!(order[..6], expected);
        let json = report.to_json();
        assert_eq!((json["ok"].as_bool(), json["billed_seconds"].as_u64()), (Some(true), Some(60)), "{json:#}");
        assert_eq!(json["instances"][0]["steps"]["ready_after_seconds"], 40.0, "{json:#}");
        assert!(json["cost_usd"].is_null() && json["seconds_total"] == 60.0, "{json:#}");
        let lines = report.in_lines();
        assert!(lines.contains("i-1, spot\n") && lines.contains("60 s billed; the price is not known here"), "{lines}");
        assert!(report.cause().is_none());
    }

    #[test]
    fn what_failed_is_said_with_its_cause_and_the_end_of_the_steps_output() {
        let failed = v1::DrillInstance {
            outcome: "failed".to_owned(),
            cause: "boot failed: install".to_owned(),
            is_free: true,
            ..ready()
        };
        let refused = v1::DrillInstance {
            outcome: "failed".to_owned(),
            cause: "EC2 refused the launch: VcpuLimitExceeded: no".to_owned(),
            ..v1::DrillInstance::default()
        };
        let report = report(vec![failed, refused]);
        let cause = report.cause().unwrap_or_default();
        assert!(
            cause.starts_with("2 instances of 2 did not become ready: i-1: boot failed: install; no instance: EC2")
        );
        let lines = report.in_lines();
        for said in
            ["FAILED: exit code 1: lockfile is frozen", "      lockfile is frozen\n", "EC2 launched no instance"]
        {
            assert!(lines.contains(said), "{said}: {lines}");
        }
        assert_eq!(report.to_json()["billed_seconds"], 0);
    }
}
