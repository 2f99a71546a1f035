//! Settings that cannot work, and ones that do not work as they read: each with its place, key and remedy.

use super::super::load::parse;
use super::*;

/// The file, with the plan's variables and more; the error or the warnings.
fn said(text: &str, more: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let pairs: Vec<(&str, &str)> = PLAN.iter().chain(more).copied().collect();
    match parse("f", text, &environment(&pairs), Needs::Everything) {
        Ok(settings) => Ok(settings.warnings),
        Err(error) => Err(error.to_string()),
    }
}

fn refused(text: &str, more: &[(&str, &str)], expected: &str) {
    let error = said(text, more).expect_err(&format!("{text} {more:?}"));
    assert!(error.contains(expected), "{text} {more:?}\nsaid: {error}\nnot:  {expected}");
}

#[test]
fn what_the_file_cannot_mean_is_said_with_line_key_and_remedy() {
    let steps = |steps: &str| format!("[[pool]]\n[pool.policy]\nsteps = [{steps}]");
    for (text, expected) in [
        (
            "[pool]\nname = \"p\"",
            "f:1: pool: is written as one section, and there can be several pools: write [[pool]] instead of [pool]",
        ),
        ("pool = 3", "f:1: pool: is not a section: write [[pool]]"),
        ("[[redis]]\nurl = \"x\"", "f:1: redis: is a list, and must be a section: write [redis]"),
        ("redis = \"x\"", "f:1: redis: is a text, and must be a section: write [redis]"),
        (
            "[[pool]]\n\ninterval = 10",
            "f:3: pool.interval: 10 has no unit: write \"10s\" for seconds, \"10m\" for minutes",
        ),
        ("[[pool]]\ninterval = \"30\"", "f:2: pool.interval: \"30\" has no unit: write 30s"),
        (
            "[[pool]]\nboot_timeout = \"30M\"",
            "f:2: pool.boot_timeout: \"30M\" is not a duration (\"M\" is months; minutes are a small m): write 30m",
        ),
        ("[[pool]]\n[pool.policy]\nidle = \"1y\"", "f:3: pool.policy.idle: \"1y\" is not a duration"),
        (
            "[grpc]\nheartbeat_interval = true",
            "f:2: grpc.heartbeat_interval: is true or false, and must be a duration: write \"90s\"",
        ),
        ("[[pool]]\nqueues = \"q\"", "f:2: pool.queues: is a text, and must be a list: write [\"q\"]"),
        ("[[pool]]\nqueues = [1]", "f:2: pool.queues: has a number in its list: write each in quotes"),
        ("[[pool]]\nname = 1", "f:2: pool.name: 1 is not in quotes: write \"1\""),
        ("[[pool]]\nmax_instances = \"2\"", "f:2: pool.max_instances: \"2\" is in quotes: write 2 without them"),
        (
            "[[pool]]\nmax_instances = 2.5",
            "f:2: pool.max_instances: is a number with a fraction, and must be a whole number",
        ),
        ("[[pool]]\nmax_instances = -1", "f:2: pool.max_instances: -1 is below 0"),
        ("[[pool]]\nmax_instances = 99999999999", "f:2: pool.max_instances: 99999999999 is too large"),
        (
            "[[pool]]\ninterrupted_counts = \"yes\"",
            "f:2: pool.interrupted_counts: is a text, and must be true or false",
        ),
        ("[[pool]]\ntags = { a = 1 }", "f:2: pool.tags.a: is a number, and must be a text: write tags = {"),
        (
            "[prices]\non_demand = 0.17",
            "f:2: prices.on_demand: is a number with a fraction, and must be a table of prices",
        ),
        (
            "[prices]\non_demand = { c6i.xlarge = 0.17 }",
            "f:2: prices.on_demand.c6i: is not an instance type, such as \"c6i.xlarge\", in quotes: write on_demand = {",
        ),
        (
            "[prices]\nspot = { \"c6i.xlarge\" = \"cheap\" }",
            "f:2: prices.spot.c6i.xlarge: is a text, and must be a number",
        ),
        ("[prices]\nspot = { \"c6i.xlarge\" = -1 }", "f:2: prices.spot.c6i.xlarge: -1 is no price between 0 and 1000"),
        ("[prices]\nspot = { \"c6i.xlarge\" = nan }", "f:2: prices.spot.c6i.xlarge: NaN is no price"),
        ("[prices]\nspots = {}", "f:2: unknown key \"prices.spots\"; did you mean \"prices.spot\"?"),
        ("[[pool]]\ntags = [\"a\"]", "f:2: pool.tags: is a list, and must be a table of texts"),
        (&steps("{ jobs = 5, instances = 1 }"), "f:3: pool.policy.steps: has no \"for\": write steps = ["),
        (&steps("{ jobs = 5, for = 300, instances = 1 }"), "f:3: pool.policy.steps.for: 300 has no unit"),
        (
            &steps("{ jobs = 5, for = \"5m\", instance = 1 }"),
            "f:3: unknown key \"pool.policy.steps.instance\"; did you mean \"pool.policy.steps.instances\"?",
        ),
        (&steps(""), "f:3: pool.policy.steps: has no step, so nothing would ever be launched: add one"),
        (
            &steps("{ jobs = 9, for = \"1m\", instances = 1 },\n{ jobs = 5, for = \"1m\", instances = 2 }"),
            "f:4: pool.policy.steps: each step must have more jobs and more instances than the step before it",
        ),
        ("[[pool]]\nmax_instance = 3", "f:2: unknown key \"pool.max_instance\"; did you mean \"pool.max_instances\"?"),
        ("[[pool]]\nintervall = \"3s\"", "f:2: unknown key \"pool.intervall\"; did you mean \"pool.interval\"?"),
        ("[radis]\nurl = \"x\"", "f:1: unknown key \"radis\"; did you mean \"redis\"?"),
        ("x = ", "f:1: is not TOML ("),
        ("[redis]\nurl = redis://h", "f:2: is not TOML ("),
        ("[redis]\nurl = \"http://h\"", "f:2: redis.url: is not a Redis URL ("),
        ("[[pool]]\nmax_instances = 0", "f:2: pool.max_instances: 0 is not between 1 and 1000: write a number"),
        ("[[pool]]\nrebalance_limit = 1001", "f:2: pool.rebalance_limit: 1001 is not between 0 and 1000"),
        (
            "[[pool]]\ninterval = \"5 parsecs\"",
            "f:2: pool.interval: \"5 parsecs\" is not a duration: write 90s, 5m or 2h",
        ),
        ("[[pool]]\ninterval = \"10ms\"", "f:2: pool.interval: must be at least 100ms"),
        (
            "[[pool]]\non_drift = \"bake\"",
            "f:2: pool.on_drift: \"bake\" is not what can follow: write \"report\" or \"replace\"",
        ),
        (
            "[[pool]]\napplication = \"app\"",
            "f:2: pool.application: \"app\" is no absolute path: write where the checkout is, such as \"/opt/app\"",
        ),
        (
            "[[pool]]\nrebalance = \"always\"",
            "f:2: pool.rebalance: \"always\" is not a rebalance mode: write \"replace\"",
        ),
        (
            "[[pool]]\n[pool.policy]\nkind = \"slo\"",
            "f:3: pool.policy.kind: \"slo\" is not a policy kind: write \"steps\"",
        ),
        (
            "[[pool]]\nqueues = [\"a:b\"]",
            "f:2: pool.queues: \"a:b\" is not a name of a BullMQ queue: it must not be empty or contain \":\"",
        ),
        (
            "[[pool]]\nlaunch_template_version = \"newest\"",
            "f:2: pool.launch_template_version: \"newest\" is not a version: write a number",
        ),
        (
            "[[pool]]\nlaunch_template = \"my template\"",
            "f:2: pool.launch_template: \"my template\" is neither id nor name",
        ),
        (
            "[[pool]]\nlaunch_template = \"lt-…\"",
            "f:2: pool.launch_template: is an example's placeholder: write the value itself",
        ),
        (
            "[[pool]]\n[pool.tags]\nManagedBy = \"me\"",
            "f:3: pool.tags.ManagedBy: is a tag that Spillway sets itself: remove it",
        ),
        ("[[pool]]\n[pool.tags]\n\"aws:x\" = \"y\"", "f:3: pool.tags.aws:x: begins with aws:"),
        (
            "[ec2]\nregion = \"us-east-1a\"",
            "f:2: ec2.region: \"us-east-1a\" is an availability zone: write its region, us-east-1",
        ),
        ("[ec2]\nregion = \"US East\"", "f:2: ec2.region: \"US East\" is not a region"),
        ("[grpc]\nlisten = \"7443\"", "f:2: grpc.listen: \"7443\" is not an address and port: write \"0.0.0.0:7443\""),
        (
            "[grpc]\nadvertise = \"0.0.0.0:7443\"",
            "f:2: grpc.advertise: \"0.0.0.0:7443\" is not a host and port that agents can connect to",
        ),
        (
            "[grpc]\nlisten = \"10.0.0.5:7480\"",
            "f: http.listen: 127.0.0.1:7480 is the port of 10.0.0.5:7480 (f:2: grpc.listen) too",
        ),
        (
            "[grpc.tls]\nmode = \"off\"",
            "f:2: grpc.tls.mode: \"off\" is for a grpc.listen on loopback, and 0.0.0.0:7443 is reached over the network: remove \
             it, or set grpc.listen to 127.0.0.1:7443",
        ),
        ("[grpc.tls]\nmode = \"maybe\"", "f:2: grpc.tls.mode: \"maybe\" is unknown: write \"auto\", \"on\" or \"off\""),
        ("[grpc]\ntls = true", "f:2: grpc.tls: is true or false, and must be a section: write [grpc.tls]"),
        (
            "[grpc.tls]\nkey_file = \"/k\"",
            "f:2: grpc.tls.key_file: has no certificate: set grpc.tls.certificate_file too",
        ),
        ("[grpc.tls]\nnames = [\"a b\"]", "f:2: grpc.tls.names: \"a b\" is no host name and no address"),
        ("[grpc.tls]\nname = [\"a\"]", "f:2: unknown key \"grpc.tls.name\"; did you mean \"grpc.tls.names\"?"),
        (
            "[grpc]\nheartbeat_interval = \"1m\"",
            "f:2: grpc.heartbeat_interval: 1 min is not shorter than 30 s (pool.heartbeat_timeout, the default), so every \
             instance would be stale",
        ),
        (
            "[[pool]]\nheartbeat_timeout = \"5s\"",
            "f:2: pool.heartbeat_timeout: 5 s is not longer than 5 s (grpc.heartbeat_interval, the default)",
        ),
    ] {
        refused(text, &[], expected);
    }
    let two = "[[pool]]\nname=\"a\"\nqueues=[\"q\"]\nlaunch_template=\"lt-1\"\n";
    let error = parse("f", &two.repeat(2), &environment(&[PLAN[0], PLAN[3]]), Needs::Everything).unwrap_err();
    assert!(error.to_string().contains("f:6: pool.name: two pools have the name \"a\""), "{error}");
}

