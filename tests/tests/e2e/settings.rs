//! Settings as an operator meets them: the service's own variables serve the commands too, and what cannot be meant
//! ends with exit status 2.

use std::fs;

use serde_json::Value;
use spillway_tests::coordinator::{Environment, spillway};
use spillway_tests::ports;
use spillway_tests::process::{output, text};
use spillway_tests::stage::{Setup, Stage, directory};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_ask_where_the_services_own_file_says_that_it_listens() {
    let stage = Stage::start(Setup::default()).await;
    let place = directory();
    let (file, variables) = (place.path().join("coordinator.toml"), place.path().join("coordinator.env"));
    fs::write(&file, "").expect("written");
    let asked = |listen: &str| {
        fs::write(&variables, listen).expect("written");
        output(spillway(&Environment::new()).arg("--config").arg(&file).arg("status"))
    };
    let port = stage.coordinator().grpc_port;
    let answered = asked(&format!("# the service's\nSPILLWAY_GRPC_LISTEN=127.0.0.1:{port}\n"));
    assert!(answered.status.success() && text(&answered.stdout).contains("spillway"), "{answered:?}");
    // On an address of the network operators are answered on loopback.
    let answered = asked(&format!("SPILLWAY_GRPC_LISTEN=10.0.0.5:{port}\n"));
    assert!(answered.status.success(), "{answered:?}");
    let free = ports::free();
    let nobody = asked(&format!("SPILLWAY_GRPC_LISTEN=0.0.0.0:{free}\n"));
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
    assert!(text(&nobody.stderr).contains(&format!("no coordinator answers at 127.0.0.1:{free}")), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_works_differently_from_how_it_reads_is_in_the_log_once() {
    let stage =
        Stage::start(Setup { environment: vec![("EC2_SPOT_MAX_COUNT", "5".to_owned())], ..Setup::default() }).await;
    let log = stage.coordinator().process.tail();
    let said =
        "the cap is 5 instances (environment: EC2_SPOT_MAX_COUNT), and no policy step asks for more than 2 instances";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_cannot_be_meant_ends_with_its_place_and_exit_status_2() {
    let stage = Stage::without_coordinator(Setup::default()).await;
    for (name, value, said) in [
        ("SPILLWAY_LOG", "loud", "SPILLWAY_LOG: \"loud\" is not a log level: write error, warn, info"),
        (
            "EC2_LAUNCH_TEMPLATE_ID",
            "lt-…   # from step 2",
            "environment: EC2_LAUNCH_TEMPLATE_ID: has a comment behind it",
        ),
        ("EC2_SPOT_MAX_COUNT", "0", "environment: EC2_SPOT_MAX_COUNT: 0 is not between 1 and 1000"),
        ("SPILLWAY_POOL_BOOT_TIMEOUT", "30M", "minutes are a small m): write 30m"),
        ("SPILLWAY_GRPC_JOIN_TOKEN", "REPLACE_ME", "SPILLWAY_GRPC_JOIN_TOKEN: is an example's placeholder"),
        (
            "SPILLWAY_GRPC_LISTEN",
            "0.0.0.0:7443",
            "grpc.join_token is not set: without it, whoever reaches the gRPC port",
        ),
        ("AWS_ENDPOINT_URL_STS", "http://sts.example.com", "AWS_ENDPOINT_URL_STS: is not http://127.0.0.1:PORT"),
    ] {
        let mut environment = stage.environment.clone();
        environment.insert("SPILLWAY_GRPC_TRUST".to_owned(), "token".to_owned());
        environment.insert("SPILLWAY_GRPC_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
        let mut run = spillway(&environment);
        let out = output(run.arg("run").env(name, value).current_dir(stage.directory.path()));
        assert_eq!(out.status.code(), Some(2), "{name}={value}: {out:?}");
        assert!(text(&out.stderr).contains(said), "{name}={value}: {}\nnot: {said}", text(&out.stderr));
    }
}

/// What the settings are is seen before anything runs by them.
#[test]
fn config_checks_as_run_does_and_shows_what_is_in_effect() {
    let place = directory();
    let file = place.path().join("coordinator.toml");
    let config = |arguments: &[&str]| {
        let mut config = spillway(&Environment::new());
        output(config.arg("--config").arg(&file).arg("config").args(arguments))
    };
    let example = text(&config(&["example"]).stdout);
    fs::write(&file, &example).expect("written");
    let checked = config(&["check"]);
    assert!(checked.status.success() && text(&checked.stdout).starts_with("ok: "), "{checked:?}");
    let misspelt = example.replace("max_instances", "max_instance");
    let line = 1 + misspelt.lines().position(|line| line.starts_with("max_instance ")).expect("the line");
    fs::write(&file, misspelt).expect("written");
    let refused = config(&["check"]);
    let mut run = spillway(&Environment::new());
    let run = output(run.arg("--config").arg(&file).arg("run"));
    assert_eq!((refused.status.code(), text(&refused.stderr)), (Some(2), text(&run.stderr)));
    assert!(text(&refused.stderr).contains(&format!("toml:{line}: unknown key \"pool.max_instance\"")), "{refused:?}");

    let secret = example.replace("redis://127.0.0.1:6379", "redis://:planted@127.0.0.1:6379");
    fs::write(&file, secret).expect("written");
    let values = |shown: &str| -> Vec<String> {
        let value = |line: &str| line.split(" # ").next().unwrap_or_default().trim_end().to_owned();
        shown.lines().map(value).filter(|line| !line.starts_with('#')).collect()
    };
    let shown = text(&config(&["show", "--effective"]).stdout);
    assert!(!shown.contains("planted") && shown.contains("redis://:********@127.0.0.1:6379"), "{shown}");
    for (setting, origin) in [("listen = \"0.0.0.0:7443\"", "coordinator.toml:"), ("prefix = \"spillway:\"", "default")]
    {
        let line = shown.lines().find(|line| line.starts_with(setting)).unwrap_or_else(|| panic!("{setting}: {shown}"));
        assert!(line.contains(origin), "{line}");
    }
    // What it shows is a file of the same effect.
    fs::write(&file, &shown).expect("written");
    let again = text(&config(&["show", "--effective"]).stdout);
    assert_eq!(values(&again), values(&shown));
}

#[test]
fn what_prints_json_prints_it_where_it_fails_too() {
    let environment = Environment::from([("REDIS_URL".to_owned(), "nonsense".to_owned())]);
    for (arguments, words) in [
        (&["config", "check", "--json"][..], "REDIS_URL"),
        (&["config", "show", "--json"], "REDIS_URL"),
        (&["init", "--json"], "--yes"),
        (&["init", "--json", "--yes", "--directory", "/nonexistent"], "/nonexistent"),
    ] {
        let out = output(spillway(&environment).args(arguments).current_dir("/"));
        assert!(!out.status.success(), "{arguments:?}: {out:?}");
        let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"));
        assert_eq!(said["ok"], false, "{said}");
        assert!(said["error"].as_str().is_some_and(|error| error.contains(words)), "{arguments:?}: {said}");
    }
}
