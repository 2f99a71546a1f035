//! What the demo sets up: a private Redis, the application's repository, the emulator, the coordinator and a primary,
//! in a temporary directory. Whatever was set up is taken down by `end`, in whatever state it is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use spillway_emulator::{Emulator, Key, LaunchTemplate};
use spillway_output::errln;
use spillway_stage::coordinator::{self, Environment};
use spillway_stage::process::{Process, finish};
use spillway_stage::redis_server::RedisServer;
use spillway_stage::repository::{Instance, Repository};
use spillway_stage::{QUEUE, ec2, ports, primary, programs};

use super::{MAX_INSTANCES, MINUTE, app};

const POOL: &str = "demo";
/// Lines of each log that are shown when something went wrong.
const TAIL: usize = 15;
const POLL: Duration = Duration::from_millis(50);
/// From the coordinator's start until it listens.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Stage {
    agent: PathBuf,
    directory: tempfile::TempDir,
    grpc_port: u16,
    http_port: u16,
    redis: Option<RedisServer>,
    repository: Option<Repository>,
    pub emulator: Option<Emulator>,
    coordinator: Option<Process>,
    primary: Option<Process>,
}

impl Stage {
    /// Looks for what is needed, and touches nothing yet.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            agent: find_programs()?,
            directory: spillway_stage::directory("spillway-").context("cannot make a directory")?,
            grpc_port: ports::free()?,
            http_port: ports::free()?,
            redis: None,
            repository: None,
            emulator: None,
            coordinator: None,
            primary: None,
        })
    }

    /// Sets everything up; `tell` is told each step as it begins.
    pub(super) async fn set_up(&mut self, tell: impl Fn(&str)) -> anyhow::Result<()> {
        tell("starting a private Redis");
        self.redis.insert(RedisServer::launch_with_password(self.directory.path(), &random())?).until_up().await?;
        tell("committing the application to a git repository");
        self.repository = Some(Repository::commit(self.directory.path(), &app::FILES).await?);
        tell("installing the primary's copy of it (bun install)");
        self.start_primary().await?;
        tell("starting EC2's emulator and a launch template");
        self.start_emulator().await?;
        // An application has made its queue before anybody reads it.
        self.flood(0, 0.0).await?;
        tell("starting the coordinator");
        self.start_coordinator().await
    }

    async fn start_primary(&mut self) -> anyhow::Result<()> {
        let copy = self.primary_directory();
        self.repository()?.copy_to(&copy, self.directory.path()).await?;
        self.primary = Some(primary::start(&copy, &self.redis_url(), &self.path("primary.log"))?);
        Ok(())
    }

    async fn start_emulator(&mut self) -> anyhow::Result<()> {
        let options = ec2::options(self.directory.path(), spillway_emulator::init::command_line()?)?;
        let user_data = self.repository()?.user_data(Instance {
            redis_url: &self.redis_url(),
            grpc_port: self.grpc_port,
            ca_file: Some(&coordinator::ca_file(self.directory.path())),
            agent: &self.agent,
            keys: "",
            more: "",
        })?;
        // Every user of the machine can read the metadata of an instance: the secrets are in a file of this directory.
        let boot = self.path("boot-instance");
        std::fs::write(&boot, user_data)?;
        let user_data = format!("#!/bin/sh\nexec sh '{}'\n", boot.display());
        let emulator = self.emulator.insert(spillway_emulator::start(options).await?);
        let instance_profile = Some("demo-worker".to_owned());
        let template = LaunchTemplate { user_data, instance_profile, ..LaunchTemplate::default() };
        emulator.create_launch_template("demo-worker", template)?;
        Ok(())
    }

    async fn start_coordinator(&mut self) -> anyhow::Result<()> {
        let minutes = |n: u32| format!("{}s", (MINUTE * n).as_secs());
        let config = format!(
            "[redis]\nurl = \"{redis}\"\n[ec2]\nregion = \"us-east-1\"\n\
             [grpc]\ntrust = \"aws\"\nheartbeat_interval = \"1s\"\n[grpc.tls]\nmode = \"on\"\n\
             [[pool]]\nname = \"{POOL}\"\nqueues = [\"{QUEUE}\"]\nlaunch_template = \"demo-worker\"\n\
             max_instances = {MAX_INSTANCES}\ninterval = \"1s\"\nlisting_interval = \"1s\"\nboot_timeout = \"90s\"\n\
             [pool.policy]\nkind = \"steps\"\nidle = \"{idle}\"\n\
             steps = [{{ jobs = 5, for = \"{five}\", instances = 1 }}, {{ jobs = 15, for = \"{five}\", instances = 2 }}]\n",
            redis = self.redis_url(),
            idle = minutes(10),
            five = minutes(5),
        );
        std::fs::write(self.config(), config)?;
        let environment: Environment = self.emulator.iter().flat_map(ec2::client_environment).collect();
        let mut spillway = coordinator::spillway(&std::env::current_exe()?, &environment);
        spillway.arg("--config").arg(self.config());
        let started = coordinator::start(spillway, self.directory.path(), self.grpc_port, self.http_port)?;
        self.coordinator = Some(started);
        let until = tokio::time::Instant::now() + STARTS_WITHIN;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.grpc_port)).await.is_err() {
            self.check_children()?;
            if tokio::time::Instant::now() > until {
                bail!("the coordinator did not come up");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Adds the jobs, as an application would: with BullMQ, which makes the queue as well.
    pub(super) async fn flood(&self, jobs: u32, seconds: f64) -> anyhow::Result<()> {
        let mut add = primary::script(&self.primary_directory(), "add-jobs.js", &self.redis_url())?;
        add.args([jobs.to_string(), seconds.to_string()]);
        finish("add the jobs", add).await?;
        Ok(())
    }

    /// An error once something has ended that must not.
    pub(super) fn check_children(&mut self) -> anyhow::Result<()> {
        let redis = self.redis.as_mut().map(RedisServer::process);
        let others = [self.primary.as_mut(), self.coordinator.as_mut()];
        redis.into_iter().chain(others.into_iter().flatten()).try_for_each(Process::check)
    }

    pub(super) fn redis_url(&self) -> String {
        self.redis.as_ref().map(RedisServer::url).unwrap_or_default()
    }

    /// `HOST:PORT` of the coordinator's gRPC.
    pub(super) fn coordinator(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }

    /// Where everything is, until the end.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The coordinator's configuration.
    pub(super) fn config(&self) -> PathBuf {
        self.path("coordinator.toml")
    }

    /// The primary's copy of the application.
    pub(super) fn primary_directory(&self) -> PathBuf {
        self.path("primary")
    }

    /// What the processes said last, when something went wrong.
    pub(super) fn show_logs(&self) {
        for child in [&self.primary, &self.coordinator].into_iter().flatten() {
            errln!("{}", child.tail(TAIL));
        }
        for instance in self.emulator.iter().flat_map(Emulator::instances) {
            let console = self.emulator.as_ref().and_then(|emulator| emulator.console(&instance.id).ok());
            errln!("--- {}\n{}", instance.id, console.unwrap_or_default());
        }
    }

    /// Ends every process and removes every file.
    pub(super) async fn end(mut self) {
        // The coordinator first: it must not see its instances go and launch others.
        for child in [&mut self.coordinator, &mut self.primary].into_iter().flatten() {
            child.end().await;
        }
        if let Some(emulator) = self.emulator.take() {
            emulator.stop().await;
        }
        if let Some(redis) = &mut self.redis {
            redis.process().end().await;
        }
        let path = self.directory.path().to_owned();
        if let Err(error) = self.directory.close() {
            errln!("spillway: cannot remove {}: {error}", path.display());
        }
    }

    fn repository(&self) -> anyhow::Result<&Repository> {
        self.repository.as_ref().context("the application is not committed yet")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A secret of this run.
fn random() -> String {
    Key::random().expose().to_owned()
}

/// The agent: beside this program, or in PATH. An error names everything that is missing, at once.
fn find_programs() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("spillway-agent");
    let agent = if programs::is_program(&beside) { Some(beside) } else { programs::find("spillway-agent") };
    let others = ["redis-server", "git", "bun", "pm2", "node"];
    let mut missing: Vec<&str> = others.into_iter().filter(|name| programs::find(name).is_none()).collect();
    match agent {
        Some(agent) if missing.is_empty() => return Ok(agent),
        Some(_) => {}
        None => missing.insert(0, "spillway-agent"),
    }
    bail!("the demo needs {}: run `tests/setup demo` first", missing.join(", "))
}
