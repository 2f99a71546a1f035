//! `spillway replay`: a file in, a row for each policy out, and nothing else asked.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use spillway_tests::binaries;

const KEYS: [&str; 13] = [
    "policy",
    "jobs",
    "wait_mean_seconds",
    "wait_p50_seconds",
    "wait_p95_seconds",
    "wait_p99_seconds",
    "over_target",
    "box_hours",
    "dollars",
    "launches",
    "interruptions",
    "jobs_killed",
    "bound_box_hours",
];

/// Without any of the variables that name a Redis, AWS or a configuration that is there.
fn replay(trace: &Path, more: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binaries::spillway());
    command.env_clear().env("SPILLWAY_CONFIG", "/nowhere/coordinator.toml").env("REDIS_URL", "redis://127.0.0.1:1");
    command.arg("replay").arg("--trace").arg(trace);
    command.args(["--primary-slots", "2", "--slots", "4", "--max-instances", "4", "--boot", "75s"]).args(more);
    let output = command.output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("an exit status"), text(output.stdout), text(output.stderr))
}

/// Each hour forty jobs at once, of one to three minutes.
fn arrivals() -> String {
    let line = |hour: u64, n: u64| format!("{},{}\n", hour * 3600, 60 + (hour * 7 + n * 13) % 120);
    let jobs = (0..12).flat_map(|hour| (0..40).map(move |n| line(hour, n)));
    std::iter::once("arrival_s,duration_s\n".to_owned()).chain(jobs).collect()
}

#[test]
fn each_policy_is_an_object_in_the_order_given_and_the_same_each_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace.csv");
    std::fs::write(&trace, arrivals()).expect("it is written");
    let file = directory.path().join("kept.toml");
    std::fs::write(&file, "kind = \"keda\"\njobs = 5\nidle = \"1m\"\n").expect("it is written");
    let file = file.to_str().expect("text");
    let named = ["steps", "cron", "wait:5m", "keda:5", "aws:300s", "buildkite:4", file];
    let mut more: Vec<&str> = named.iter().flat_map(|name| ["--policy", name]).collect();
    more.extend(["--boot-max", "110s", "--json", "--seed"]);
    let seeded = |seed| replay(&trace, &[&more[..], &[seed]].concat());
    let (code, out, _) = seeded("7");
    assert_eq!(code, 0, "{out}");
    let rows: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&out).expect("an array of objects");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["policy"].as_str()).collect();
    assert_eq!(names, named);
    for row in &rows {
        let mut keys: Vec<&str> = row.keys().map(String::as_str).collect();
        let mut expected = KEYS.to_vec();
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(row["jobs"], 480);
    }
    let number = |row: usize, key: &str| rows[row][key].as_f64().expect("a number");
    assert!(rows.iter().all(|row| row["launches"].as_u64() > Some(0)) && number(0, "jobs_killed") == 0.0, "{out}");
    assert!(number(2, "wait_p95_seconds") < number(0, "wait_p95_seconds"), "{out}");
    assert!(number(6, "box_hours") < number(3, "box_hours"), "the file's idle time is shorter: {out}");
    assert_eq!(seeded("7").1, out);
    assert_ne!(seeded("8").1, out, "other boots are drawn");
}

#[test]
fn people_read_a_table_of_80_columns() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace.csv");
    std::fs::write(&trace, arrivals()).expect("it is written");
    let (code, out, error) = replay(&trace, &["--policy", "steps", "--policy", "wait:5m", "--interrupted-every", "2h"]);
    assert_eq!((code, &*error), (0, ""));
    let rows: Vec<&str> = out.lines().skip_while(|line| !line.starts_with("policy")).take(3).collect();
    assert!(rows.len() == 3 && rows.iter().all(|row| row.len() <= 80), "{out}");
    assert!(rows[1].starts_with("steps ") && rows[2].starts_with("wait:5m "), "{out}");
    assert!(out.contains("480 jobs in 11 h; the primary runs 2 at a time") && out.contains("interruption"), "{out}");
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_ends_with_2() {
    let directory = tempfile::tempdir().expect("a directory");
    let trace = directory.path().join("trace.csv");
    std::fs::write(&trace, "arrival_s,duration_s\n1,2\nx,3\n").expect("it is written");
    let policy = directory.path().join("p.toml");
    std::fs::write(&policy, "kind = \"wait\"\ntarget = 5\n").expect("it is written");
    let policy = policy.to_str().expect("text");
    for (more, said) in [
        (&[][..], "line 3: \"x,3\" is not two numbers of seconds"),
        (&["--policy", "slo:5m"], "--policy slo:5m: there is no such policy: write steps, cron, wait:5m"),
        (&["--policy", policy], "invalid type: integer `5`, expected a string"),
        (&["--boot-max", "10s"], "--boot-max is shorter than --boot"),
        (&["--price=-1"], "--price is no amount of dollars"),
        (&["--boot-max", "10"], "\"10\" has no unit"),
    ] {
        let (code, out, error) = replay(&trace, more);
        assert_eq!((code, &*out), (2, ""), "{more:?}: {error}");
        assert!(error.contains(said), "{more:?}: {error}");
    }
    let (code, _, error) = replay(&directory.path().join("none.csv.gz"), &[]);
    assert!(code == 2 && error.contains("none.csv.gz: it cannot be read: No such file"), "{error}");
    std::fs::write(directory.path().join("plain.csv.gz"), "arrival_s,duration_s\n1,2\n").expect("it is written");
    let (code, _, error) = replay(&directory.path().join("plain.csv.gz"), &[]);
    assert!(code == 2 && error.contains("it is no gzipped text"), "{error}");
}
