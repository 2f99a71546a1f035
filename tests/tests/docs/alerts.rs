//! Alerts and dashboards: promtool takes them, each alert fires and is silent where its tests say so, and what it links
//! to is there. That the metrics exist is proven on a real coordinator (`e2e`'s `metrics`).

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use spillway_tests::metrics::{alerts, dashboards, expressions, file, named, promtool};
use spillway_tests::process::{output, text};

use super::pages;

/// The names of the alerts, each with its lines.
fn each_alert(rules: &str) -> Vec<(&str, &str)> {
    let alerts = rules.split("      - alert: ").skip(1);
    alerts.map(|alert| alert.split_once('\n').expect("a name and its lines")).collect()
}

/// What `promtool` says of a file; None where it is not installed.
fn judged(arguments: &[&str], path: &std::path::Path) -> Option<(bool, String)> {
    let out = output(promtool()?.args(arguments).arg(path));
    Some((out.status.success(), text(&out.stdout) + &text(&out.stderr)))
}

#[test]
fn each_alert_fires_and_is_silent_where_its_tests_say_so() {
    let (rules, tests) = alerts();
    for (name, _) in each_alert(&rules) {
        let case = |what: &str| {
            let mut found = tests.split("\n  - name: ").filter(|it| it.starts_with(&format!("\"{name}: {what}")));
            found.next().unwrap_or_else(|| panic!("{name} has no case that {what}")).to_owned()
        };
        assert!(case("fires").contains("exp_labels"), "{name}");
        let silent = case("does not fire");
        assert!(!silent.contains("exp_") && silent.contains(&format!("alertname: {name} ")), "{name}: {silent}");
    }
    for arguments in [["check", "rules"], ["test", "rules"]] {
        let name = if arguments[0] == "check" { "alerts.yml" } else { "alerts_test.yml" };
        let Some((is_well, said)) = judged(&arguments, &file(name)) else { return };
        assert!(is_well && said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn an_alert_that_would_not_fire_any_more_is_found() {
    let (rules, tests) = alerts();
    for (name, alert) in each_alert(&rules) {
        let directory = tempfile::tempdir().expect("a directory");
        // In its place, one that never fires.
        let severity = alert.lines().find(|line| line.contains("severity:")).expect("a severity");
        let never = rules.replace(alert, &format!("        expr: vector(0) > 1\n{severity}\n"));
        fs::write(directory.path().join("alerts.yml"), never).expect("a file");
        let path = directory.path().join("alerts_test.yml");
        fs::write(&path, &tests).expect("a file");
        let Some((is_well, said)) = judged(&["test", "rules"], &path) else { return };
        assert!(!is_well && said.contains(name), "{name}: {said}");
    }
}

#[test]
fn each_alert_says_what_it_is_and_links_to_its_section_of_the_runbook() {
    let (rules, _) = alerts();
    let anchors = pages::page("coordinator/deploy/operations.md").anchors();
    let mut linked = BTreeSet::new();
    for (name, alert) in each_alert(&rules) {
        let value = |key: &str| {
            let line = alert.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}: ")));
            line.unwrap_or_else(|| panic!("{name} has no {key}")).trim_matches('"').to_owned()
        };
        assert!(value("summary").len() > 10 && value("description").len() > value("summary").len(), "{name}");
        assert!(["{ severity: page }", "{ severity: ticket }"].contains(&value("labels").as_str()), "{name}");
        let url = value("runbook_url");
        let anchor = url.split_once("/runbook#").unwrap_or_else(|| panic!("{name}: {url}")).1.to_owned();
        assert!(anchors.contains(&anchor), "{name}: there is no heading #{anchor}");
        linked.insert(anchor);
    }
    let sections: BTreeSet<String> = anchors.into_iter().filter(|it| it.starts_with("spillway")).collect();
    assert_eq!(linked, sections, "the alerts, and the sections of the runbook about one");
    assert!(linked.len() >= 13, "{linked:?}");
}

#[test]
fn dashboards_are_of_the_form_that_grafana_imports() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        assert!(variables.iter().any(|it| it["type"] == "datasource" && it["name"] == "datasource"), "{name}");
        assert!(dashboard["id"].is_null() && dashboard["schemaVersion"].as_u64() >= Some(36), "{name}");
        assert!(uids.insert(dashboard["uid"].as_str().expect("a uid").to_owned()), "{name}: its uid is another's");
        let panels = dashboard["panels"].as_array().expect("panels");
        let ids: BTreeSet<u64> = panels.iter().filter_map(|panel| panel["id"].as_u64()).collect();
        assert!(ids.len() == panels.len() && panels.len() > 5, "{name}: panels share an id");
        let mut cells = BTreeSet::new();
        for panel in panels {
            let title = panel["title"].as_str().expect("a title");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            assert!(["stat", "timeseries"].contains(&panel["type"].as_str().unwrap_or_default()), "{name}: {title}");
            assert!(panel["targets"].as_array().is_some_and(|it| !it.is_empty()), "{name}: {title}");
            let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
            assert!(at("x") + at("w") <= 24, "{name}: {title} is wider than the page");
            for cell in (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y))) {
                assert!(cells.insert(cell), "{name}: {title} lies on another panel");
            }
        }
    }
    assert_eq!(uids.len(), 3);
}

#[test]
fn expressions_of_dashboards_are_some_that_prometheus_understands() {
    let filled = |expression: &str| expression.replace("$pool", "p").replace("$__rate_interval", "5m");
    let mut rules = "groups:\n  - name: g\n    rules:\n".to_owned();
    let mut count = 0;
    for (name, dashboard) in dashboards() {
        for expression in expressions(&dashboard) {
            assert!(!named(&expression).is_empty(), "{name}: {expression}");
            let expression = Value::from(filled(&expression));
            rules += &format!("      - {{ record: r_{count}, expr: {expression} }}\n");
            count += 1;
        }
    }
    assert!(count > 30, "only {count} expressions");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("rules.yml");
    fs::write(&path, rules).expect("a file");
    let Some((is_well, said)) = judged(&["check", "rules"], &path) else { return };
    assert!(is_well && said.contains(&format!("{count} rules found")), "{said}");
}
