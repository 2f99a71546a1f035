//! Everything that one test needs around the agent: Redis, a git repository, a home and a PM2 of its own. Owns what it
//! starts, and ends it by its process number: by Redis's, the agent's, and those that carry this stage's PM2_HOME.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use spillway_words::excerpt;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::coordinator::{Coordinator, JOIN_TOKEN};
use crate::imds::Imds;
use crate::redis_server;

/// For anything that should happen: generous, since the machine may be busy. Nothing here measures speed.
pub const PATIENCE: Duration = Duration::from_secs(90);

static STAGES: AtomicU32 = AtomicU32::new(1);

pub struct Stage {
    pub coordinator: Coordinator,
    pub imds: Imds,
    pub instance_id: String,
    directory: TempDir,
    redis: Child,
    /// Of the server that this stage asks.
    pub redis_port: u16,
    agent: Option<Child>,
    primary: Option<Child>,
    environment: Vec<(String, String)>,
    /// A failure has shown the story already.
    told: Cell<bool>,
    /// More of the configuration, before its first table.
    pub top: &'static str,
}

impl Stage {
    /// With this script as the worker.
    pub fn new(worker: &str) -> Self {
        for program in ["redis-server", "redis-cli", "git", "bun", "pm2"] {
            assert!(found(program), "{program} is not installed: run tests/setup");
        }
        let instance_id = format!("i-{:x}{:04x}", std::process::id(), STAGES.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().expect("a directory");
        let (redis, redis_port) = redis_server::start(directory.path());
        for name in ["home", "state"] {
            fs::create_dir(directory.path().join(name)).expect(name);
        }
        let stage = Self {
            coordinator: Coordinator::absent(),
            imds: Imds::start(&instance_id),
            instance_id,
            directory,
            redis,
            redis_port,
            agent: None,
            primary: None,
            environment: vec![("WORKER".to_owned(), worker.to_owned())],
            told: Cell::new(false),
            top: "",
        };
        stage.repository();
        stage.configure("", "");
        stage
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Another variable in the environment of the boot steps, and so of PM2 and the worker.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
        self.configure("", "");
    }

    /// So many processes of the worker.
    pub fn processes(&mut self, processes: u32) {
        self.environment("PROCESSES", &processes.to_string());
    }

    /// Writes the configuration; `boot` goes below `[boot]`, `rest` to the end.
    pub fn configure(&self, boot: &str, rest: &str) {
        let cache = std::env::var("HOME").unwrap_or_default() + "/.bun/install/cache";
        let environment: String =
            self.environment.iter().map(|(name, value)| format!(", {name} = {value:?}")).collect();
        let text = format!(
            "coordinator = \"http://{}\"\nenv_file = {:?}\njoin_token = {JOIN_TOKEN:?}\nstate_directory = {:?}\n{}\n\
             [worker]\nqueues = [\"q\"]\n{rest}\n\
             [boot]\ndirectory = {:?}\nenvironment = {{ BUN_INSTALL_CACHE_DIR = {cache:?}{environment} }}\n{boot}\n",
            self.coordinator.address,
            self.path("app/.env"),
            self.path("state"),
            self.top,
            self.path("app"),
        );
        fs::write(self.path("agent.toml"), text).expect("agent.toml");
    }

    pub fn start_coordinator(&mut self) {
        self.coordinator.appear();
    }

    pub fn start_agent(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("agent.log")).expect("agent.log");
        let agent = self.program(&["run"]).env("RUST_LOG", "spillway_agent=debug,info").stderr(log).spawn();
        self.agent = Some(agent.expect("the agent"));
    }

