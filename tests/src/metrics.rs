//! What is made of the coordinator's metrics, alerts and dashboards, and promtool, which judges them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::binaries::workspace;
use crate::process::command;
use crate::programs;

/// A file of `coordinator/deploy`.
pub fn file(name: &str) -> PathBuf {
    workspace().join("coordinator/deploy").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// `alerts.yml`, and its tests.
pub fn alerts() -> (String, String) {
    (read("alerts.yml"), read("alerts_test.yml"))
}

/// Every dashboard, by its file's name.
pub fn dashboards() -> Vec<(String, Value)> {
    let entries = fs::read_dir(file("grafana")).expect("coordinator/deploy/grafana").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let parsed = |name: String| {
        let text = read(&format!("grafana/{name}"));
        let dashboard = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, dashboard)
    };
    names.into_iter().map(parsed).collect()
}

/// The expressions of a dashboard's panels.
pub fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

/// The metrics that an expression names, as it names them.
pub fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words.filter(|word| word.starts_with("spillway_")).map(str::to_owned).collect()
}

/// None where it is not installed, which is printed.
pub fn promtool() -> Option<Command> {
    let ours = Some(programs::tools().join("bin/promtool")).filter(|file| file.is_file());
    let found = ours.or_else(|| programs::find("promtool"));
    if found.is_none() {
        println!("NOT RUN: promtool is not installed (tests/setup)");
    }
    found.map(command)
}