#[test]
fn what_a_variable_cannot_mean_is_said_with_its_name_and_never_blames_the_file() {
    for (name, value, expected) in [
        ("EC2_LAUNCH_TEMPLATE_ID", "lt-…", "is an example's placeholder: write the value itself"),
        ("EC2_LAUNCH_TEMPLATE_ID", "lt-…   # from step 2", "has a comment behind it, which is part of the value here"),
        (
            "EC2_LAUNCH_TEMPLATE_ID",
            "lt-0123  # from step 2",
            "has a comment behind it, which is part of the value here: put the comment on a line of its own",
        ),
        ("EC2_LAUNCH_TEMPLATE_ID", "\"lt-0123\"", "has quotes around it"),
        ("EC2_LAUNCH_TEMPLATE_ID", "lt-REPLACE_ME", "is an example's placeholder"),
        ("EC2_LAUNCH_TEMPLATE_ID", "lt-xxxxxxxxxxxxxxxxx", "is an example's placeholder"),
        (
            "EC2_LAUNCH_TEMPLATE_ID",
            "lt-from-step-2",
            "\"lt-from-step-2\" is not the id of a launch template: write lt-0123456789abcdef0",
        ),
        ("QUEUE_NAMES", "video-processing # the queue", "has a comment behind it"),
        ("REDIS_URL", "redis://:${REDIS_PASSWORD}@h", "has a ${…}, which is not expanded here"),
        ("REDIS_URL", "redis://<host>:6379", "is an example's placeholder"),
        ("EC2_SPOT_MAX_COUNT", "0", "0 is not between 1 and 1000"),
        ("EC2_SPOT_MAX_COUNT", "5 # at most", "has a comment behind it"),
        ("EC2_SPOT_MAX_COUNT", "-3", "\"-3\" is not a whole number"),
        ("QUEUE_SCALE_UP_THRESHOLD", "0", "\"0\" is not a number of jobs above 0"),
        ("QUEUE_SCALE_UP_THRESHOLD", "5 jobs", "\"5 jobs\" is not a number of jobs above 0"),
        ("QUEUE_SCALE_DOWN_IDLE_MINUTES", "10m", "\"10m\" is not a number of minutes above 0: write 10"),
        ("QUEUE_SCALE_DOWN_IDLE_MINUTES", "inf", "\"inf\" is not a number of minutes above 0"),
        ("QUEUE_SCALE_DOWN_IDLE_MINUTES", "0.001", "must be at least 100ms"),
        ("SPILLWAY_GRPC_JOIN_TOKEN", "REPLACE_ME", "is an example's placeholder"),
        ("SPILLWAY_GRPC_JOIN_TOKEN", "changeme", "is an example's placeholder"),
        ("SPILLWAY_POOL_MAX_INSTANCES", "two", "\"two\" is not a whole number"),
        ("SPILLWAY_POOL_INTERRUPTED_COUNTS", "no", "\"no\" is neither true nor false"),
        ("SPILLWAY_POOL_BOOT_TIMEOUT", "30M", "write 30m"),
        ("SPILLWAY_POOL_POLICY_STEPS", "[{ jobs = 5 }]", "has no \"for\": write steps = ["),
        ("SPILLWAY_POOL_POLICY_STEPS", "5,15", "is not valid TOML ("),
        ("SPILLWAY_POOL_TAGS", "{ Name = \"x\" }", "is a tag that Spillway sets itself"),
        ("SPILLWAY_GRPC_LISTEN", "localhost:7443", "\"localhost:7443\" is not an address and port"),
    ] {
        refused("", &[(name, value)], &format!("environment: {name}: "));
        refused("", &[(name, value)], expected);
    }
    for (name, expected) in [
        ("SPILLWAY_LEGDER_URL", "SPILLWAY_LEDGER_URL"),
        ("SPILLWAY_POOL_MAX_INSTANCE", "SPILLWAY_POOL_MAX_INSTANCES"),
        ("SPILLWAY_GRPC_JOINTOKEN", "SPILLWAY_GRPC_JOIN_TOKEN"),
    ] {
        refused("", &[(name, "3")], &format!("environment: unknown key \"{name}\"; did you mean \"{expected}\"?"));
    }
    let error = said("", &[("SPILLWAY_GRPC_JOIN_TOKEN", "sesame # mine"), ("REDIS_URL", "http://u:sesame@h")]);
    assert!(!error.clone().expect_err("both are wrong").contains("sesame"), "{error:?}");
}

