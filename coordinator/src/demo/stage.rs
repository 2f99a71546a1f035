//! The stage: a private Redis, the application's repository, the emulator, the coordinator and a primary worker, in a
//! temporary directory. Whatever was set up is taken down by `end`, in whatever state it is.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use spillway_emulator::{Emulator, LaunchTemplate};
use tokio::process::Command;

use super::children::{Running, command, finish, start};
use super::screen::Screen;
use super::{MAX_INSTANCES, MINUTE, app};

pub(super) const QUEUE: &str = "video-processing";
pub(super) const POOL: &str = "demo";

/// Programs that the demo starts, by where they are.
#[derive(Debug)]
struct Programs {
    redis: PathBuf,
    git: PathBuf,
    bun: PathBuf,
    agent: PathBuf,
    coordinator: PathBuf,
}

#[derive(Debug)]
pub(super) struct Stage {
    programs: Programs,
    directory: tempfile::TempDir,
    pub redis_url: String,
    grpc_port: u16,
    http_port: u16,
    pub emulator: Option<Emulator>,
    redis: Option<Running>,
    coordinator: Option<Running>,
    primary: Option<Running>,
}

impl Stage {
    /// Looks for what is needed, and touches nothing yet.
    pub(super) fn new() -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        // Short, since PM2 keeps sockets below it.
        let directory = tempfile::Builder::new().prefix("spillway-").tempdir().context("cannot make a directory")?;
        let [redis_port, grpc_port, http_port] = free_ports()?;
        Ok(Stage {
            programs,
            directory,
            redis_url: format!("redis://127.0.0.1:{redis_port}"),
            grpc_port,
            http_port,
            emulator: None,
            redis: None,
            coordinator: None,
            primary: None,
        })
    }

    pub(super) async fn set_up(&mut self, screen: &mut Screen) -> anyhow::Result<()> {
        screen.step("starting a private Redis");
        self.start_redis().await?;
        screen.step("committing the application to a git repository");
        self.make_repository().await?;
        screen.step("installing the primary's copy of it (bun install)");
        self.make_primary().await?;
        screen.step("starting EC2's emulator and a launch template");
        self.start_emulator().await?;
        screen.step("starting the coordinator");
        self.start_coordinator().await
    }

    async fn start_redis(&mut self) -> anyhow::Result<()> {
        let port = self.redis_url.rsplit(':').next().unwrap_or_default();
        let mut redis = command(&self.programs.redis);
        redis.args(["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        redis.args(["--maxmemory-policy", "noeviction", "--dir"]).arg(self.path(""));
        self.redis = Some(start("Redis", &mut redis, self.path("redis.log"))?);
        let client = redis::Client::open(self.redis_url.as_str())?;
        for _ in 0..100 {
            if let Some(redis) = &mut self.redis {
                redis.check()?;
            }
            if client.get_multiplexed_async_connection().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("Redis did not come up")
    }

    async fn make_repository(&self) -> anyhow::Result<()> {
        let origin = self.path("origin");
        app::write(&origin)?;
        let git = |arguments: &[&str]| {
            let mut git = self.tool(&self.programs.git, &origin);
            git.args(["-c", "user.name=demo", "-c", "user.email=demo@localhost", "-c", "init.defaultBranch=main"]);
            git.args(arguments);
            git
        };
        finish("make the repository", &mut git(&["init", "-q"])).await?;
        finish("add the application", &mut git(&["add", "."])).await?;
        finish("commit the application", &mut git(&["commit", "-q", "-m", "The demo's application"])).await
    }

    async fn make_primary(&mut self) -> anyhow::Result<()> {
        let directory = self.path("primary");
        app::write(&directory)?;
        let mut install = self.tool(&self.programs.bun, &directory);
        finish("install the application", install.args(["install", "--frozen-lockfile"])).await?;
        let mut worker = self.tool(&self.programs.bun, &directory);
        self.primary = Some(start("primary worker", worker.arg("worker.js"), self.path("primary.log"))?);
        Ok(())
    }

    async fn start_emulator(&mut self) -> anyhow::Result<()> {
        let mut options = spillway_emulator::Options::new(self.path("ec2"), spillway_emulator::init::command_line()?);
        options.environment = vec![("BUN_INSTALL_CACHE_DIR".into(), bun_cache().into())];
        let emulator = spillway_emulator::start(options).await?;
        let template = LaunchTemplate { user_data: self.user_data(), ..LaunchTemplate::default() };
        emulator.create_launch_template("demo-worker", template)?;
        self.emulator = Some(emulator);
        Ok(())
    }

    /// What a real image has baked in is put in place here; then the agent takes over, as on EC2.
    fn user_data(&self) -> String {
        let (origin, agent, git) = (self.path("origin"), self.programs.agent.display(), self.programs.git.display());
        format!(
            "#!/bin/sh\nset -e\n\
             {git} clone -q '{origin}' \"$HOME/app\"\n\
             printf 'REDIS_URL={redis}\\nQUEUE_NAMES={QUEUE}\\n' > \"$HOME/app/.env\"\n\
             cat > \"$HOME/agent.toml\" <<END\n\
             coordinator = \"http://127.0.0.1:{port}\"\n\
             join_token = \"demo\"\n\
             env_file = \"$HOME/app/.env\"\n\
             state_directory = \"$HOME/state\"\n\
             [boot]\n\
             directory = \"$HOME/app\"\n\
             [worker]\n\
             queues = [\"{QUEUE}\"]\n\
             END\n\
             exec '{agent}' run --config \"$HOME/agent.toml\"\n",
            origin = origin.display(),
            redis = self.redis_url,
            port = self.grpc_port,
        )
    }

    async fn start_coordinator(&mut self) -> anyhow::Result<()> {
        let minutes = |n: u32| format!("{}s", (MINUTE * n).as_secs());
        let config = format!(
            "[redis]\nurl = \"{redis}\"\n[ec2]\nregion = \"us-east-1\"\n\
             [grpc]\nlisten = \"127.0.0.1:{grpc}\"\njoin_token = \"demo\"\nheartbeat_interval = \"1s\"\n\
             [http]\nlisten = \"127.0.0.1:{http}\"\n\
             [[pool]]\nname = \"{POOL}\"\nqueues = [\"{QUEUE}\"]\nlaunch_template = \"demo-worker\"\n\
             max_instances = {MAX_INSTANCES}\ninterval = \"1s\"\nlisting_interval = \"1s\"\nboot_timeout = \"90s\"\n\
             [pool.policy]\nkind = \"steps\"\nidle = \"{idle}\"\n\
             steps = [{{ jobs = 5, for = \"{five}\", instances = 1 }}, {{ jobs = 15, for = \"{five}\", instances = 2 }}]\n",
            redis = self.redis_url,
            grpc = self.grpc_port,
            http = self.http_port,
            idle = minutes(10),
            five = minutes(5),
        );
        let file = self.path("coordinator.toml");
        std::fs::write(&file, config)?;
        let endpoint = self.emulator.as_ref().map(Emulator::endpoint).unwrap_or_default();
        let mut coordinator = command(&self.programs.coordinator);
        coordinator.args(["run", "--config"]).arg(file);
        // Neither settings nor credentials of this machine's may reach it: it must not find a real account.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("AWS_") || text.starts_with("SPILLWAY_") {
                coordinator.env_remove(&name);
            }
        }
        coordinator.env("AWS_ENDPOINT_URL_EC2", endpoint);
        coordinator.env("AWS_ACCESS_KEY_ID", "demo").env("AWS_SECRET_ACCESS_KEY", "demo");
        coordinator.env("AWS_EC2_METADATA_DISABLED", "true");
        self.coordinator = Some(start("coordinator", &mut coordinator, self.path("coordinator.log"))?);
        for _ in 0..200 {
            self.check_children()?;
            if tokio::net::TcpStream::connect(("127.0.0.1", self.grpc_port)).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the coordinator did not come up")
    }

    /// Adds the jobs, as an application would: with BullMQ.
    pub(super) async fn flood(&self, jobs: u32, seconds: f64) -> anyhow::Result<()> {
        let mut add = self.tool(&self.programs.bun, &self.path("primary"));
        finish("add the jobs", add.arg("add-jobs.js").arg(jobs.to_string()).arg(seconds.to_string())).await
    }

    /// An error once something has ended that must not.
    pub(super) fn check_children(&mut self) -> anyhow::Result<()> {
        let children = [&mut self.redis, &mut self.primary, &mut self.coordinator];
        children.into_iter().flatten().try_for_each(Running::check)
    }

    /// `HOST:PORT` of the coordinator's gRPC.
    pub(super) fn coordinator(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }

    /// Commands for whoever wants to look around.
    pub(super) fn hints(&self) -> String {
        format!(
            "SPILLWAY_SERVER={server} spillway status; curl http://127.0.0.1:{http}/metrics; REDIS_URL={redis}; \
             AWS_ENDPOINT_URL_EC2={ec2} SPILLWAY_SERVER={server} spillway gameday --notice 20s --config {config}",
            server = self.coordinator(),
            http = self.http_port,
            redis = self.redis_url,
            ec2 = self.emulator.as_ref().map(Emulator::endpoint).unwrap_or_default(),
            config = self.path("coordinator.toml").display(),
        )
    }

    /// What the processes said last, when something went wrong.
    pub(super) fn show_logs(&self) {
        for child in [&self.primary, &self.coordinator].into_iter().flatten() {
            eprintln!("{}", child.log_tail(15));
        }
        for instance in self.emulator.iter().flat_map(Emulator::instances) {
            let console = self.emulator.as_ref().and_then(|emulator| emulator.console(&instance.id).ok());
            eprintln!("--- {}\n{}", instance.id, console.unwrap_or_default());
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
            redis.end().await;
        }
        let path = self.directory.path().to_owned();
        if let Err(error) = self.directory.close() {
            eprintln!("spillway: cannot remove {}: {error}", path.display());
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tool(&self, program: &Path, directory: &Path) -> Command {
        let mut tool = command(program);
        tool.current_dir(directory).env("REDIS_URL", &self.redis_url).env("QUEUE_NAMES", QUEUE);
        tool.env_remove("SPILLWAY_INSTANCE_ID").env_remove("CONCURRENCY").env_remove("QUEUE_PREFIX");
        // bun leaves temporary files behind when it is cut off: here they go with the rest.
        tool.env("TMPDIR", self.directory.path()).env_remove("BUN_TMPDIR");
        tool
    }
}

impl Programs {
    fn find() -> anyhow::Result<Self> {
        let coordinator = std::env::current_exe()?;
        let agent = coordinator.with_file_name("spillway-agent");
        let agent = if is_program(&agent) { Some(agent) } else { in_path("spillway-agent") };
        let mut missing = Vec::new();
        let mut need = |name: &'static str, found: Option<PathBuf>| {
            found.unwrap_or_else(|| {
                missing.push(name);
                PathBuf::new()
            })
        };
        let programs = Programs {
            redis: need("redis-server", in_path("redis-server")),
            git: need("git", in_path("git")),
            bun: need("bun", in_path("bun")),
            agent: need("spillway-agent", agent),
            coordinator,
        };
        need("pm2", in_path("pm2"));
        need("node", in_path("node"));
        if missing.is_empty() {
            return Ok(programs);
        }
        bail!("the demo needs {}: run `tests/setup demo` first", missing.join(", "))
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Three ports that are free now; all are held until all are chosen.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let listeners =
        [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Instances have homes of their own; what was downloaded once serves them all, as it would from an image.
fn bun_cache() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    std::env::var_os("BUN_INSTALL_CACHE_DIR").map_or_else(|| home.join(".bun/install/cache"), PathBuf::from)
}
