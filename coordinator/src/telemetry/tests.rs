use std::collections::BTreeSet;
use std::time::Duration;

use metrics::histogram;
use spillway_attention::{Engine, Kept, Severity};
use spillway_brain::{QueueBacklog, RefusalClass};
use spillway_proto::times::duration;
use spillway_record::Interval;

use super::*;
use crate::reconcile::Launches;
use crate::wire_time::timestamp;

const POOL: &str = "counted";

/// A pool of 200 instances, each with all the steps that have series, in every phase.
fn status() -> PoolStatus {
    let steps: Vec<v1::BootStep> = (0..16)
        .map(|n| v1::BootStep {
            name: format!("step {n}"),
            took: Some(duration(Duration::from_secs(n))),
            ..v1::BootStep::default()
        })
        .collect();
    let instance = |n: usize| v1::Instance {
        token: format!("t-{n}"),
        id: format!("i-{n:017x}"),
        phase: PHASES[n % PHASES.len()].to_owned(),
        capacity_type: if n.is_multiple_of(7) { "on-demand" } else { "spot" }.to_owned(),
        boot_steps: steps.clone(),
        last_heartbeat_at: Some(timestamp(Timestamp(1_764_000_000_000))),
        ..v1::Instance::default()
    };
    let median =
        |step: &v1::BootStep| v1::StepMedian { name: step.name.clone(), took: step.took, ..v1::StepMedian::default() };
    let view = v1::Pool {
        name: POOL.to_owned(),
        desired: Some(200),
        backlog: Some(v1::Backlog::default()),
        step_medians: steps.iter().map(median).collect(),
        instances: (0..200).map(instance).collect(),
        ..v1::Pool::default()
    };
    let classes: BTreeSet<&str> = RefusalClass::ALL.iter().map(|class| class.as_str()).chain(["breaker"]).collect();
    let outcomes: BTreeSet<&str> =
        RefusalClass::ALL.iter().flat_map(|class| [class.outcome(), class.taken_back()]).chain(["accepted"]).collect();
    PoolStatus {
        view,
        queues: vec![QueueBacklog { queue: "video".to_owned(), ..QueueBacklog::default() }],
        launches: Launches {
            blocked: classes.into_iter().map(|class| (class, false)).collect(),
            outcomes: outcomes.into_iter().map(|outcome| (outcome, 1)).collect(),
            ..Launches::default()
        },
        ..PoolStatus::default()
    }
}

/// What `/metrics` answers after this.
fn rendered(tell: impl FnOnce()) -> String {
    let recorder = names::builder().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        names::describe();
        tell();
    });
    handle.render()
}

#[test]
fn a_large_fleet_has_few_lines_and_no_instance_in_them() {
    let text = rendered(|| {
        record(&[status()]);
        needed(&[]);
        ticked(POOL, Duration::from_millis(3));
        observed(POOL, Duration::from_millis(3));
        histogram!("spillway_launch_to_ready_seconds", "pool" => POOL).record(60.0);
        for step in 0..8 {
            histogram!("spillway_boot_seconds", "pool" => POOL, "step" => format!("step {step}")).record(1.0);
        }
        for cause in ["scale_in", "interruption", "operator"] {
            histogram!("spillway_drain_seconds", "pool" => POOL, "cause" => cause).record(1.0);
        }
        for reason in 0..16 {
            counter!("spillway_decisions_total", "pool" => POOL, "decision" => "drain", "reason" => reason.to_string())
                .increment(1);
        }
        // Those that a coordinator makes by itself.
        for operation in ["DescribeInstances", "RunInstances", "TerminateInstances", "DescribeSpotInstanceRequests"] {
            histogram!("spillway_cloud_request_duration_seconds", "operation" => operation).record(0.1);
            for class in ["ok", "retry"] {
                counter!("spillway_cloud_requests_total", "operation" => operation, "class" => class).increment(1);
            }
        }
        for outcome in ["accepted", "refused", "unavailable"] {
            counter!("spillway_registrations_total", "outcome" => outcome).increment(1);
        }
    });
    let lines = text.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 400, "{lines} lines\n{text}");
    assert!(text.contains("spillway_instances{pool=\"counted\",phase=\"ready\",capacity_type=\"spot\"} 34"), "{text}");
    assert!(!text.contains("i-0") && !text.contains("quantile"), "{text}");
}