    /// The program with this configuration, in an environment of its own.
    pub fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spillway-agent"));
        command
            .args(arguments)
            .env_clear()
            .envs([("HOME", self.path("home")), ("PM2_HOME", self.path("pm2"))])
            .env("PATH", self.search_path())
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", self.imds.address));
        if arguments[0] != "watch" {
            command.arg("--config").arg(self.path("agent.toml"));
        }
        command
    }

    /// First in the PATH lies a `poweroff` that only leaves a note: this machine stays on.
    fn search_path(&self) -> std::ffi::OsString {
        use std::os::unix::fs::PermissionsExt;
        let bin = self.path("bin");
        fs::create_dir_all(&bin).expect("bin");
        for name in ["poweroff", "shutdown"] {
            let note = self.path("powered-off");
            fs::write(bin.join(name), format!("#!/bin/sh\necho {name} >> '{}'\n", note.display())).expect(name);
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect(name);
        }
        let own = std::env::var_os("PATH").expect("PATH");
        std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&own))).expect("a PATH")
    }

    /// Asks the agent to leave, and says whether it exited with 0.
    pub fn stop_agent(&mut self) -> bool {
        let mut agent = self.agent.take().expect("no agent runs");
        let pid = rustix::process::Pid::from_child(&agent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the agent is gone");
        agent.wait().expect("the agent").success()
    }

    /// Kills the agent as the kernel would; the worker goes on.
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("no agent runs");
        agent.kill().expect("the agent is gone");
        agent.wait().expect("the agent");
    }

    /// Another worker of the queue, elsewhere: it has no shim, and runs what is handed back.
    pub fn start_primary(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("primary.log")).expect("primary.log");
        let mut command = self.in_app("bun");
        command.arg("worker.js").env("SPILLWAY_INSTANCE_ID", "primary").stdout(Stdio::null()).stderr(log);
        self.primary = Some(command.spawn().expect("the primary's worker"));
    }

    /// EC2 takes the instance in so many seconds.
    pub fn interrupt_in(&self, seconds: i64) {
        let at = time::OffsetDateTime::UNIX_EPOCH
            + std::time::UNIX_EPOCH.elapsed().expect("time")
            + time::Duration::seconds(seconds);
        let format = time::format_description::well_known::Rfc3339;
        self.imds.interrupt(&at.replace_nanosecond(0).expect("0").format(&format).expect("a time"));
    }

    /// Redis stops answering, all connections hanging.
    pub fn freeze_redis(&self, on: bool) {
        let signal = if on { rustix::process::Signal::STOP } else { rustix::process::Signal::CONT };
        let pid = rustix::process::Pid::from_child(&self.redis);
        rustix::process::kill_process(pid, signal).expect("redis-server is gone");
    }

    /// Every job completed, in its first attempt, and no stall was spent on it.
    pub fn no_job_was_lost(&self, jobs: u32) {
        self.wait("all jobs to complete", |stage| stage.completed() == jobs);
        let count = |list: &str| self.redis(&["LLEN", &format!("bull:q:{list}")]);
        assert_eq!((count("wait").as_str(), count("active").as_str()), ("0", "0"), "{}", self.story());
        assert_eq!(self.redis(&["ZCARD", "bull:q:failed"]), "0", "{}", self.story());
        for id in 1..=jobs {
            let field = |name: &str| self.redis(&["HGET", &format!("bull:q:{id}"), name]);
            assert_eq!((field("atm").as_str(), field("stc").as_str()), ("1", ""), "job {id}\n{}", self.story());
        }
    }

    /// Who ran the job last.
    pub fn ran_on(&self, id: u32) -> String {
        self.redis(&["HGET", &format!("bull:q:{id}"), "pb"])
    }

    pub fn wait(&self, what: &str, mut met: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !met(self) {
            assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.story());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A file of this stage, as text.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What the worker's processes printed: PM2 keeps two files for each.
    pub fn worker_said(&self) -> String {
        let files = fs::read_dir(self.path("pm2/logs")).into_iter().flatten().flatten();
        files.map(|file| fs::read_to_string(file.path()).unwrap_or_default()).collect()
    }

    /// What a reader of a failure wants to see.
    pub fn story(&self) -> String {
        self.told.set(true);
        let log = excerpt::end("agent", &self.log("agent.log"));
        let phases = self.coordinator.phases();
        let out = excerpt::end("worker", &self.worker_said());
        let beat = self.coordinator.last_beat();
        format!("phases {phases:?}\nlast beat {beat:#?}\n{out}{log}")
    }

    pub fn add_jobs(&self, millis: &[u32]) {
        let mut command = self.in_app("bun");
        command.arg("add.js").args(millis.iter().map(u32::to_string));
        run(&mut command);
    }

    pub fn redis(&self, arguments: &[&str]) -> String {
        let port = self.redis_port.to_string();
        run(Command::new("redis-cli").args(["-p", &port]).args(arguments)).trim().to_owned()
    }

    pub fn completed(&self) -> u32 {
        self.redis(&["ZCARD", "bull:q:completed"]).parse().expect("a count")
    }

    pub fn active(&self) -> u32 {
        self.redis(&["LLEN", "bull:q:active"]).parse().expect("a count")
    }

    /// Processes of the worker: those that PM2 started here, and their children.
    pub fn worker_pids(&self) -> Vec<i32> {
        self.pids_with(&format!("PM2_HOME={}", self.path("pm2").display()), Some("pm_id="))
    }

    /// Everything that was started for this stage's PM2, PM2 itself among it.
    pub fn pids(&self) -> Vec<i32> {
        self.pids_with(&format!("PM2_HOME={}", self.path("pm2").display()), None)
    }

    /// A commit of the application that the image does not have yet.
    pub fn push_commit(&self) -> String {
        let other = self.path("other");
        self.git(self.directory.path(), &["clone", "-q", "origin.git", "other"]);
        fs::write(other.join("news"), "x").expect("news");
        self.git(&other, &["add", "."]);
        self.git(&other, &["commit", "-q", "-m", "news"]);
        self.git(&other, &["push", "-q", "origin", "main"]);
        self.git(&other, &["rev-parse", "HEAD"]).trim().to_owned()
    }

    fn repository(&self) {
        let seed = self.path("seed");
        fs::create_dir(&seed).expect("seed");
        for entry in
            fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agent/app")).expect("tests/agent/app")
        {
            let entry = entry.expect("tests/agent/app");
            if entry.file_type().expect("type").is_file() {
                fs::copy(entry.path(), seed.join(entry.file_name())).expect("copy");
            }
        }
        self.git(&seed, &["init", "-q", "-b", "main"]);
        self.git(&seed, &["add", "."]);
        self.git(&seed, &["commit", "-q", "-m", "app"]);
        self.git(self.directory.path(), &["clone", "-q", "--bare", "seed", "origin.git"]);
        self.git(self.directory.path(), &["clone", "-q", "origin.git", "app"]);
        fs::write(self.path("app/.env"), format!("REDIS_URL=redis://127.0.0.1:{}\n", self.redis_port)).expect(".env");
    }

    fn git(&self, directory: &Path, arguments: &[&str]) -> String {
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        run(Command::new("git").args(identity).args(arguments).current_dir(directory).env("HOME", self.path("home")))
    }

    fn in_app(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.path("app")).env("REDIS_URL", format!("redis://127.0.0.1:{}", self.redis_port));
        command
    }

    fn pids_with(&self, pair: &str, and: Option<&str>) -> Vec<i32> {
        let has = |environment: &[u8]| {
            let mut pairs = environment.split(|byte| *byte == 0);
            pairs.any(|found| found == pair.as_bytes())
                && and.is_none_or(|and| {
                    environment.split(|byte| *byte == 0).any(|found| found.starts_with(and.as_bytes()))
                })
        };
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| has(&environment))).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.told.get() {
            eprintln!("{}", self.story());
        }
        if let Some(mut primary) = self.primary.take() {
            let _ = primary.kill();
            let _ = primary.wait();
        }
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let ours = format!("PM2_HOME={}", self.path("pm2").display());
        for _ in 0..50 {
            let pids = self.pids_with(&ours, None);
            if pids.is_empty() {
                break;
            }
            for pid in pids.into_iter().filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.redis.kill();
        let _ = self.redis.wait();
    }
}

fn run(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn found(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
