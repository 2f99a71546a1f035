mod settings_page;
mod wrong;

use super::load::parse;
use super::*;

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

const PLAN: [(&str, &str); 4] = [
    ("REDIS_URL", "redis://127.0.0.1:6379"),
    ("QUEUE_NAMES", "video-processing"),
    ("EC2_LAUNCH_TEMPLATE_ID", "lt-1"),
    ("SPILLWAY_GRPC_JOIN_TOKEN", "5ecre7"),
];

const DESIGN: &str = r#"
[redis]
url = "redis://127.0.0.1:6379"
[ec2]
region = "us-east-1"
[grpc]
listen = "0.0.0.0:7443"
[http]
listen = "127.0.0.1:7480"
[[pool]]
name = "scalereach-spot-worker"
queues = ["video-processing"]
prefix = "bull"
launch_template = "lt-0123"
max_instances = 2
interval = "10s"
launch_timeout = "2m"
boot_timeout = "5m"
heartbeat_timeout = "30s"
drain_timeout = "30m"
[pool.policy]
kind = "steps"
idle = "10m"
steps = [{ jobs = 5, for = "5m", instances = 1 }, { jobs = 15, for = "5m", instances = 2 }]
"#;

#[test]
fn the_plans_variables_are_enough() {
    let mut pairs = PLAN.to_vec();
    pairs.extend([
        ("AWS_REGION", "eu-west-1"),
        ("EC2_SPOT_MAX_COUNT", "3"),
        ("QUEUE_SCALE_UP_THRESHOLD", "4"),
        ("QUEUE_SCALE_DOWN_IDLE_MINUTES", "7"),
    ]);
    let settings = parse("f", "", &environment(&pairs), Needs::Everything).unwrap();
    let pool = &settings.pools[0];
    assert_eq!(settings.region.as_deref(), Some("eu-west-1"));
    assert_eq!((pool.queues.as_slice(), pool.brain.max_instances), (["video-processing".to_owned()].as_slice(), 3));
    let steps: Vec<(u64, u32)> = pool.brain.policy.steps.iter().map(|step| (step.jobs, step.instances)).collect();
    assert_eq!(steps, [(4, 1), (12, 2)]);
    assert_eq!(pool.brain.policy.idle, Duration::from_secs(420));
}

#[test]
fn the_designs_file_gives_the_defaults_and_the_defaults_give_the_plan() {
    let from_file = parse("f", DESIGN, &environment(&PLAN[3..]), Needs::Everything).unwrap();
    let from_plan = parse("f", "", &environment(&PLAN), Needs::Everything).unwrap();
    assert_eq!(from_file.pools[0].brain, from_plan.pools[0].brain);
    assert_eq!(from_file.pools[0].name, "scalereach-spot-worker");
}

