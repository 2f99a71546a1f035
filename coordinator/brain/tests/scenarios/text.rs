//! The form of a scenario's file.
//!
//! ```text
//! # What this case shows.
//! set max_instances 3
//! 0:00..5:00 demand 5
//!   > 5:00 launch t-1: 5 jobs …
//! ---
//! # Another case: it begins anew.
//! ```
//!
//! Lines that begin with `>` are what the brain said; all others are the script and are kept as they are.

use std::fmt::Write as _;

use spillway_brain::{Config, Wait};

use crate::world::World;

/// The file as it should be: its script, and what the brain says to it now.
pub fn replayed(file: &str) -> String {
    let script: Vec<&str> = file.lines().filter(|line| !line.trim_start().starts_with('>')).collect();
    let cases = script.split(|line| line.trim() == "---").map(case);
    cases.collect::<Vec<_>>().join("---\n")
}

fn case(lines: &[&str]) -> String {
    let mut text = String::new();
    let mut config = Config::default();
    let mut world = None;
    for line in lines {
        writeln!(text, "{line}").expect("written");
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [] | ["#", ..] => {}
            // The policy is `wait`, with this target; its other settings can be set after it.
            ["set", "wait", target] => {
                config.wait = Some(Wait::default());
                config = set(&config, "wait.target", target);
            }
            ["set", key, value] => {
                assert!(world.is_none(), "settings come first: {line}");
                config = set(&config, key, value);
            }
            _ => {
                let world = world.get_or_insert_with(|| World::new(config.clone()));
                for said in world.line(line) {
                    writeln!(text, "  > {said}").expect("written");
                }
            }
        }
    }
    assert!(world.is_some(), "a case without a line: {lines:?}");
    text
}

/// One of the pool's settings: `policy.steps.0.instances 3`, `drain_timeout 7200s`, `rebalance fence`.
fn set(config: &Config, key: &str, value: &str) -> Config {
    let mut settings = serde_json::to_value(config).expect("settings are written");
    let place = settings.pointer_mut(&format!("/{}", key.replace('.', "/"))).unwrap_or_else(|| panic!("no {key}"));
    *place = match value.strip_suffix('s').and_then(|seconds| seconds.parse::<u64>().ok()) {
        Some(seconds) => serde_json::json!({ "secs": seconds, "nanos": 0 }),
        None => serde_json::from_str(value).unwrap_or_else(|_| value.into()),
    };
    serde_json::from_value(settings).unwrap_or_else(|error| panic!("{key} {value}: {error}"))
}

/// Lines that are only in one of them, each with the lines around it.
pub fn diff(old: &str, new: &str) -> String {
    const AROUND: usize = 2;
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // The longest common part of what begins at each pair of lines.
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    let is_near = |n: usize| lines[n.saturating_sub(AROUND)..].iter().take(2 * AROUND + 1).any(|line| line.0 != ' ');
    let near = lines.iter().enumerate().filter(|(n, _)| is_near(*n));
    near.fold(String::new(), |text, (_, (sign, line))| text + &format!("{sign} {line}\n"))
}
