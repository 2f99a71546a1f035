//! `deploy/settings.md` has every key, with the default that the code has.

use super::super::keys::{KEYS, variable};
use super::{PLAN, environment, parse};
use crate::config::{Needs, Settings};

const PAGE: &str = include_str!("../../../deploy/settings.md");

/// Key, default and the plan's variable of each row of the coordinator's table.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let section = PAGE.split("## The coordinator's settings").nth(1).expect("its section");
    let section = section.split("\n## ").next().expect("its text");
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let mut cell = || cells.next().expect("a cell").trim_matches('`');
        Some((cell(), cell(), cell()))
    };
    section.lines().filter_map(row).collect()
}

/// The settings, all in one text; a warning says where a value came from, which is not compared.
fn shown(pairs: &[(&str, &str)]) -> String {
    let settings: Settings = parse("f", "", &environment(pairs), Needs::Everything).unwrap();
    let settings = Settings { warnings: Vec::new(), ..settings };
    format!("{settings:?}")
}

/// As a variable has it: without the quotes of a text.
fn written(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

#[test]
fn the_settings_page_has_every_key_with_its_default_and_no_other() {
    let on_the_page: Vec<_> = rows().into_iter().map(|(key, default, _)| (key, default)).collect();
    let in_the_code: Vec<_> = KEYS.iter().map(|(key, _, default)| (*key, *default)).collect();
    assert_eq!(on_the_page, in_the_code);
}

#[test]
fn a_default_of_the_settings_page_is_what_happens_without_it() {
    let plain = shown(&PLAN);
    let mut count = 0;
    for (key, default, _) in rows() {
        // `grpc.advertise` is where the coordinator listens, if that is one address; the ledger is in `redis.url`.
        let default = match default {
            "required" | "none" | "grpc.listen" | "grpc.tls.certificate_file" | "$STATE_DIRECTORY" => continue,
            "redis.url" => "redis://127.0.0.1:6379",
            other => written(other),
        };
        count += 1;
        let name = variable(key);
        let with = |value: &str| shown(&[&PLAN[..], &[(name.as_str(), value)]].concat());
        assert_eq!(with(default), plain, "{key} = {default}");
    }
    assert!(count > 25, "only {count} defaults were found");
}

#[test]
fn a_key_without_a_default_is_what_the_settings_page_says() {
    // What a key of a secret names is read.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "redis://elsewhere:6379").unwrap();
    let secret = file.path().to_str().unwrap();
    let url_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(url_file.path(), "https://hooks.example/x").unwrap();
    for (key, default, _) in rows() {
        let name = variable(key);
        match default {
            "required" => {
                let needed = ["REDIS_URL", "QUEUE_NAMES", "EC2_LAUNCH_TEMPLATE_ID"];
                let of_plan = rows().into_iter().find(|row| row.0 == key).expect("it").2;
                assert!(needed.contains(&of_plan), "{key}: {of_plan}");
                let rest: Vec<(&str, &str)> = PLAN.into_iter().filter(|(name, _)| *name != of_plan).collect();
                assert!(parse("f", "", &environment(&rest), Needs::Everything).is_err(), "{key} is not required");
            }
            // Its variable is among the plan's in these tests.
            "none" => {
                let is_secret = ["redis.url_file", "ledger.url_file", "grpc.join_token_file"].contains(&key);
                let value = match key {
                    _ if is_secret => secret,
                    "pool.application" => "/opt/app",
                    "notify.webhook_url" => "https://hooks.example/x",
                    "notify.webhook_url_file" => url_file.path().to_str().unwrap(),
                    _ => "something",
                };
                let with = shown(&[&PLAN[..], &[(name.as_str(), value)]].concat());
                assert_ne!(with, shown(&PLAN), "{key} does nothing");
            }
            _ => {}
        }
    }
}

#[test]
fn a_variable_of_the_plan_sets_what_the_settings_page_says() {
    let mut count = 0;
    for (key, _, of_plan) in rows().into_iter().filter(|(.., of_plan)| !of_plan.is_empty()) {
        count += 1;
        let value = match of_plan {
            "REDIS_URL" => "redis://127.0.0.1:6380",
            "QUEUE_SCALE_UP_THRESHOLD" | "EC2_SPOT_MAX_COUNT" | "QUEUE_SCALE_DOWN_IDLE_MINUTES" => "7",
            "EC2_LAUNCH_TEMPLATE_ID" => "lt-7",
            _ => "another",
        };
        let as_key = match of_plan {
            "QUEUE_SCALE_DOWN_IDLE_MINUTES" => "7m",
            "QUEUE_SCALE_UP_THRESHOLD" => {
                "[{ jobs = 7, for = \"5m\", instances = 1 }, { jobs = 21, for = \"5m\", instances = 2 }]"
            }
            _ => value,
        };
        let rest: Vec<(&str, &str)> = PLAN.into_iter().filter(|(name, _)| *name != of_plan).collect();
        let name = variable(key);
        let (by_plan, by_key) = (
            shown(&[&rest[..], &[(of_plan, value)]].concat()),
            shown(&[&PLAN[..], &[(name.as_str(), as_key)]].concat()),
        );
        assert_eq!(by_plan, by_key, "{of_plan} and {key}");
        assert_ne!(by_plan, shown(&PLAN), "{of_plan} does nothing");
    }
    assert_eq!(count, 7);
}