#[test]
fn waits_and_durations_of_jobs_are_told_and_those_that_missed_the_target() {
    let interval = Interval {
        queue: "video".to_owned(),
        starts: vec![(0, 1, Some(5_000)), (0, 1, Some(600_000)), (0, 1, Some(600_001)), (0, 1, None)],
        ends: vec![(0, 30_000)],
        ..Interval::default()
    };
    let text = rendered(|| ran(POOL, Duration::from_secs(600), &[interval]));
    for line in [
        "spillway_job_target_missed_total{pool=\"counted\",queue=\"video\"} 1",
        "spillway_job_wait_seconds_bucket{pool=\"counted\",queue=\"video\",le=\"1\"} 0",
        "spillway_job_wait_seconds_bucket{pool=\"counted\",queue=\"video\",le=\"10\"} 1",
        "spillway_job_wait_seconds_bucket{pool=\"counted\",queue=\"video\",le=\"600\"} 2",
        "spillway_job_wait_seconds_count{pool=\"counted\",queue=\"video\"} 3",
        "spillway_job_duration_seconds_sum{pool=\"counted\",queue=\"video\"} 30",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn what_a_person_was_told_of_is_one_and_everything_else_zero() {
    let alerts = BTreeSet::from([AlertKind::NotTerminated]);
    let text = rendered(|| record(&[PoolStatus { alerts, is_breaker_open: true, ..status() }]));
    let ones: Vec<&str> =
        text.lines().filter(|line| line.starts_with("spillway_alert{") && line.ends_with(" 1")).collect();
    assert_eq!(ones, ["spillway_alert{pool=\"counted\",kind=\"not_terminated\"} 1"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("spillway_alert{")).count(), AlertKind::ALL.len());
    assert!(text.contains("spillway_breaker_open{pool=\"counted\"} 1\n"), "{text}");
    assert!(text.contains("spillway_hold{pool=\"counted\"} 0\n"), "{text}");
}

/// What is told of a finding that lasts.
fn message(finding: &v1::Finding) -> Option<String> {
    let mut engine = Engine::new(Duration::from_secs(10));
    engine.take_over(POOL, Kept::default(), Timestamp(0));
    (0..60).map(|second| Timestamp(second * 1000)).find_map(|now| {
        engine.saw(POOL, std::slice::from_ref(finding), true, now);
        engine.due(now).map(|it| it.text)
    })
}

#[test]
fn each_kind_of_finding_is_told_in_status_page_metric_and_message_at_the_same_time() {
    for kind in Kind::ALL {
        let finding = v1::Finding {
            kind: kind.as_str().to_owned(),
            severity: kind.severity().as_str().to_owned(),
            title: format!("title of {}", kind.as_str()),
            ..v1::Finding::default()
        };
        let message = message(&finding);
        let expected = (kind.severity() != Severity::Hint).then(|| finding.title.clone());
        assert_eq!(message.as_ref().map(|it| it.contains(&finding.title)), expected.map(|_| true), "{message:?}");
        let mut status = status();
        let mut of_all = Vec::new();
        if kind.is_of_installation() { &mut of_all } else { &mut status.view.attention }.push(finding);
        let text = rendered(|| {
            record(&[status.clone()]);
            needed(&of_all);
        });
        let said: Vec<&str> = text.lines().filter(|line| line.starts_with("spillway_attention{")).collect();
        assert_eq!(said.len(), Kind::ALL.len());
        let ones: Vec<&str> = said.into_iter().filter(|line| line.ends_with(" 1")).collect();
        let pool = if kind.is_of_installation() { "" } else { POOL };
        let expected = format!("spillway_attention{{pool=\"{pool}\",kind=\"{}\"}} 1", kind.as_str());
        assert_eq!(ones, [expected]);
        // The document of `status --json`, and what the page is sent.
        let fleet = v1::GetFleetResponse { pools: vec![status.view], attention: of_all, ..Default::default() };
        let shown = spillway_console::json::fleet(&fleet).to_string();
        assert_eq!(shown.matches(&format!("\"kind\":\"{}\"", kind.as_str())).count(), 1, "{shown}");
    }
}

#[test]
fn the_heartbeat_that_is_told_is_the_oldest_of_those_that_work() {
    let of = |phase: &str, at| v1::Instance {
        phase: phase.to_owned(),
        last_heartbeat_at: Some(timestamp(Timestamp(at))),
        ..v1::Instance::default()
    };
    let instances = vec![of("ready", 90_000), of("draining", 70_000), of("terminating", 10_000)];
    let view = v1::Pool { instances, ..v1::Pool::default() };
    assert_eq!(heartbeat_age(&view, Timestamp(100_000)), 30.0);
    assert_eq!(heartbeat_age(&v1::Pool::default(), Timestamp(100_000)), 0.0);
}

#[test]
fn json_is_one_of_the_parts_of_a_level() {
    let parts = |level| without_json(level);
    assert_eq!(parts("json"), (String::new(), true));
    assert_eq!(parts("json,debug"), ("debug".to_owned(), true));
    assert_eq!(parts("info, json"), ("info".to_owned(), true));
    assert_eq!(parts("warn,spillway_brain=debug"), ("warn,spillway_brain=debug".to_owned(), false));
}
