//! The coordinator's `deploy/settings.md` has every key of the agent, with the default that the code has.

use super::super::{Config, KEYS, Source};

const PAGE: &str = include_str!("../../../../coordinator/deploy/settings.md");

/// Key and default of each row of the agent's table.
fn rows() -> Vec<(&'static str, &'static str)> {
    let section = PAGE.split("## The agent's settings").nth(1).expect("its section");
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let mut cell = || cells.next().expect("a cell").trim_matches('`');
        Some((cell(), cell()))
    };
    section.lines().filter_map(row).collect()
}

/// The configuration with nothing but what is required, and `more`.
fn load(more: &[(&str, &str)]) -> Result<String, String> {
    let required = [
        ("SPILLWAY_COORDINATOR", "http://localhost:1"),
        ("SPILLWAY_BOOT_DIRECTORY", "/srv"),
        ("SPILLWAY_WORKER_QUEUES", "q"),
        ("REDIS_URL", "redis://127.0.0.1:6379"),
    ];
    // An empty variable counts as unset.
    let variables = required.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let source = Source::parse("agent.toml".to_owned(), "", variables.collect::<std::collections::BTreeMap<_, _>>())
        .map_err(|error| error.to_string())?;
    Config::load(&source).map(|config| format!("{config:?}")).map_err(|error| error.to_string())
}

fn variable(key: &str) -> String {
    format!("SPILLWAY_{}", key.replace('.', "_").to_uppercase())
}

#[test]
fn the_settings_page_has_every_key_and_no_other() {
    let mut on_the_page: Vec<&str> = rows().into_iter().map(|(key, _)| key).collect();
    let mut in_the_code = KEYS.to_vec();
    on_the_page.sort_unstable();
    in_the_code.sort_unstable();
    assert_eq!(on_the_page, in_the_code);
}

#[test]
fn a_default_of_the_settings_page_is_what_happens_without_it() {
    let plain = load(&[]).unwrap();
    let mut count = 0;
    for (key, default) in rows() {
        let name = variable(key);
        match default {
            "required" => assert!(load(&[(&name, "")]).is_err(), "{key} is not required"),
            "none" => {}
            // The file is read where there is TLS.
            "/etc/spillway/ca.pem" => {
                let error = load(&[("SPILLWAY_COORDINATOR", "https://h:1")]).expect_err("it is not there");
                assert!(error.contains("ca_file /etc/spillway/ca.pem cannot be read"), "{error}");
            }
            // An empty list is no list: all of PM2's processes.
            "[]" => assert!(plain.contains("processes: []"), "{key}"),
            default => {
                count += 1;
                let value = default.trim_matches('"');
                assert_eq!(load(&[(&name, value)]).as_ref(), Ok(&plain), "{key} = {default}");
            }
        }
    }
    assert!(count >= 9, "only {count} defaults were found");
}
