//! What is asked from outside: grpcurl, Prometheus, systemd, and people who mistype.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use spillway_tests::coordinator::{Coordinator, Environment, ServingStatus, spillway};
use spillway_tests::process::{command, output, run, text};
use spillway_tests::world::{Setup, World};
use spillway_tests::{QUEUE, binaries, jobs, ports, programs};

/// A world that launches nothing: the queue exists, and no job stays.
async fn quiet() -> World {
    let world = World::without_coordinator(Setup::default()).await;
    jobs::add(&world.redis, 1, 0.0);
    let mut world = world;
    world.start_coordinator().await;
    world
        .until_async("all parts serve", async || {
            world.coordinator().try_health("").await == Some(ServingStatus::Serving)
                && world.coordinator().try_health("spillway.leader").await == Some(ServingStatus::Serving)
        })
        .await;
    world
}

/// None, and said so, only where Go is not there to build it.
fn grpcurl() -> Option<Command> {
    let file = programs::tools().join("bin/grpcurl");
    if file.is_file() {
        return Some(command(file));
    }
    assert!(programs::find("go").is_none(), "grpcurl is missing although Go is there: run tests/setup");
    eprintln!("NOT RUN: grpcurl cannot be built without Go");
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcurl_asks_for_health_and_finds_the_services() {
    let world = quiet().await;
    let server = world.coordinator().server();
    let Some(_) = grpcurl() else { return };
    let ask = |arguments: &[&str]| run(grpcurl().expect("it is there").arg("-plaintext").args(arguments));
    let health = |data: &str| -> Value {
        let said = ask(&["-d", data, &server, "grpc.health.v1.Health/Check"]);
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    };
    let said: Value = serde_json::from_str(&ask(&[&server, "grpc.health.v1.Health/Check"])).expect("JSON");
    assert_eq!(said["status"], "SERVING");
    for service in ["spillway.queue", "spillway.cloud", "spillway.leader"] {
        assert_eq!(health(&format!("{{\"service\":\"{service}\"}}"))["status"], "SERVING", "{service}");
    }
    let listed = ask(&[&server, "list"]);
    for service in ["grpc.health.v1.Health", "spillway.v1.AgentService", "spillway.v1.OperatorService"] {
        assert!(listed.lines().any(|line| line == service), "{listed}");
    }
    assert!(ask(&[&server, "describe", "spillway.v1.OperatorService"]).contains("rpc Explain"));
    let fleet: Value = serde_json::from_str(&ask(&[&server, "spillway.v1.OperatorService/GetFleet"])).expect("JSON");
    assert_eq!(fleet["pools"][0]["name"], "spillway");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_tells_prometheus_and_probes() {
    let world = quiet().await;
    let address = format!("http://127.0.0.1:{}", world.coordinator().http_port);
    let get = async |path: &str| {
        let answer = reqwest::get(format!("{address}{path}")).await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    assert_eq!(get("/healthz").await, (200, "ok\n".to_owned()));
    let (status, ready) = get("/readyz").await;
    assert_eq!(
        (status, serde_json::from_str::<Value>(&ready).expect("JSON")["spillway.queue"].clone()),
        (200, true.into())
    );
    let (_, metrics) = get("/metrics").await;
    for line in [
        "spillway_queue_jobs{pool=\"spillway\",state=\"waiting\"} 1",
        "spillway_queue_demand{pool=\"spillway\"} 1",
        "spillway_observation_up{pool=\"spillway\"} 1",
        "spillway_cloud_up{pool=\"spillway\"} 1",
        "spillway_leader{pool=\"spillway\"} 1",
        "spillway_instances{pool=\"spillway\",phase=\"ready\"} 0",
        "spillway_instances_desired{pool=\"spillway\"} 0",
        "spillway_instances_max{pool=\"spillway\"} 2",
        "spillway_instances_launched_total{pool=\"spillway\"} 0",
    ] {
        assert!(metrics.lines().any(|said| said == line), "no {line} in\n{metrics}");
    }
    assert!(get("/").await.1.contains("1 could start"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_that_it_is_ready_that_it_lives_and_that_it_stops() {
    let world = World::without_coordinator(Setup::default()).await;
    jobs::add(&world.redis, 1, 0.0);
    let path = world.directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    let mut environment: Environment = world.environment.clone();
    environment.insert("NOTIFY_SOCKET".to_owned(), path.display().to_string());
    environment.insert("WATCHDOG_USEC".to_owned(), "30000000".to_owned());
    let coordinator = Coordinator::start(world.directory.path(), &environment, ports::free()).await;
    let until = |wanted: &str| {
        let mut heard = String::new();
        for _ in 0..200 {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}; heard {heard}"));
            heard += &text(&buffer[..length]);
            heard.push('\n');
            if heard.lines().any(|line| line.starts_with(wanted)) {
                return;
            }
        }
        panic!("no {wanted} in {heard}");
    };
    until("READY=1");
    until("WATCHDOG=1");
    until("STATUS=spillway: 1 waiting, 0 of 0 instances ready");
    coordinator.process.signal(libc::SIGTERM);
    until("STOPPING=1");
}

#[test]
fn both_units_pass_systemds_own_checks() {
    programs::program("systemd-analyze");
    let said = run(command("bash").arg(binaries::workspace().join("coordinator/deploy/verify")));
    assert!(said.contains("spillway.service: verified") && said.contains("spillway-agent.service: verified"), "{said}");
}

#[test]
fn what_is_mistyped_is_refused_with_the_remedy_and_status_2() {
    let directory = spillway_tests::world::directory();
    let file = directory.path().join("coordinator.toml");
    std::fs::write(&file, "[[pool]]\nmax_instance = 3\n").expect("written");
    let file = file.display().to_string();
    for (arguments, variables, said) in [
        (
            vec!["run", "--config", &file],
            vec![],
            "unknown key \"pool.max_instance\"; did you mean \"pool.max_instances\"?",
        ),
        (vec!["run"], vec![], "redis.url is not set: set REDIS_URL"),
        (vec!["run", "--config", "/no/such/file"], vec![], "/no/such/file: cannot be read"),
        (vec!["queues"], vec![("REDIS_URL", "http://nowhere"), ("QUEUE_NAMES", QUEUE)], "redis.url is not a Redis URL"),
        (vec!["runn"], vec![], "unrecognized subcommand"),
        (vec!["status", "--jsn"], vec![], "--json"),
    ] {
        let environment: Environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let out = output(spillway(&environment).args(&arguments));
        let stderr = text(&out.stderr);
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {stderr}");
    }
    let nobody = output(spillway(&Environment::new()).args(["status", "--server", "127.0.0.1:1"]));
    assert_eq!(nobody.status.code(), Some(1));
    assert!(text(&nobody.stderr).contains("no coordinator answers at 127.0.0.1:1"), "{}", text(&nobody.stderr));
}

#[test]
fn every_command_explains_itself() {
    for name in ["run", "demo", "status", "explain", "queues", "drain", "hold", "resume", "emulator"] {
        let out = output(spillway(&Environment::new()).args([name, "-h"]));
        assert!(out.status.success() && text(&out.stdout).contains("Usage: spillway"), "{name}");
        let prints_data = !["run"].contains(&name);
        assert_eq!(text(&out.stdout).contains("--json"), prints_data, "{name} -h");
    }
}
