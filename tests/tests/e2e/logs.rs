//! The journal alone: a flood from its rise to its end can be read from the coordinator's log.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use spillway_tests::jobs;
use spillway_tests::stage::{Setup, Stage};

/// Has the fields of what is told of a pool.
const PAGE: &str = include_str!("../../../coordinator/deploy/operations.md");
/// Of one line, in bytes.
const LONGEST: usize = 4096;

fn entries(log: &str) -> Vec<Value> {
    let object = |line: &str| {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry.is_object(), "{line}");
        entry
    };
    log.lines().map(object).collect()
}

fn count(entries: &[Value], of: &[(&str, &str)]) -> usize {
    entries.iter().filter(|entry| of.iter().all(|(field, text)| entry[*field] == *text)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_understood_from_the_journal_alone() {
    let environment = vec![("SPILLWAY_LOG", "json".to_owned())];
    let stage = Stage::start(Setup { environment, ..Setup::default() }).await;
    jobs::add(&stage.redis, 6, 0.5);
    let ready = stage.until_ready(1).await;
    stage.until_zero().await;
    let log = stage.coordinator().process.log();
    assert!(log.lines().all(|line| line.len() <= LONGEST), "{log}");
    let entries = entries(&log);
    let id = ready[0].as_str();

    // Its rise, each decision with its reason, each phase, its end: once each.
    for of in [
        &[("message", "demand meets a threshold: its window begins")][..],
        &[("decision", "launch")],
        &[("decision", "drain"), ("instance", id)],
        &[("decision", "terminate"), ("instance", id)],
        &[("message", "EC2 accepted a launch"), ("instance", id)],
        &[("message", "instance booting"), ("instance", id)],
        &[("message", "instance ready"), ("instance", id)],
        &[("message", "instance gone"), ("instance", id)],
    ] {
        assert_eq!(count(&entries, of), 1, "{of:?} in\n{log}");
    }
    assert_eq!(count(&entries, &[("message", "desired capacity changed")]), 2, "up and down\n{log}");
    let rise = entries.iter().find(|entry| entry["to"] == 1).expect("it rose");
    assert_eq!(rise["reason"], "6 jobs ready to run: 5 or more for 3 s, so 1 instance desired");
    let decided = || entries.iter().filter(|entry| entry["message"] == "decided");
    assert!(decided().all(|entry| entry["reason"].as_str().is_some_and(|it| it.len() > 10)), "{log}");
    assert!(decided().all(|entry| entry["pool"] == "spillway"), "{log}");

    // Nothing is repeated at each tick, and no field has two names.
    let mut same = BTreeMap::<String, usize>::new();
    for entry in &entries {
        let mut entry = entry.clone();
        entry["timestamp"].take();
        *same.entry(entry.to_string()).or_default() += 1;
    }
    assert!(same.values().all(|count| *count <= 2), "{same:#?}");
    assert!(entries.len() < 60, "{} lines\n{log}", entries.len());
    let section = PAGE.split("\n## Logs").nth(1).and_then(|it| it.split("\n## ").next()).expect("a section");
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let fields: BTreeSet<&str> = cells.flat_map(|cell| cell.split(['`', ',', ' '])).collect();
    let of_pools = entries.iter().filter(|entry| entry["pool"].is_string()).filter_map(Value::as_object);
    let unknown: BTreeSet<&String> =
        of_pools.flat_map(|it| it.keys()).filter(|name| !fields.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "the page does not have {unknown:?}\n{log}");
}
