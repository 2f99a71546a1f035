//! `spillway run` as a process of its own, and its clients: the command line as an operator uses it, and gRPC.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use spillway_proto::v1;
use spillway_proto::v1::operator_service_client::OperatorServiceClient;
use spillway_words::excerpt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

pub use spillway_stage::coordinator::Environment;
pub use tonic_health::pb::health_check_response::ServingStatus;

use crate::process::{Process, output, text};
use crate::{binaries, ports, wait};

#[derive(Debug)]
pub struct Coordinator {
    pub process: Process,
    pub grpc_port: u16,
    pub http_port: u16,
    directory: PathBuf,
}

/// `spillway` in an environment of its own.
pub fn spillway(environment: &Environment) -> Command {
    program(&binaries::spillway(), environment)
}

/// The same of another build.
pub fn program(file: &Path, environment: &Environment) -> Command {
    spillway_stage::coordinator::spillway(file, environment)
}

impl Coordinator {
    /// Starts it on these ports, and waits until it answers.
    pub async fn start(directory: &Path, environment: &Environment, grpc_port: u16) -> Self {
        Self::launch(spillway(environment), directory, grpc_port).await
    }

    /// The same with a command of [`spillway`]'s or [`program`]'s.
    pub async fn launch(command: Command, directory: &Path, grpc_port: u16) -> Self {
        Self::launch_at(command, directory, "127.0.0.1", grpc_port).await
    }

    /// The same, with the address on which it listens for agents.
    pub async fn launch_at(command: Command, directory: &Path, grpc_host: &str, grpc_port: u16) -> Self {
        let http_port = ports::free();
        let grpc = (grpc_host, grpc_port);
        let started = spillway_stage::coordinator::start_at(command, directory, grpc, http_port);
        let log = directory.join(format!("coordinator-{http_port}.log"));
        let process = started.unwrap_or_else(|error| panic!("{error:#}")).into();
        let mut coordinator = Coordinator { process, grpc_port, http_port, directory: directory.to_owned() };
        wait::until(
            "the coordinator answers",
            async || excerpt::end("coordinator", &fs::read_to_string(&log).unwrap_or_default()),
            async || {
                if let Some(status) = coordinator.process.ended() {
                    panic!("the coordinator has ended: {status}\n{}", coordinator.process.tail());
                }
                coordinator.try_health("").await.is_some().then_some(())
            },
        )
        .await;
        coordinator
    }

    /// Runs a command of the command line against it, as an operator would.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = spillway(&Environment::new());
        command.args(arguments).env("SPILLWAY_SERVER", self.server()).current_dir(&self.directory);
        output(&mut command)
    }

    /// The output of a command with `--json`, which must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let out = self.command(&[arguments, &["--json"]].concat());
        assert!(out.status.success(), "{arguments:?}: {}{}", text(&out.stderr), self.process.tail());
        serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&out.stdout)))
    }

    /// `spillway status --json`: the only pool.
    pub fn status(&self) -> Value {
        self.json(&["status"])["pools"][0].clone()
    }

    /// `spillway explain --json`, newest first.
    pub fn explain(&self) -> Vec<Value> {
        let plans = self.json(&["explain", "--limit", "500"]);
        plans.as_array().expect("a list").clone()
    }

    /// Whether one of the plans so far has a note or a reason that contains this text.
    pub fn explained(&self, words: &str) -> bool {
        let has = |value: &Value| value.as_str().is_some_and(|text| text.contains(words));
        self.explain().iter().any(|plan| {
            let decisions = plan["decisions"].as_array().into_iter().flatten();
            plan["notes"].as_array().into_iter().flatten().any(has)
                || decisions.into_iter().any(|it| has(&it["reason"]))
        })
    }

    /// For a failure: the end of its log, its last plans and its status.
    pub fn diagnosis(&self) -> String {
        let asked = |arguments: &[&str]| {
            let out = self.command(arguments);
            text(&[out.stdout, out.stderr].concat())
        };
        let plans = excerpt::beginning("plans, the newest first", &asked(&["explain", "--limit", "10"]));
        self.process.tail() + &plans + &excerpt::end("status", &asked(&["status", "--all"]))
    }

    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }

    fn channel(&self) -> Option<tonic::transport::Endpoint> {
        tonic::transport::Endpoint::from_shared(format!("http://{}", self.server())).ok()
    }

    /// The only pool, if it answers.
    pub async fn try_pool(&self) -> Option<v1::Pool> {
        let channel = self.channel()?.connect().await.ok()?;
        let fleet = OperatorServiceClient::new(channel).get_fleet(v1::GetFleetRequest::default()).await.ok()?;
        fleet.into_inner().pools.into_iter().next()
    }

    pub async fn pool(&self) -> v1::Pool {
        self.try_pool().await.unwrap_or_else(|| panic!("the coordinator does not answer\n{}", self.process.tail()))
    }

    /// The standard health service's status of one service; None if it does not answer.
    pub async fn try_health(&self, service: &str) -> Option<ServingStatus> {
        let channel = self.channel()?.connect().await.ok()?;
        let request = HealthCheckRequest { service: service.to_owned() };
        Some(HealthClient::new(channel).check(request).await.ok()?.into_inner().status())
    }

    pub async fn health(&self, service: &str) -> ServingStatus {
        let status = self.try_health(service).await;
        status.unwrap_or_else(|| panic!("no health status of \"{service}\"\n{}", self.process.tail()))
    }
}