#[test]
fn what_is_missing_is_said_with_what_to_set() {
    for (pairs, expected) in [
        (&PLAN[..0], "redis.url is not set: set REDIS_URL"),
        (&PLAN[..1], "pool.queues is not set: set QUEUE_NAMES"),
        (&PLAN[..2], "pool.launch_template is not set: set EC2_LAUNCH_TEMPLATE_ID"),
        (
            &[PLAN[0], PLAN[1], PLAN[2], ("SPILLWAY_GRPC_TRUST", "token")],
            "grpc.join_token is not set: without it, whoever reaches the gRPC port can register as an instance: make one with `openssl rand -hex 32`",
        ),
    ] {
        let error = parse("f", "", &environment(pairs), Needs::Everything).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let misspelt = [PLAN[0], ("QUEUE_NAME", "q")];
    let error = parse("f", "", &environment(&misspelt), Needs::Everything).unwrap_err().to_string();
    assert!(error.contains("(environment: QUEUE_NAME is no setting: did you mean QUEUE_NAMES?)"), "{error}");
}

#[test]
fn a_token_is_required_wherever_others_can_reach_the_port_and_prove_nothing() {
    let without = |listen| {
        let pairs = [&PLAN[..3], &[("SPILLWAY_GRPC_LISTEN", listen), ("SPILLWAY_GRPC_TRUST", "token")]].concat();
        parse("f", "", &environment(&pairs), Needs::Everything).map(|it| it.join_token)
    };
    for listen in ["127.0.0.1:7443", "[::1]:7443"] {
        assert_eq!(without(listen).unwrap(), None, "{listen}");
    }
    for listen in ["0.0.0.0:7443", "10.0.0.5:7443", "[::]:7443"] {
        assert!(matches!(without(listen), Err(ConfigError::Missing { key: "grpc.join_token", .. })), "{listen}");
    }
}

#[test]
fn what_works_differently_from_how_it_reads_is_said_once() {
    let file = "[[pool]]\nmax_instances = 3\n";
    for (text, more, expected) in [
        (
            "",
            vec![("EC2_SPOT_MAX_COUNT", "5")],
            vec![
                "pool spillway: the cap is 5 instances (environment: EC2_SPOT_MAX_COUNT), and no policy step asks for more than 2 instances: add a step (the default of pool.policy.steps)",
            ],
        ),
        (
            "",
            vec![("EC2_SPOT_MAX_COUNT", "1")],
            vec![
                "pool spillway: a policy step asks for 2 instances, and the cap is 1 instance (environment: EC2_SPOT_MAX_COUNT): the cap holds",
            ],
        ),
        (
            file,
            vec![("SPILLWAY_POOL_POLICY_STEPS", "[{ jobs = 1, for = \"1s\", instances = 9 }]")],
            vec![
                "pool spillway: a policy step asks for 9 instances, and the cap is 3 instances (f:2: pool.max_instances): the cap holds",
            ],
        ),
        (
            "[[pool]]\nmax_instances = 2\n",
            vec![("EC2_SPOT_MAX_COUNT", "5")],
            vec!["environment: EC2_SPOT_MAX_COUNT is not used, because f:2: pool.max_instances takes precedence"],
        ),
        (
            "[grpc]\nheartbeat_interval = \"20s\"",
            vec![],
            vec![
                "pool spillway: one late heartbeat makes an instance stale: 30 s (pool.heartbeat_timeout, the default) is less than two of grpc.heartbeat_interval, 20 s",
            ],
        ),
        (
            "",
            vec![("EC2_SPOT_MAX_CONT", "5")],
            vec!["environment: EC2_SPOT_MAX_CONT is no setting: did you mean EC2_SPOT_MAX_COUNT?"],
        ),
        (
            "",
            vec![("SPILLWAY_MAX_INSTANCES", "5")],
            vec!["environment: SPILLWAY_MAX_INSTANCES is no setting: did you mean SPILLWAY_POOL_MAX_INSTANCES?"],
        ),
        (
            "",
            vec![("SPILLWAY_BOOT_DIRECTORY", "/opt/app"), ("SPILLWAY_INSTANCE_ID", "i-1"), ("SPILLWAY_LOG", "info")],
            vec![],
        ),
        ("", vec![], vec![]),
    ] {
        // Of the token that every one of these has, nothing is said on loopback.
        let more: Vec<_> = more.into_iter().chain([("SPILLWAY_GRPC_LISTEN", "127.0.0.1:7443")]).collect();
        assert_eq!(said(text, &more).unwrap(), expected, "{text} {more:?}");
    }
    let local = ("SPILLWAY_GRPC_LISTEN", "127.0.0.1:7443");
    let largest = said("", &[("EC2_SPOT_MAX_COUNT", "1"), ("QUEUE_SCALE_UP_THRESHOLD", "3"), local]).unwrap();
    assert_eq!(largest.len(), 1, "{largest:?}");
}

#[test]
fn operators_have_a_loopback_address_wherever_the_coordinator_listens() {
    for (bound, beside, asked) in [
        ("10.0.0.5:7443", Some("127.0.0.1:7443"), "127.0.0.1:7443"),
        ("[fd00::5]:7443", Some("127.0.0.1:7443"), "127.0.0.1:7443"),
        ("0.0.0.0:7443", None, "127.0.0.1:7443"),
        ("[::]:7443", None, "[::1]:7443"),
        ("127.0.0.2:7443", None, "127.0.0.2:7443"),
    ] {
        let bound = bound.parse().expect("an address");
        assert_eq!(beside_for_operators(bound), beside.map(|it| it.parse().expect("an address")), "{bound}");
        assert_eq!(for_operators(bound).to_string(), asked, "{bound}");
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let settings = parse(
        "f",
        "[[pool]]\nname = \"p\"",
        &environment(&[&PLAN[..], &[("SPILLWAY_POOL_NAME", "")]].concat()),
        Needs::Everything,
    );
    assert_eq!(settings.unwrap().pools[0].name, "p");
}

#[test]
fn commands_read_the_variables_of_the_service_beside_the_file() {
    let place = tempfile::tempdir().expect("a directory");
    let (file, variables) = (place.path().join("coordinator.toml"), place.path().join("coordinator.env"));
    std::fs::write(&file, "[grpc]\nlisten = \"10.0.0.5:7000\"\n").expect("written");
    std::fs::write(&variables, "# the service's\nREDIS_URL=redis://a\nQUEUE_NAMES='q'\nEC2_SPOT_MAX_COUNT=0\n")
        .expect("written");
    let load = |pairs: &[(&str, &str)]| load(Some(&file), &environment(pairs), Needs::Queues);
    let at = |name: &str| place.path().join(name).display().to_string();
    let error = load(&[]).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}:4: EC2_SPOT_MAX_COUNT: 0 is not between 1 and 1000: write a number in between",
            at("coordinator.env")
        )
    );
    let settings = load(&[("EC2_SPOT_MAX_COUNT", "2"), ("REDIS_URL", "redis://b")]).unwrap();
    assert_eq!((settings.redis_url.as_str(), settings.pools[0].queues[0].as_str()), ("redis://b", "q"));

    let asks = |pairs: &[(&str, &str)]| operator_address(Some(&file), &environment(pairs));
    assert_eq!(asks(&[]).address.to_string(), "127.0.0.1:7000");
    assert_eq!(asks(&[("SPILLWAY_GRPC_LISTEN", "127.0.0.2:7001")]).address.to_string(), "127.0.0.2:7001");
    assert_eq!(asks(&[("SPILLWAY_GRPC_LISTEN", "[::]:7002")]).address.to_string(), "[::1]:7002");
    std::fs::write(&variables, "SPILLWAY_GRPC_LISTEN=0.0.0.0:7003\n").expect("written");
    assert_eq!(
        asks(&[]),
        OperatorAddress { address: "127.0.0.1:7003".parse().unwrap(), problem: None, asks_for_token: false }
    );
    std::fs::write(&variables, "export A=1\n").expect("written");
    let guessed = asks(&[]);
    assert_eq!(guessed.address.to_string(), "127.0.0.1:7443");
    let problem = guessed.problem.unwrap_or_default();
    assert_eq!(
        problem,
        format!(
            "{}:1: is not NAME=value, and systemd ignores it: write it so, without `export`",
            at("coordinator.env")
        )
    );
}

