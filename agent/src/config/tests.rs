//! The configuration as a user writes it, right and wrong.

mod settings_page;

use super::*;

const GOOD: &str = r#"
coordinator = "http://127.0.0.1:7443"
join_token = "hush"
[boot]
directory = "/opt/app"
[worker]
queues = ["video-processing"]
"#;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let source = Source::parse("agent.toml".to_owned(), text, variables).map_err(|error| error.to_string())?;
    Config::load(&source).map_err(|error| error.to_string())
}

#[test]
fn the_least_that_works() {
    let config = load(GOOD, &[("REDIS_URL", "redis://127.0.0.1:6379")]).unwrap();
    assert_eq!(config.boot.steps.len(), 4);
    assert_eq!(config.worker.prefix, "bull");
    assert_eq!(config.imds_interval, Duration::from_secs(1));
}

#[test]
fn the_environment_alone_will_do_and_comes_first() {
    let variables = [
        ("SPILLWAY_COORDINATOR", "http://localhost:1"),
        ("SPILLWAY_BOOT_DIRECTORY", "/srv"),
        ("SPILLWAY_BOOT_USER", "ubuntu"),
        ("SPILLWAY_BOOT_STEPS", r#"[{ run = "true", retries = 3 }]"#),
        ("SPILLWAY_BOOT_ENVIRONMENT", r#"{ A = "1", B = 2 }"#),
        ("SPILLWAY_DRAIN_MARGIN", "3s"),
        ("QUEUE_NAMES", "a, b"),
        ("REDIS_URL", "rediss://user:pa%2Fss@h:6380/2"),
    ];
    for text in ["", GOOD] {
        let config = load(text, &variables).unwrap();
        assert_eq!(config.coordinator.to_string(), "http://localhost:1");
        assert_eq!(config.boot.user.as_deref(), Some("ubuntu"));
        assert_eq!(config.boot.steps[0].retries, 3);
        assert_eq!(config.boot.environment["B"], "2");
        assert_eq!(config.drain.margin, Duration::from_secs(3));
        assert_eq!(config.redis.to_string(), "rediss://user:***@h:6380/2");
        assert!(!format!("{config:?}").contains("ss@"), "a password is shown");
        assert!(!format!("{config:?}").contains("hush"), "a token is shown");
    }
    assert_eq!(load("", &variables).unwrap().worker.queues, ["a", "b"]);
}

#[test]
fn bad_input_is_named_with_its_place_and_a_remedy() {
    let with = |line: &str| format!("{line}\n{GOOD}");
    let table = [
        (with("coordinater = \"x\""), "agent.toml:1: coordinater is not a key of the agent: did you mean coordinator?"),
        (with("queues = [\"x\"]"), "agent.toml:1: queues is not a key of the agent: did you mean worker.queues?"),
        (
            with("zzzzzzzzzzzz = 1"),
            "agent.toml:1: zzzzzzzzzzzz is not a key of the agent: known keys are coordinator, ca_file, env_file",
        ),
        (
            GOOD.replace("[worker]", "[worker]\nprefx = \"b\""),
            "worker.prefx is not a key of the agent: did you mean worker.prefix?",
        ),
        (
            GOOD.replace("[worker]", "steps = [{ rum = \"x\" }]\n[worker]"),
            "boot.steps[0].rum is not a key of the agent: did you mean boot.steps.run?",
        ),
        (GOOD.replace("[worker]", "steps = [{ name = \"x\" }]\n[worker]"), "boot.steps[0].run is missing"),
        (
            GOOD.replace("[worker]", "steps = [{ run = \"x\", timeout = \"5 parsecs\" }]\n[worker]"),
            "boot.steps[0].timeout \"5 parsecs\" is not a duration: write 90s, 5m or 2h",
        ),
        (
            with("orphan_after = \"30M\""),
            "agent.toml:1: orphan_after \"30M\" is not a duration (\"M\" is months; minutes are a small m): write 30m",
        ),
        (with("max_life = \"3600\""), "agent.toml:1: max_life \"3600\" has no unit: write 3600s for seconds"),
        (
            GOOD.replace("hush", "REPLACE_ME"),
            "agent.toml:3: join_token is an example's placeholder: write the value itself",
        ),
        (GOOD.replace("127.0.0.1", "<primary>"), "agent.toml:2: coordinator is an example's placeholder"),
        (GOOD.replace("http://127.0.0.1:7443", "10.0.0.5:7443"), "coordinator is not a coordinator's address"),
        (
            GOOD.replace("\"/opt/app\"", "\"opt/app\""),
            "boot.directory is not an absolute path: write a path that starts with /",
        ),
        (GOOD.replace("directory", "#"), "boot.directory is missing: set it, or $SPILLWAY_BOOT_DIRECTORY, to"),
        (GOOD.replace("[\"video-processing\"]", "[]"), "worker.queues names no queue"),
        (GOOD.replace("[\"video-processing\"]", "[\"bull:v\"]"), "contains a colon, which BullMQ forbids"),
        (GOOD.replace("[\"video-processing\"]", "[1]"), "worker.queues is not a list of strings"),
        (format!("{GOOD}supervisor = \"systemd\""), "worker.supervisor \"systemd\" is not supported: write \"pm2\""),
        (format!("{GOOD}[drain]\nsignal = \"never\""), "drain.signal \"never\" is not supported: write \"auto\""),
        (format!("{GOOD}[drain]\nmargin = \"2h\""), "drain.margin \"2h\" is not between 0s and 10m"),
        (with("boot = 1").replace("[boot]", "[boots]"), "boots is not a key of the agent: did you mean boot?"),
        (with("env_file = \"/nonexistent/.env\""), "agent.toml:1: env_file /nonexistent/.env cannot be read"),
        ("a = ".to_owned(), "agent.toml:1: the file is not TOML"),
    ];
    for (text, expect) in table {
        let error = load(&text, &[("REDIS_URL", "redis://h")]).expect_err(&text);
        assert!(error.contains(expect), "{error}\n  does not say: {expect}");
    }
    let error = load(GOOD, &[]).expect_err("no Redis");
    assert!(error.contains("the environment has no REDIS_URL: set REDIS_URL="), "{error}");
    let error = load(GOOD, &[("SPILLWAY_IMDS_INTERVAL", "x"), ("REDIS_URL", "redis://h")]).expect_err("bad variable");
    assert!(error.starts_with("$SPILLWAY_IMDS_INTERVAL: imds.interval \"x\" is not a duration"), "{error}");
}

#[test]
fn a_comment_in_a_variable_or_a_placeholder_in_the_tokens_file_is_not_a_value() {
    let of = |pairs: &[(&str, &str)]| load(GOOD, &[&[("REDIS_URL", "redis://h")], pairs].concat());
    let error = of(&[("SPILLWAY_COORDINATOR", "https://10.0.0.5:7443 # the primary")]).expect_err("a comment");
    assert!(error.starts_with("$SPILLWAY_COORDINATOR: coordinator has a comment behind it"), "{error}");
    let error = of(&[("SPILLWAY_WORKER_QUEUES", "a,b  # both")]).expect_err("a comment");
    assert!(error.contains("put the comment on a line of its own"), "{error}");
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("join-token");
    let text = GOOD.replace("join_token = \"hush\"", &format!("join_token_file = {path:?}"));
    for (token, is_one) in [("REPLACE_ME\n", false), ("one\ntwo\n", false), ("<token>", false), ("5ecre7\n", true)] {
        std::fs::write(&path, token).expect("written");
        assert_eq!(load(&text, &[("REDIS_URL", "redis://h")]).is_ok(), is_one, "{token:?}");
    }
}

#[test]
fn a_bad_redis_address_does_not_give_its_password_away() {
    for url in ["http://u:sesame@h", "redis://u:sesame@h:port", "redis://u:sesame@:99999/x"] {
        let error = load(GOOD, &[("REDIS_URL", url)]).expect_err(url);
        assert!(!error.contains("sesame"), "{error}");
    }
}

#[test]
fn the_configuration_that_is_baked_into_the_image_is_understood() {
    let text = include_str!("../../../ami/agent.toml");
    let variables = [("SPILLWAY_JOIN_TOKEN", "x"), ("REDIS_URL", "redis://h")];
    // The application's file is on the image alone.
    let text: String =
        text.lines().filter(|line| !line.starts_with("env_file")).map(|line| format!("{line}\n")).collect();
    // And so is the CA.
    let place = tempfile::tempdir().expect("a directory");
    let ca_file = crate::tls::tests::authority(place.path(), "ca.pem").0.display().to_string();
    let variables = [&variables[..], &[("SPILLWAY_CA_FILE", ca_file.as_str())]].concat();
    let config = load(&text, &variables).unwrap();
    assert_eq!(config.boot.steps, default_steps());
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_configuration_or_an_error(
        text in proptest::prop_oneof!["\\PC{0,200}", "(\\[(boot|worker|drain)\\]\n|[a-z_]{1,12} = ([0-9-]{1,20}|\"[^\"\n]{0,10}\"|\\[\\]|true)\n){0,12}"],
        span in "[0-9]{0,25}(ms|s|m|h|d|y)?",
    ) {
        let _ = load(&text, &[("REDIS_URL", "redis://h")]);
        let variables = [("REDIS_URL", text.as_str()), ("SPILLWAY_DRAIN_MARGIN", &span), ("SPILLWAY_BOOT_STEPS", &text)];
        let _ = load(GOOD, &variables);
    }
}
