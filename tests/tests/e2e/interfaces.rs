//! The interfaces for other programs: gRPC health and reflection with the real grpcurl, HTTP for probes and Prometheus,
//! the command line with its exit statuses, and systemd's protocol and units.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use spillway_emulator::Refuse;
use spillway_tests::coordinator::{Environment, ServingStatus, spillway};
use spillway_tests::process::{Process, command, output, run, text};
use spillway_tests::stage::{Setup, Stage, directory};
use spillway_tests::{binaries, jobs, ports, programs, wait};

/// A stage whose queue exists and whose parts all serve.
async fn serving() -> Stage {
    let stage = Stage::start(Setup::default()).await;
    jobs::add(&stage.redis, 1, 1.0);
    stage
        .until_async("it serves", async || stage.coordinator().try_health("").await == Some(ServingStatus::Serving))
        .await;
    stage
}

/// None where it cannot be: without Go there is no grpcurl.
fn grpcurl() -> Option<std::path::PathBuf> {
    let found = [programs::tools().join("bin/grpcurl")].into_iter().find(|file| file.is_file());
    let found = found.or_else(|| programs::find("grpcurl"));
    if found.is_none() {
        assert!(programs::find("go").is_none(), "Go is there and grpcurl is not: run tests/setup");
        println!("NOT RUN: there is no grpcurl, and no Go to build it");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_real_grpcurl_checks_health_lists_and_describes() {
    let Some(grpcurl) = grpcurl() else { return };
    let stage = serving().await;
    let server = stage.coordinator().server();
    let ask = |before: &[&str], after: &[&str]| {
        let mut ask = command(&grpcurl);
        output(ask.arg("-plaintext").args(before).arg(&server).args(after))
    };
    let good = |before: &[&str], after: &[&str]| {
        let out = ask(before, after);
        assert!(out.status.success(), "{before:?} {after:?}: {}", text(&out.stderr));
        text(&out.stdout)
    };
    let check = ["grpc.health.v1.Health/Check"];
    let status = |said: &str| serde_json::from_str::<Value>(said).expect("JSON")["status"].clone();
    assert_eq!(status(&good(&[], &check)), "SERVING");
    for service in ["spillway.queue", "spillway.cloud", "spillway.leader", "spillway.launches", "spillway.terminations"]
    {
        let request = json!({ "service": service }).to_string();
        assert_eq!(status(&good(&["-d", &request], &check)), "SERVING", "{service}");
    }
    let unknown = ask(&["-d", r#"{"service":"spillway.nothing"}"#], &check);
    assert!(text(&unknown.stderr).contains("NotFound"), "{}", text(&unknown.stderr));

    let listed = good(&[], &["list"]);
    for service in ["grpc.health.v1.Health", "spillway.v1.AgentService", "spillway.v1.OperatorService"] {
        assert!(listed.lines().any(|line| line == service), "{listed}");
    }
    let described = good(&[], &["describe", "spillway.v1.OperatorService"]);
    assert!(described.contains("rpc Drain (") && described.contains("rpc WatchFleet ("), "{described}");
    let fleet: Value = serde_json::from_str(&good(&[], &["spillway.v1.OperatorService/GetFleet"])).expect("JSON");
    assert_eq!(fleet["pools"][0]["name"], "spillway", "{fleet}");

    let described = good(&[], &["describe", "spillway.v1.StsProof"]);
    for field in ["access_key_id = 1", "session_token = 2", "amz_date = 3", "signature = 4", "never logged"] {
        assert!(described.contains(field), "{field} is not in\n{described}");
    }
    let proof = json!({ "accessKeyId": "ASIA0000000000000000" });
    let proof = json!({ "identity": { "instanceId": "i-1", "bootId": "b" }, "stsProof": proof });
    let refused = ask(&["-d", &proof.to_string()], &["spillway.v1.AgentService/Register"]);
    let said = text(&refused.stderr);
    let words = "sts_proof.session_token is outside of its bounds";
    assert!(said.contains("InvalidArgument") && said.contains(words), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_metrics_say_how_it_is() {
    let stage = serving().await;
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    let base = format!("http://127.0.0.1:{}", stage.coordinator().http_port);
    let get = async |path: &str| {
        let answer = http.get(format!("{base}{path}")).send().await.expect("an answer");
        let kind = answer.headers().get("content-type").and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
        (answer.status(), kind, answer.text().await.expect("a body"))
    };
    let (status, _, body) = get("/healthz").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
    let ready = json!({
        "spillway.queue": true, "spillway.cloud": true, "spillway.leader": true,
        "spillway.launches": true, "spillway.terminations": true,
    });
    let (status, _, body) = get("/readyz").await;
    assert_eq!((status, serde_json::from_str::<Value>(&body).expect("JSON")), (StatusCode::OK, ready));
    let (status, kind, metrics) = get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    for line in [
        "spillway_queue_jobs{pool=\"spillway\",queue=\"video-processing\",state=\"waiting\"} 1",
        "spillway_queue_demand{pool=\"spillway\"} 1",
        "spillway_observation_up{pool=\"spillway\"} 1",
        "spillway_cloud_up{pool=\"spillway\"} 1",
        "spillway_leader{pool=\"spillway\"} 1",
        "spillway_instances{pool=\"spillway\",phase=\"ready\",capacity_type=\"spot\"} 0",
        "spillway_instances_max{pool=\"spillway\"} 2",
        "spillway_instances_launched_total{pool=\"spillway\"} 0",
        "spillway_launches_total{pool=\"spillway\",capacity_type=\"spot\",outcome=\"accepted\"} 0",
        "spillway_launches_total{pool=\"spillway\",capacity_type=\"spot\",outcome=\"refused_token_used\"} 0",
        "spillway_launches_blocked{pool=\"spillway\",class=\"permission\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    for of in ["ca", "server"] {
        let name = format!("spillway_certificate_expiry_timestamp_seconds{{of=\"{of}\"}} ");
        let until = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse::<f64>().ok());
        let now = spillway_coordinator::clock::system_now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        let days = until.map(|until| (until - now.expect("after 1970").as_secs_f64()) / 86_400.0);
        assert!(days.is_some_and(|days| days > 80.0), "{name}{days:?} in\n{metrics}");
    }
    let (status, _, page) = get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("spillway"), "{page}");
    assert_eq!(get("/nothing").await.0, StatusCode::NOT_FOUND);

    let fault = Refuse { action: "DescribeInstances".into(), code: "InternalError".into(), calls: 1000, message: None };
    stage.emulator().refuse(fault).expect("a fault");
    stage
        .until_async("it is not ready without a listing", async || {
            get("/readyz").await.0 == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
    let said: Value = serde_json::from_str(&get("/readyz").await.2).expect("JSON");
    assert_eq!((&said["spillway.cloud"], &said["spillway.queue"]), (&json!(false), &json!(true)));
    assert_eq!(get("/healthz").await.0, StatusCode::OK, "the process is alive");
    assert!(get("/metrics").await.2.contains("spillway_cloud_up{pool=\"spillway\"} 0"));
}

#[test]
fn a_key_that_does_not_exist_is_refused_with_the_nearest_one() {
    let directory = directory();
    let file = directory.path().join("coordinator.toml");
    let set = |name: &str, value: &str| Environment::from([(name.to_owned(), value.to_owned())]);
    for (text_of_file, environment, words) in [
        (
            "[[pool]]\nmax_instance = 3\n",
            Environment::new(),
            "unknown key \"pool.max_instance\"; did you mean \"pool.max_instances\"?",
        ),
        ("[grcp]\nlisten = \"127.0.0.1:1\"\n", Environment::new(), "did you mean \"grpc\"?"),
        ("", set("SPILLWAY_POOL_MAX_INSTANCE", "3"), "did you mean \"SPILLWAY_POOL_MAX_INSTANCES\"?"),
        (
            "[[pool]]\ninterval = \"soon\"\n",
            Environment::new(),
            "coordinator.toml:2: pool.interval: \"soon\" is not a duration: write 90s, 5m or 2h",
        ),
        ("", Environment::new(), "redis.url is not set: set REDIS_URL"),
    ] {
        std::fs::write(&file, text_of_file).expect("a file");
        let out = output(spillway(&environment).arg("run").arg("--config").arg(&file));
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{text_of_file}: {said}");
        assert!(said.contains(words), "{text_of_file}: {said}");
    }
    let out = output(spillway(&Environment::new()).args(["run", "--config", "/nowhere/spillway.toml"]));
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("/nowhere/spillway.toml"), "{}", text(&out.stderr));
}

#[test]
fn every_command_explains_itself() {
    let say = |arguments: &[&str]| output(spillway(&Environment::new()).args(arguments));
    let help = text(&say(&["--help"]).stdout);
    let commands = ["run", "status", "top", "explain", "queues", "drain", "hold", "resume", "demo", "emulator"];
    for name in commands {
        assert!(
            help.lines().any(|line| line.trim_start().starts_with(&format!("{name} "))),
            "{name} is not in\n{help}"
        );
        for flag in ["--help", "-h"] {
            let out = say(&[name, flag]);
            assert_eq!(out.status.code(), Some(0), "{name} {flag}");
            assert!(text(&out.stdout).contains(&format!("Usage: spillway {name}")), "{}", text(&out.stdout));
        }
    }
    for name in ["status", "explain", "queues", "drain", "hold", "resume", "demo"] {
        assert!(text(&say(&[name, "--help"]).stdout).contains("--json"), "{name}");
    }
    let mut agent = command(binaries::agent());
    assert!(run(agent.arg("--help")).contains("Usage: spillway-agent"));
    for bad in [&["fly"][..], &[], &["status", "--nothing"], &["drain"]] {
        assert_eq!(say(bad).status.code(), Some(2), "{bad:?}");
    }
    let server = format!("127.0.0.1:{}", ports::free());
    let nobody = say(&["status", "--server", &server]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no coordinator answers at"), "{}", text(&nobody.stderr));
}

#[test]
fn systemd_understands_both_units() {
    programs::program("systemd-analyze");
    let said = run(&mut command(binaries::workspace().join("coordinator/deploy/verify")));
    for unit in ["coordinator/deploy/spillway.service", "ami/spillway-agent.service"] {
        assert!(said.contains(&format!("{unit}: verified")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_when_it_is_ready_that_it_lives_and_that_it_stops() {
    let stage = Stage::without_coordinator(Setup::default()).await;
    let place = stage.directory.path().join("notify");
    let socket = UnixDatagram::bind(&place).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    let mut told: Vec<String> = Vec::new();
    let hear = |told: &mut Vec<String>| {
        let mut bytes = [0; 4096];
        while let Ok(length) = socket.recv(&mut bytes) {
            told.extend(text(&bytes[..length]).lines().map(str::to_owned));
        }
    };
    let mut run = spillway(&stage.environment);
    run.arg("run").env("NOTIFY_SOCKET", &place).env("WATCHDOG_USEC", "10000000");
    run.env("SPILLWAY_GRPC_LISTEN", "127.0.0.1:0").env("SPILLWAY_HTTP_LISTEN", "127.0.0.1:0");
    run.env("SPILLWAY_STATE_DIRECTORY", stage.directory.path().join("state"));
    let mut process = Process::start("coordinator", &mut run, &stage.directory.path().join("log"));
    wait::until(
        "READY=1 and three signs of life",
        async || process.tail(),
        async || {
            hear(&mut told);
            let signs = told.iter().filter(|line| *line == "WATCHDOG=1").count();
            (told.contains(&"READY=1".to_owned()) && signs >= 3).then_some(())
        },
    )
    .await;
    assert_eq!(told.iter().filter(|line| *line == "READY=1").count(), 1, "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("STATUS=spillway: ")), "{told:?}");
    assert!(!told.contains(&"STOPPING=1".to_owned()), "{told:?}");
    process.signal(libc::SIGTERM);
    let status = process.end_within(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{}", process.tail());
    hear(&mut told);
    assert!(told.contains(&"STOPPING=1".to_owned()), "{told:?}");
}