#[test]
fn a_variable_of_ours_beats_the_file_and_the_file_beats_the_plans_variable() {
    let variables = environment(&[
        ("REDIS_URL", "redis://elsewhere"),
        ("SPILLWAY_POOL_MAX_INSTANCES", "7"),
        ("SPILLWAY_POOL_POLICY_STEPS", r#"[{ jobs = 2, for = "6s", instances = 1 }]"#),
        ("SPILLWAY_LOG", "debug"),
        ("SPILLWAY_GRPC_JOIN_TOKEN", "5ecre7"),
    ]);
    let settings = parse("f", DESIGN, &variables, Needs::Everything).unwrap();
    assert_eq!(settings.redis_url, "redis://127.0.0.1:6379");
    let pool = |pairs: &[(&str, &str)], text: &str| {
        let variables = PLAN.iter().chain(pairs).copied().collect::<Vec<_>>();
        parse("f", text, &environment(&variables), Needs::Everything).unwrap().pools.remove(0)
    };
    let target = "[[pool]]\ntarget = \"90s\"";
    assert_eq!(pool(&[], "").target, Duration::from_secs(600));
    assert_eq!(pool(&[], target).target, Duration::from_secs(90));
    assert_eq!(pool(&[("SPILLWAY_POOL_TARGET", "2m")], target).target, Duration::from_secs(120));
    assert_eq!(settings.pools[0].brain.max_instances, 7);
    assert_eq!(settings.pools[0].brain.policy.steps[0].over, Duration::from_secs(6));
}

#[test]
fn interruptions_and_recommendations_are_answered_as_the_pool_says() {
    let brain = |text: &str, pairs: &[(&str, &str)]| {
        let variables = PLAN.iter().chain(pairs).copied().collect::<Vec<_>>();
        parse("f", text, &environment(&variables), Needs::Everything).unwrap().pools[0].brain.clone()
    };
    let usual = brain("", &[]);
    let usual = (usual.interrupted_counts, usual.rebalance, usual.rebalance_limit, usual.on_drift);
    assert_eq!(usual, (true, brain::OnRebalance::Replace, 2, brain::OnDrift::Report));
    assert_eq!(brain("", &[("SPILLWAY_POOL_ON_DRIFT", "replace")]).on_drift, brain::OnDrift::Replace);
    assert_eq!(brain("[[pool]]\non_drift = \"replace\"", &[]).on_drift, brain::OnDrift::Replace);
    let file = "[[pool]]\ninterrupted_counts = false\nrebalance = \"fence\"\nrebalance_limit = 0";
    let other = brain(file, &[("SPILLWAY_POOL_REBALANCE", "ignore"), ("SPILLWAY_POOL_INTERRUPTED_COUNTS", "true")]);
    let other = (other.interrupted_counts, other.rebalance, other.rebalance_limit);
    assert_eq!(other, (true, brain::OnRebalance::Ignore, 0));
}

#[test]
fn a_price_is_by_type_in_dollars_whole_or_not() {
    let toml =
        "[prices]\non_demand = { \"c7i.xlarge\" = 0.2039, \"u-6tb1.112xlarge\" = 54 }\nspot = { \"c6i.xlarge\" = 0 }";
    let prices = parse("f", toml, &environment(&PLAN), Needs::Everything).expect("settings").prices;
    assert_eq!(prices.on_demand.get("c7i.xlarge"), Some(&0.2039));
    assert_eq!(prices.on_demand.get("u-6tb1.112xlarge"), Some(&54.0));
    assert_eq!(prices.spot.get("c6i.xlarge"), Some(&0.0));
}

#[test]
fn a_queue_belongs_to_one_pool_and_is_named_there_once() {
    let pool = |name: &str, rest: &str| format!("[[pool]]\nname=\"{name}\"\nlaunch_template=\"lt-1\"\n{rest}\n");
    let parsed = |text: &str| {
        parse("f", text, &environment(&[PLAN[0], PLAN[3]]), Needs::Everything).map_err(|it| it.to_string())
    };
    let twice = parsed(&pool("a", "queues=[\"q\",\"r\",\"q\"]")).unwrap_err();
    assert_eq!(twice, "f:4: pool.queues: \"q\" is named twice: its jobs would count twice. Name each queue once");
    let both = parsed(&(pool("a", "queues=[\"q\"]") + &pool("b", "queues=[\"r\",\"q\"]"))).unwrap_err();
    assert!(both.contains("f:8: pool.queues: queue \"q\" is in two pools, \"a\" and \"b\""), "{both}");
    assert!(both.contains("Name it in one of them"), "{both}");
    let by_prefix = parsed(&(pool("a", "queues=[\"q\"]") + &pool("b", "queues=[\"q\"]\nprefix=\"other\"")));
    assert!(by_prefix.is_ok(), "another prefix is another queue: {by_prefix:?}");
    let plan = [PLAN[0], ("QUEUE_NAMES", "q, r,q"), PLAN[2]];
    assert!(parse("f", "", &environment(&plan), Needs::Everything).unwrap_err().to_string().contains("named twice"));
}

#[test]
fn a_token_off_loopback_is_warned_of() {
    let warned = |pairs: &[(&str, &str)]| {
        let settings = parse("f", "", &environment(&[&PLAN[..], pairs].concat()), Needs::Everything).unwrap();
        let warnings: Vec<String> = settings.warnings.into_iter().filter(|it| it.contains("grpc.")).collect();
        (settings.trust, warnings)
    };
    let (trust, warnings) = warned(&[("SPILLWAY_GRPC_TRUST", "token")]);
    assert_eq!(trust, TrustKind::Token);
    assert!(warnings[0].contains("whoever has the join token can register as any instance"), "{warnings:?}");
    let (trust, warnings) = warned(&[]);
    assert_eq!(trust, TrustKind::Aws);
    assert!(warnings[0].contains("grpc.join_token is not used"), "{warnings:?}");
    let (trust, warnings) = warned(&[("SPILLWAY_GRPC_LISTEN", "127.0.0.1:7443")]);
    assert_eq!((trust, warnings), (TrustKind::Token, vec![]));
    let without = |pairs: &[(&str, &str)]| {
        let settings = parse("f", "", &environment(&[&PLAN[..3], pairs].concat()), Needs::Everything);
        settings.map(|it| (it.trust, it.warnings)).map_err(|error| error.to_string())
    };
    assert_eq!(without(&[]), Ok((TrustKind::Aws, vec![])), "a proof needs no token");
    let refused = without(&[("SPILLWAY_GRPC_TRUST", "token")]).unwrap_err();
    assert!(refused.contains("grpc.join_token is not set"), "{refused}");
    let refused = without(&[("SPILLWAY_GRPC_TRUST", "sts")]).unwrap_err();
    assert!(refused.contains("\"sts\" is neither \"aws\""), "{refused}");
    let refused = without(&[("SPILLWAY_GRPC_ROLE", "arn:aws:iam::1:role/worker")]).unwrap_err();
    assert!(refused.contains("write what stands behind the last / of its ARN"), "{refused}");
}

#[test]
fn plaintext_is_for_a_coordinator_on_loopback_alone() {
    let with = |pairs: &[(&str, &str)]| {
        parse("f", "", &environment(&[&PLAN[..], pairs].concat()), Needs::Everything).unwrap().tls
    };
    let listen = |address: &'static str| ("SPILLWAY_GRPC_LISTEN", address);
    for (address, auto) in [
        ("0.0.0.0:7443", true),
        ("10.0.0.5:7443", true),
        ("[::]:7443", true),
        ("127.0.0.1:7443", false),
        ("[::1]:7443", false),
    ] {
        assert_eq!(with(&[listen(address)]).is_some(), auto, "{address}");
        assert!(with(&[listen(address), ("SPILLWAY_GRPC_TLS_MODE", "on")]).is_some(), "{address}");
    }
    assert!(with(&[listen("127.0.0.1:7443"), ("SPILLWAY_GRPC_TLS_MODE", "off")]).is_none());
    let own = with(&[("SPILLWAY_GRPC_TLS_CERTIFICATE_FILE", "/c"), ("SPILLWAY_GRPC_TLS_NAMES", "a.example, 10.0.0.9")]);
    let own = own.expect("TLS");
    assert_eq!(own.names, ["a.example", "10.0.0.9"]);
    assert_eq!(own.own.expect("one").key_file, std::path::Path::new("/c"), "one file may have both");
}

#[test]
fn the_state_directory_is_the_units_or_else_the_users_own() {
    let state = |pairs: &[(&str, &str)]| {
        let settings = parse("f", "", &environment(&[&PLAN[..], pairs].concat()), Needs::Everything).unwrap();
        settings.state_directory.map(|path| path.display().to_string())
    };
    let (home, xdg) = (("HOME", "/home/u"), ("XDG_STATE_HOME", "/x/"));
    let unit = ("STATE_DIRECTORY", "/var/lib/spillway:/var/lib/more");
    assert_eq!(state(&[]), None);
    assert_eq!(state(&[home]).as_deref(), Some("/home/u/.local/state/spillway"));
    assert_eq!(state(&[home, xdg]).as_deref(), Some("/x/spillway"));
    assert_eq!(state(&[home, xdg, unit]).as_deref(), Some("/var/lib/spillway"));
    let ours = ("SPILLWAY_STATE_DIRECTORY", "/srv/s");
    assert_eq!(state(&[home, xdg, unit, ours]).as_deref(), Some("/srv/s"));
    let settings = parse("f", "installation = \"prod-1\"", &environment(&PLAN), Needs::Everything).unwrap();
    assert_eq!(settings.installation.as_deref(), Some("prod-1"));
    let refused = parse("f", "installation = \"two words\"", &environment(&PLAN), Needs::Everything).unwrap_err();
    assert!(refused.to_string().contains("f:1: installation: \"two words\" is not a name"), "{refused}");
}

#[test]
fn queues_needs_only_redis_and_names() {
    assert!(parse("f", "", &environment(&PLAN[..2]), Needs::Queues).is_ok());
}

#[test]
fn every_key_of_the_list_is_a_key_of_the_file() {
    // The list is what overrides and suggestions are made from: it must not name what the file refuses.
    for (key, kind, _) in keys::KEYS {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
        let header = match section {
            "" => String::new(),
            "pool" => "[[pool]]".to_owned(),
            "pool.policy" => "[[pool]]\n[pool.policy]".to_owned(),
            section => format!("[{section}]"),
        };
        let value = match kind {
            keys::Kind::Number => "3",
            keys::Kind::Fraction => "0.95",
            keys::Kind::Flag => "true",
            keys::Kind::List => "[]",
            keys::Kind::Toml if name == "steps" || name == "floor" => "[]",
            keys::Kind::Toml if name == "slots" => "4",
            keys::Kind::Toml => "{}",
            keys::Kind::Text | keys::Kind::Span => "\"5m\"",
        };
        let error = parse("f", &format!("{header}\n{name} = {value}"), &environment(&PLAN), Needs::Everything).err();
        assert!(
            !matches!(error, Some(ConfigError::UnknownKey { .. } | ConfigError::Syntax { .. })),
            "{key}: {error:?}"
        );
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_configuration_or_an_error(
        text in proptest::prop_oneof!["\\PC{0,200}", "(\\[{0,2}(redis|pool|grpc|pool.policy)\\]{0,2}\n|[a-z_]{1,12} = ([0-9-]{1,20}|\"[^\"\n]{0,10}\"|\\[\\]|true)\n){0,12}"],
        span in "[0-9]{0,25}(ms|s|m|h|d|y)?",
        count in proptest::prelude::any::<i64>(),
    ) {
        let _ = parse("f", &text, &environment(&PLAN), Needs::Everything);
        let design = DESIGN.replace("10s", &span).replace("max_instances = 2", &format!("max_instances = {count}"));
        if let Err(error) = parse("f", &design, &environment(&PLAN), Needs::Everything) {
            proptest::prop_assert!(error.to_string().contains("f:"), "{}", error);
        }
        let plan = [("EC2_SPOT_MAX_COUNT", text.as_str()), ("QUEUE_SCALE_DOWN_IDLE_MINUTES", &span)];
        let plan = [PLAN.as_slice(), plan.as_slice()].concat();
        let _ = parse("f", "", &environment(&plan), Needs::Everything);
    }
}

#[test]
fn a_wait_is_promised_by_kind_wait_alone_and_the_plans_idle_is_that_of_the_steps() {
    let read = |policy: &str, more: &[(&str, &str)]| {
        let text = format!("[[pool]]\n[pool.policy]\n{policy}");
        parse("f", &text, &environment(&[&PLAN[..], more].concat()), Needs::Everything)
    };
    let brain = |policy: &str, more: &[(&str, &str)]| read(policy, more).unwrap().pools.remove(0).brain;
    assert_eq!(brain("", &[]).wait, None);
    let idle = ("QUEUE_SCALE_DOWN_IDLE_MINUTES", "7");
    let wait = brain("kind = \"wait\"", &[idle]);
    assert_eq!((wait.wait, wait.policy.idle), (Some(spillway_brain::Wait::default()), Duration::from_secs(420)));
    let all = "kind = \"wait\"\ntarget = \"2m\"\nquantile = 1\nslots = 4\nidle = \"0s\"";
    let written = brain(all, &[]).wait.unwrap();
    assert_eq!((written.target, written.idle), (Duration::from_secs(120), Duration::ZERO));
    assert_eq!((written.quantile, written.slots), (1.0, Some(4)));
    let by_variable = [("SPILLWAY_POOL_POLICY_SLOTS", "measured"), ("SPILLWAY_POOL_POLICY_QUANTILE", "0.9")];
    let written = brain(all, &by_variable).wait.unwrap();
    assert_eq!((written.quantile, written.slots), (0.9, None));
    assert_eq!(read(all, &[]).unwrap().pools[0].target, Duration::from_secs(120), "the alert measures the promise");
    let unread = read("target = \"5m\"", &[]).unwrap().warnings.join("\n");
    assert!(unread.contains("f:3: pool.policy.target is not used: write policy.kind = \"wait\" for it"), "{unread}");
    for (policy, detail) in [
        ("kind = \"slo\"", "f:3: pool.policy.kind: \"slo\" is not a policy kind: write \"steps\" or \"wait\""),
        ("kind = \"wait\"\nquantile = 0", "f:4: pool.policy.quantile: 0 is no share of the jobs"),
        ("kind = \"wait\"\nquantile = 1.5", "f:4: pool.policy.quantile: 1.5 is no share of the jobs"),
        ("kind = \"wait\"\nquantile = nan", "f:4: pool.policy.quantile: NaN is no share of the jobs"),
        (
            "kind = \"wait\"\nquantile = \"0.9\"",
            "f:4: pool.policy.quantile: \"0.9\" is in quotes: write 0.9 without them",
        ),
        ("kind = \"wait\"\nslots = 0", "f:4: pool.policy.slots: 0 is not between 1 and 10000"),
        ("kind = \"wait\"\nslots = \"four\"", "f:4: pool.policy.slots: \"four\" is no number of jobs"),
        ("kind = \"wait\"\ntarget = \"0s\"", "f:4: pool.policy.target: "),
    ] {
        let refused = read(policy, &[]).unwrap_err().to_string();
        assert!(refused.contains(detail), "{policy}: {refused}");
    }
}

#[test]
fn a_secrets_file_comes_before_file_and_environment() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("redis-url");
    std::fs::write(&file, "redis://:from-a-file@127.0.0.1:6379\n").unwrap();
    let shown = file.display().to_string();
    let read = |pairs: &[(&str, &str)]| parse("f", "", &environment(&[&PLAN[..], pairs].concat()), Needs::Everything);
    let by_key = read(&[("SPILLWAY_REDIS_URL_FILE", &shown)]).unwrap();
    assert_eq!(by_key.redis_url, "redis://:from-a-file@127.0.0.1:6379");
    let said = |settings: &Settings, words: &str| settings.warnings.iter().any(|it| it.contains(words));
    assert!(said(&by_key, "is not used, because") && said(&by_key, "every user of this machine can read"));
    assert!(!by_key.warnings.iter().any(|it| it.contains("from-a-file")), "{:?}", by_key.warnings);
    let credentials = place.path().display().to_string();
    let by_credential =
        read(&[("CREDENTIALS_DIRECTORY", &credentials), ("SPILLWAY_REDIS_URL", "redis://10.0.0.1")]).unwrap();
    assert_eq!(by_credential.redis_url, by_key.redis_url);
    let missing = read(&[("SPILLWAY_GRPC_JOIN_TOKEN_FILE", "/nowhere/token")]).unwrap_err().to_string();
    assert!(missing.contains("SPILLWAY_GRPC_JOIN_TOKEN_FILE: cannot read /nowhere/token"), "{missing}");
    assert!(missing.contains("LoadCredential=join-token:/nowhere/token"), "the name that is read: {missing}");
    let url = [("SPILLWAY_NOTIFY_WEBHOOK_URL_FILE", "https://hooks.example/services/sesame")];
    let mistaken = read(&url).unwrap_err().to_string();
    assert!(mistaken.contains("SPILLWAY_NOTIFY_WEBHOOK_URL_FILE: is an address, and must be the path"), "{mistaken}");
    assert!(!mistaken.contains("sesame"), "{mistaken}");
    std::fs::write(&file, "\n").unwrap();
    let empty = read(&[("SPILLWAY_REDIS_URL_FILE", &shown)]).unwrap_err().to_string();
    assert!(empty.contains("is empty"), "{empty}");
}

#[test]
fn operators_are_known_by_loopback_or_by_token() {
    let with = |pairs: &[(&str, &str)]| parse("f", "", &environment(&[&PLAN[..], pairs].concat()), Needs::Everything);
    let plain = with(&[]).unwrap();
    assert_eq!((plain.operators, plain.operator_accounts.len()), (OperatorsKind::Loopback, 0));
    let token =
        with(&[("SPILLWAY_GRPC_OPERATORS", "token"), ("SPILLWAY_GRPC_OPERATOR_ACCOUNTS", "ubuntu,1001")]).unwrap();
    assert_eq!(token.operators, OperatorsKind::Token);
    assert_eq!(token.operator_accounts, ["ubuntu", "1001"]);
    let unused = with(&[("SPILLWAY_GRPC_OPERATOR_TOKEN_FILE", "/etc/spillway/operator-token")]).unwrap();
    assert!(unused.warnings.iter().any(|it| it.contains("are not used: grpc.operators is")), "{:?}", unused.warnings);
    let refused = with(&[("SPILLWAY_GRPC_OPERATORS", "everybody")]).unwrap_err().to_string();
    assert!(refused.contains("\"everybody\" is neither \"loopback\""), "{refused}");
}