#[test]
fn messages_are_sent_to_a_webhook_that_is_encrypted_or_here_and_no_error_shows_it() {
    let url = |url: &str| said("", &[("SPILLWAY_NOTIFY_WEBHOOK_URL", url)]);
    for good in [
        "https://hooks.example/services/T0/B0/sesame",
        "http://127.0.0.1:9/x",
        "https://hooks.example:8443/sesame",
        "http://localhost/x",
        "http://[::1]:9/x",
        "",
    ] {
        assert!(url(good).is_ok(), "{good}: {:?}", url(good));
    }
    for (bad, expected) in [
        ("http://hooks.example/sesame", "would send the messages, and the URL, in plaintext: write https://"),
        ("hooks.example/sesame", "is not a webhook's URL: write https://HOST/PATH"),
        ("ftp://hooks.example/sesame", "is not a webhook's URL: write https://HOST/PATH"),
        ("https://me:sesame@hooks.example/x", "has a user before its host"),
        ("https:///sesame", "is not a webhook's URL"),
        ("http://127.0.0.1:99999/sesame", "has a port that is none"),
        ("https://hooks.example:0/sesame", "has a port that is none"),
        ("https://[::1]:65536/sesame", "has a port that is none"),
    ] {
        let error = url(bad).expect_err(bad);
        assert!(error.contains(expected) && error.contains("SPILLWAY_NOTIFY_WEBHOOK_URL"), "{bad}: {error}");
        assert!(!error.contains("sesame"), "{error}");
    }
}

#[test]
fn the_digest_has_a_time_of_the_day_in_a_zone_that_there_is() {
    for at in ["24:00", "8", "8:00", "08:60", "noon", "-1:00", "+8:00", "-0:00", "08:+5"] {
        refused(&format!("[notify]\ndigest_at = \"{at}\""), &[], "f:2: notify.digest_at: ");
    }
    refused("[notify]\ntimezone = \"Mars/Olympus\"", &[], "f:2: notify.timezone: \"Mars/Olympus\" is not a time zone");
    for good in ["digest_at = \"23:59\"\ntimezone = \"Asia/Kathmandu\"", "digest_at = \"off\""] {
        assert!(said(&format!("[notify]\n{good}"), &[]).is_ok(), "{good}");
    }
}
