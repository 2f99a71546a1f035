//! The emulator's side of an instance's init: how it is started, how it is told to end, and how its reports are read.
//!
//! Commands go to its standard input, reports come from its standard output. The end of its input is a command as well:
//! when the emulator dies, however it dies, the instance ends. The other side is `init`.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines, Take};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use crate::Options;
use crate::init::machine::Plan;
use crate::init::tree;

/// Variables that an instance inherits.
const INHERITED: &[&str] = &["LANG", "LANGUAGE", "LC_ALL", "TERM", "COLORTERM", "TZ"];
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Everything an init ever reports is shorter than this.
const MAX_REPORTS_BYTES: u64 = 64 * 1024;
/// A machine's network is made with a handful of commands.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(20);
/// Names an instance's processes, so that none is overlooked.
pub(crate) const INSTANCE_VARIABLE: &str = "SPILLWAY_EMULATOR_INSTANCE";

/// What an init is started with.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) id: String,
    pub(crate) user_data: Option<Arc<[u8]>>,
    pub(crate) imds_port: u16,
    /// Where the instance is a machine.
    pub(crate) machine: Option<Plan>,
    /// It reaches its metadata alone.
    pub(crate) is_cut_off: bool,
}

type Job = (Command, oneshot::Sender<io::Result<Child>>);

/// Starts processes from a thread that lives as long as the emulator: the kernel's parent-death signal is bound to
/// the thread that started the process, and a runtime's threads come and go.
#[derive(Debug)]
pub(crate) struct Spawner {
    jobs: std::sync::mpsc::Sender<Job>,
}

impl Spawner {
    pub(crate) fn new() -> io::Result<Self> {
        let (jobs, queue) = std::sync::mpsc::channel::<Job>();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            let _context = runtime.enter();
            for (mut command, answer) in queue {
                // The caller has dropped its end: dropping the child closes its input, which ends it.
                drop(answer.send(command.spawn()));
            }
        })?;
        Ok(Self { jobs })
    }

    /// Prepares the instance's directory and starts its init in it.
    pub(crate) async fn start(&self, options: &Options, setup: Setup) -> io::Result<InitProcess> {
        let directory = options.directory.join(&setup.id);
        let has_user_data = setup.user_data.is_some();
        prepare(directory.clone(), setup.user_data).await?;
        let mut words = options.init.iter();
        let program = words.next().ok_or_else(|| io::Error::other("no command line for init"))?;
        let mut command = Command::new(program);
        command.args(words).arg("--directory").arg(&directory);
        command.arg("--grace-ms").arg(options.shutting_down.as_millis().to_string());
        if has_user_data {
            command.arg("--user-data");
        }
        if let Some(plan) = &setup.machine {
            command.args(plan.arguments());
        }
        command.env_clear().envs(environment(options, &setup.id, setup.imds_port, &directory));
        command.current_dir(home(&directory)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::other("the spawner is gone");
        self.jobs.send((command, answer)).map_err(|_| gone())?;
        let mut child = answered.await.map_err(|_| gone())??;
        let (Some(commands), Some(reports)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the init has no pipes"));
        };
        let reports = BufReader::new(reports.take(MAX_REPORTS_BYTES)).lines();
        Ok(InitProcess { child, commands: Some(commands), reports })
    }
}

fn home(directory: &Path) -> PathBuf {
    directory.join("home")
}

async fn prepare(directory: PathBuf, user_data: Option<Arc<[u8]>>) -> io::Result<()> {
    let work = move || {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for part in ["home", "tmp", "bin"] {
            builder.create(directory.join(part))?;
        }
        match user_data {
            Some(user_data) => std::fs::write(directory.join("user-data"), user_data),
            None => Ok(()),
        }
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn environment(options: &Options, id: &str, imds_port: u16, directory: &Path) -> Vec<(OsString, OsString)> {
    let home = home(directory);
    let mut path = directory.join("bin").into_os_string();
    path.push(":");
    // Whatever the PATH is, the programs that power off come first.
    let given = options.environment.iter().rfind(|(name, _)| name == "PATH").map(|(_, value)| value.clone());
    path.push(given.or_else(|| std::env::var_os("PATH")).unwrap_or_else(|| DEFAULT_PATH.into()));
    let inherited = INHERITED.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
    let mut all: Vec<(OsString, OsString)> = inherited.collect();
    let mut set = |name: &str, value: OsString| all.push((name.into(), value));
    set("PM2_HOME", home.join(".pm2").into_os_string());
    set("HOME", home.into_os_string());
    set("TMPDIR", directory.join("tmp").into_os_string());
    set("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://127.0.0.1:{imds_port}").into());
    all.extend(options.environment.iter().cloned());
    // Last, so that nothing takes their place: the search for left-over processes rests on the instance's name.
    all.push(("PATH".into(), path));
    all.push((INSTANCE_VARIABLE.into(), id.into()));
    all
}

/// A running init.
#[derive(Debug)]
pub(crate) struct InitProcess {
    child: Child,
    /// None once it takes no more commands.
    commands: Option<ChildStdin>,
    reports: Lines<BufReader<Take<ChildStdout>>>,
}

impl InitProcess {
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// The next line that the init reports; none once it has ended. Pending for ever without an init.
    pub(crate) async fn next_report(init: &mut Option<Self>) -> Option<String> {
        match init {
            Some(init) => init.reports.next_line().await.ok().flatten(),
            None => std::future::pending().await,
        }
    }

    /// Of a machine, once it has a network: a process there.
    pub(crate) async fn network(&mut self) -> io::Result<u32> {
        let report = tokio::time::timeout(NETWORK_TIMEOUT, self.reports.next_line()).await;
        let report = report.map_err(|_| io::Error::other("its network was not made in time"))??.unwrap_or_default();
        let pid = report.strip_prefix("network ").and_then(|pid| pid.parse().ok());
        pid.ok_or_else(|| io::Error::other("its network could not be made: see its console"))
    }

    /// Boots a machine.
    pub(crate) async fn boot(&mut self) {
        self.send("boot\n").await;
    }

    /// Orderly: SIGTERM to all, and after `grace` SIGKILL.
    pub(crate) async fn terminate(&mut self, grace: Duration) {
        self.send(&format!("terminate {}\n", grace.as_millis())).await;
    }

    /// SIGKILL to all, at once.
    pub(crate) async fn kill(&mut self) {
        self.send("kill\n").await;
    }

    async fn send(&mut self, line: &str) {
        let Some(commands) = &mut self.commands else { return };
        if commands.write_all(line.as_bytes()).await.is_err() {
            // It has ended already, or ends with the end of its input.
            self.commands = None;
        }
    }

    pub(crate) async fn wait(&mut self) {
        if let Err(error) = self.child.wait().await {
            tracing::warn!(%error, "cannot wait for an instance's init");
        }
    }

    /// For an init that ignores its commands. `sweep` must follow.
    pub(crate) async fn kill_hard(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "cannot kill an instance's init");
        }
    }
}

/// Kills what an init left behind, if it was killed itself: processes that carry the instance's name.
pub(crate) async fn sweep(id: &str) {
    let mark = format!("{INSTANCE_VARIABLE}={id}");
    let killed = tokio::task::spawn_blocking(move || tree::kill_marked(mark.as_bytes())).await.unwrap_or(0);
    if killed > 0 {
        tracing::warn!(instance = id, killed, "killed processes that the instance left behind");
    }
}
