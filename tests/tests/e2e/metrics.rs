//! `/metrics` of a coordinator that has worked off a flood: what alerts and dashboards name exists, promtool finds
//! nothing in it, and it is short.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;

use spillway_emulator::Refuse;
use spillway_tests::jobs;
use spillway_tests::metrics::{alerts, dashboards, expressions, named, promtool};
use spillway_tests::process::text;
use spillway_tests::stage::{Setup, Stage};

use crate::refusals::metrics;

/// The value of a series, without what is in its labels beside these words.
fn sum(said: &str, metric: &str, labels: &[&str]) -> f64 {
    let lines = said.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// What promtool says of them.
fn check(said: &str) -> Option<String> {
    let mut promtool = promtool()?;
    let promtool = promtool.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut running = promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("promtool");
    running.stdin.take().expect("a pipe").write_all(said.as_bytes()).expect("it reads");
    let out = running.wait_with_output().expect("it ends");
    Some(text(&out.stdout) + &text(&out.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_flood_every_metric_that_is_named_exists_and_tells_of_it() {
    let environment = vec![("SPILLWAY_POOL_TARGET", "100ms".to_owned())];
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    jobs::add(&stage.redis, 8, 2.0);
    stage.until_ready(1).await;
    stage.until_zero().await;
    let said = metrics(&stage).await;

    let (rules, _) = alerts();
    let mut expected = named(&rules);
    for (_, dashboard) in dashboards() {
        expected.extend(expressions(&dashboard).iter().flat_map(|it| named(it)));
    }
    assert!(expected.len() > 25, "{expected:?}");
    let exist: BTreeSet<&str> = said.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let missing: Vec<&String> = expected.iter().filter(|name| !exist.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are not in\n{said}");

    for (metric, labels, least) in [
        ("spillway_job_wait_seconds_count", &["queue=\"video-processing\""][..], 4.0),
        ("spillway_job_duration_seconds_count", &["queue=\"video-processing\""], 4.0),
        ("spillway_job_duration_seconds_sum", &["queue=\"video-processing\""], 4.0),
        ("spillway_job_target_missed_total", &["queue=\"video-processing\""], 4.0),
        ("spillway_decisions_total", &["decision=\"launch\"", "reason=\"below_desired\""], 1.0),
        ("spillway_decisions_total", &["decision=\"drain\"", "reason=\"scale_in\""], 1.0),
        ("spillway_launch_to_ready_seconds_count", &[], 1.0),
        ("spillway_drain_seconds_count", &["cause=\"scale_in\""], 1.0),
        ("spillway_cloud_requests_total", &["operation=\"RunInstances\"", "class=\"ok\""], 1.0),
        ("spillway_cloud_request_duration_seconds_count", &["operation=\"TerminateInstances\""], 1.0),
        ("spillway_tick_seconds_count", &[], 5.0),
        ("spillway_observation_seconds_count", &[], 5.0),
    ] {
        assert!(sum(&said, metric, labels) >= least, "{metric} {labels:?} is below {least} in\n{said}");
    }
    assert_eq!(sum(&said, "spillway_alert", &[]), 0.0, "{said}");
    assert_eq!(sum(&said, "spillway_pool_target_seconds", &[]), 0.1);
    assert!(!said.contains("i-0"), "an instance is in a label\n{said}");
    let lines = said.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 400, "{lines} lines\n{said}");
    if let Some(words) = check(&said) {
        assert_eq!(words, "", "{said}");
        assert_ne!(check("spillway_x 1\n"), Some(String::new()), "it says nothing of anything");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_a_refused_call_and_an_interruption_are_told() {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 6, 60.0);
    let id = stage.until_ready(1).await.remove(0);
    stage.emulator().interrupt(&id, std::time::Duration::from_secs(20)).expect("a notice");
    let refuse = Refuse { action: "RunInstances".into(), code: "VcpuLimitExceeded".into(), calls: 1000, message: None };
    stage.emulator().refuse(refuse).expect("a fault");
    stage
        .until_async("the interruption and the refusal are told", async || {
            let said = metrics(&stage).await;
            sum(&said, "spillway_interruptions_total", &["kind=\"notice\""]) == 1.0
                && sum(&said, "spillway_cloud_requests_total", &["RunInstances", "class=\"quota\""]) >= 1.0
                && sum(&said, "spillway_launches_blocked", &["class=\"quota\""]) == 1.0
                && sum(&said, "spillway_alert", &["kind=\"quota\""]) == 1.0
        })
        .await;
    let said = metrics(&stage).await;
    assert_eq!(sum(&said, "spillway_interruptions_total", &["kind=\"silent\""]), 0.0, "{said}");
    assert_eq!(sum(&said, "spillway_hold", &[]), 0.0);
    let out = stage.coordinator().command(&["hold"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    stage.until_async("the hold is told", async || sum(&metrics(&stage).await, "spillway_hold", &[]) == 1.0).await;
}
