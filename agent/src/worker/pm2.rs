//! PM2, by its own command line. Owns its calls and the reading of its list; never keeps or logs the rest of that
//! list, which holds the whole environment of every process, and never starts PM2's daemon just to read the list.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::{Uid, User};
use rustix::process::Signal;
use serde::Deserialize;

use super::proc::{self, ProcessId};
use crate::boot::launcher::Launcher;
use crate::boot::process;

/// For a call that only reads.
const LIST_TIMEOUT: Duration = Duration::from_secs(15);
/// What PM2 waits between signal and kill by default.
const DEFAULT_KILL_TIMEOUT: Duration = Duration::from_millis(1600);

/// A process of PM2's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// PM2's own number of it.
    pub id: u32,
    /// The application's name.
    pub name: String,
    /// Where it runs.
    pub pid: Option<u32>,
    /// `online`, `launching`, `stopping`, `stopped`, `errored`, `waiting restart`, …
    pub status: String,
    /// Ever.
    pub restarts: u32,
    /// Its own time between signal and kill.
    pub kill_timeout: Option<Duration>,
    /// Where PM2 writes what it writes to stderr.
    pub error_log: Option<PathBuf>,
    /// The same of stdout.
    pub output_log: Option<PathBuf>,
}

impl Process {
    /// It runs.
    pub fn is_online(&self) -> bool {
        self.status == "online" && self.pid.is_some()
    }

    /// PM2 has given up on it.
    pub fn is_errored(&self) -> bool {
        self.status == "errored"
    }

    /// PM2 neither runs it nor is about to.
    pub fn is_stopped(&self) -> bool {
        matches!(self.status.as_str(), "stopped" | "errored") && self.pid.is_none()
    }
}

/// Why PM2 shows nothing.
#[derive(Debug, thiserror::Error)]
pub enum Pm2Error {
    /// It is not installed where the worker's user would find it.
    #[error("pm2: command not found: install it in the image (npm install -g pm2), or set PATH in boot.environment")]
    NotInstalled,
    /// It could not be called.
    #[error("pm2 {0}: {1}")]
    Failed(&'static str, String),
    /// It printed something else than a list.
    #[error("pm2 jlist printed no list of processes: run it on the instance and see what it prints")]
    NoList,
}

/// PM2 as the worker's user has it.
#[derive(Clone, Debug)]
pub struct Pm2 {
    launcher: Launcher,
    /// The names of the processes that are the worker; empty: all.
    names: Vec<String>,
}

impl Pm2 {
    /// As this launcher calls it.
    pub fn new(launcher: Launcher, names: Vec<String>) -> Self {
        Self { launcher, names }
    }

    /// What calls it.
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// The worker's processes; none where no daemon runs.
    pub async fn list(&self) -> Result<Vec<Process>, Pm2Error> {
        if self.daemon().is_none() {
            return self.program().map(|_| Vec::new()).ok_or(Pm2Error::NotInstalled);
        }
        let out = self.call("jlist", &[], LIST_TIMEOUT).await?;
        let mut processes = parse_list(&out).ok_or(Pm2Error::NoList)?;
        processes.retain(|process| self.names.is_empty() || self.names.contains(&process.name));
        for process in &mut processes {
            process.pid = process.pid.filter(|pid| self.owns(*pid));
        }
        Ok(processes)
    }

    /// The process belongs to the worker's user. PM2's list, its `pm2.pid` and every environment are that user's word:
    /// an agent that runs as root must not signal what the user names, such as the agent's own process.
    pub fn owns(&self, pid: u32) -> bool {
        let uid = self.uid();
        match proc::owner(pid) {
            Some(owner) if owner != uid.as_raw() => {
                tracing::debug!(pid, owner, %uid, "not the worker's: the process belongs to another user");
                false
            }
            owner => owner.is_some(),
        }
    }

    fn uid(&self) -> Uid {
        self.launcher.account().map_or_else(Uid::effective, |account| account.uid)
    }

    /// Stops a process; returns once it has ended, which takes as long as its jobs do.
    pub async fn stop(&self, id: u32, limit: Duration) -> Result<(), Pm2Error> {
        self.call("stop", &[&id.to_string()], limit).await.map(drop)
    }

    /// Starts a process that PM2 knows.
    pub async fn start(&self, id: u32) -> Result<(), Pm2Error> {
        self.call("start", &[&id.to_string()], Duration::from_secs(60)).await.map(drop)
    }

    /// Where the daemon runs.
    pub fn daemon(&self) -> Option<u32> {
        self.noted_daemon().filter(|pid| self.owns(*pid))
    }

    /// A daemon of another user's in the worker's PM2_HOME, which boot steps cannot use and whose processes are not the
    /// worker's: whose it is, and what to do.
    pub fn foreign_daemon(&self) -> Option<String> {
        let pid = self.noted_daemon()?;
        // The number may be an old one, of a process that has nothing to do with PM2.
        let is_pm2 = |word: &String| word.contains("God Daemon") || word.ends_with("pm2/lib/Daemon.js");
        let owner = proc::owner(pid).filter(|_| !self.owns(pid) && proc::arguments(pid).iter().any(is_pm2))?;
        let name = |uid: Uid| User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name);
        let (theirs, ours) = (name(Uid::from_raw(owner)), name(self.uid()));
        let home = self.home();
        Some(format!(
            "PM2's daemon in {} (process {pid}) belongs to {theirs}, not to {ours}, the worker's user: stop it as {theirs} (pm2 kill) and \
             run chown -R {ours} on {}, or set boot.user to {theirs}",
            home.display(),
            home.display()
        ))
    }

    /// The process that `pm2.pid` names, if there is one.
    fn noted_daemon(&self) -> Option<u32> {
        let pid = std::fs::read_to_string(self.home().join("pm2.pid")).ok()?.trim().parse().ok()?;
        proc::start_time(pid).map(|_| pid)
    }

    /// What the daemon waits between signal and kill: what it was started with counts, not what is set now.
    pub fn daemon_kill_timeout(&self) -> Duration {
        self.daemon()
            .and_then(|pid| proc::variable(pid, "PM2_KILL_TIMEOUT"))
            .and_then(|text| text.trim().parse().ok())
            .map_or(DEFAULT_KILL_TIMEOUT, Duration::from_millis)
    }

    /// Processes that PM2 started for this instance, wherever their parents are now: PM2's list does not show a child
    /// that outlived its parent.
    pub fn spawned(&self, instance_id: &str) -> BTreeSet<ProcessId> {
        let is_worker = |pid| {
            proc::variable(pid, "pm_id").is_some()
                && proc::variable(pid, "pmx_module").is_none_or(|value| value != "true")
                && (self.names.is_empty() || proc::variable(pid, "name").is_some_and(|name| self.names.contains(&name)))
        };
        let mut found = proc::with_variable("SPILLWAY_INSTANCE_ID", instance_id);
        found.retain(|known| is_worker(known.pid) && self.owns(known.pid));
        found
    }

    /// Ends the daemon and all that it runs.
    pub async fn end_daemon(&self) -> Result<(), Pm2Error> {
        self.call("kill", &[], Duration::from_secs(30)).await.map(drop)
    }

    /// Kills the daemon, which does not answer, so that it starts nothing again.
    pub fn kill_daemon(&self) {
        if let Some(pid) = self.daemon().and_then(ProcessId::of) {
            pid.signal_if(Signal::KILL, |pid| self.owns(pid));
        }
    }

    fn home(&self) -> PathBuf {
        let variable = |name| self.launcher.variable(name).map(PathBuf::from);
        variable("PM2_HOME").or_else(|| Some(variable("HOME")?.join(".pm2"))).unwrap_or_default()
    }

    fn program(&self) -> Option<Way> {
        way(|program| self.launcher.find(program).is_some())
    }

    async fn call(&self, verb: &'static str, arguments: &[&str], limit: Duration) -> Result<String, Pm2Error> {
        let (program, before) = self.program().ok_or(Pm2Error::NotInstalled)?;
        let arguments = before.iter().copied().chain([verb]).chain(arguments.iter().copied());
        let command = self.launcher.program(program, arguments);
        process::output(command, limit).await.map_err(|problem| Pm2Error::Failed(verb, problem))
    }
}

/// A program, and what stands before PM2's own arguments.
type Way = (&'static str, &'static [&'static str]);

/// PM2, or npx, which has it where the boot steps start it so.
fn way(has: impl Fn(&str) -> bool) -> Option<Way> {
    let ways: [Way; 2] = [("pm2", &[]), ("npx", &["--prefer-offline", "pm2"])];
    ways.into_iter().find(|(program, _)| has(program))
}

#[derive(Deserialize)]
struct Listed {
    pm_id: u32,
    #[serde(default)]
    name: String,
    #[serde(default)]
    pid: Option<u32>,
    pm2_env: Environment,
}

#[derive(Deserialize)]
struct Environment {
    #[serde(default)]
    status: String,
    #[serde(default)]
    restart_time: Option<u32>,
    #[serde(default)]
    kill_timeout: Option<Number>,
    #[serde(default)]
    pm_err_log_path: Option<PathBuf>,
    #[serde(default)]
    pm_out_log_path: Option<PathBuf>,
    /// One of PM2's own modules, such as pm2-logrotate: no worker.
    #[serde(default)]
    pmx_module: Option<bool>,
}

/// An ecosystem file may have it in quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u64),
    Text(String),
}

impl Number {
    fn millis(&self) -> Option<Duration> {
        let millis = match self {
            Self::Number(n) => *n,
            Self::Text(text) => text.trim().parse().ok()?,
        };
        // PM2 reads 0 as not set.
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}

/// The list among what `pm2 jlist` prints: the first call on a new home prints a banner around it, and `[PM2]` lines.
pub fn parse_list(out: &str) -> Option<Vec<Process>> {
    let starts = out.match_indices('[').map(|(at, _)| at).filter(|at| *at == 0 || out[..*at].ends_with(['\n', '\r']));
    let listed: Vec<Listed> = starts.filter_map(|at| one_list(&out[at..])).next_back()?;
    let process = |listed: Listed| Process {
        id: listed.pm_id,
        name: listed.name,
        pid: listed.pid.filter(|pid| *pid > 0),
        status: listed.pm2_env.status,
        restarts: listed.pm2_env.restart_time.unwrap_or(0),
        kill_timeout: listed.pm2_env.kill_timeout.as_ref().and_then(Number::millis),
        error_log: listed.pm2_env.pm_err_log_path,
        output_log: listed.pm2_env.pm_out_log_path,
    };
    let is_module = |listed: &Listed| listed.pm2_env.pmx_module == Some(true);
    Some(listed.into_iter().filter(|listed| !is_module(listed)).map(process).collect())
}

fn one_list(text: &str) -> Option<Vec<Listed>> {
    serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Boot;

    const ONE: &str = r#"[{"pid":7,"name":"w","pm_id":3,"monit":{},"pm2_env":{"status":"online","restart_time":2,"kill_timeout":5000,"SECRET":"[x]"}}]"#;

    fn one() -> Process {
        Process {
            id: 3,
            name: "w".into(),
            pid: Some(7),
            status: "online".into(),
            restarts: 2,
            kill_timeout: Some(Duration::from_secs(5)),
            ..Process::default()
        }
    }

    #[test]
    fn finds_the_list_in_what_is_printed() {
        let banner =
            "\n      -------------\n\n[PM2] Spawning PM2 daemon with pm2_home=/h\n[PM2] PM2 Successfully daemonized\n";
        let coloured = "\u{1b}[32m[PM2] \u{1b}[39mSpawning PM2 daemon\n";
        for (out, expect) in [
            ("[]".to_owned(), Some(vec![])),
            (format!("{banner}[]\n"), Some(vec![])),
            (format!("{banner}{ONE}\n"), Some(vec![one()])),
            (format!("{coloured}{ONE}"), Some(vec![one()])),
            (format!("{ONE}\n>>>> In-memory PM2 is out-of-date\n[PM2] x\n"), Some(vec![one()])),
            (ONE.replace("\"pid\":7", "\"pid\":0"), Some(vec![Process { pid: None, ..one() }])),
            (ONE.replace("5000", "\"5000\""), Some(vec![one()])),
            (ONE.replace("\"SECRET\"", "\"pmx_module\":true,\"SECRET\""), Some(vec![])),
            (ONE.replace("5000", "0"), Some(vec![Process { kill_timeout: None, ..one() }])),
            (banner.to_owned(), None),
            (String::new(), None),
            ("[1]".to_owned(), None),
            (ONE[..ONE.len() - 1].to_owned(), None),
        ] {
            assert_eq!(parse_list(&out), expect, "{out}");
        }
    }

    #[tokio::test]
    async fn a_process_of_another_user_is_never_the_workers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let is_root = Uid::effective().is_root();
        let boot = Boot {
            directory: "/".into(),
            user: is_root.then(|| "nobody".to_owned()),
            environment: BTreeMap::from([("HOME".to_owned(), path.display().to_string())]),
            steps: vec![],
        };
        let search = format!("{}:/usr/bin:/bin", path.display());
        let launcher = Launcher::new(&boot, "i-1", [("PATH".into(), search.into())]).unwrap();
        let pm2 = Pm2::new(launcher, vec![]);
        let mut own = pm2.launcher().shell("exec sleep 60").kill_on_drop(true).spawn().unwrap();
        let own_pid = own.id().unwrap();
        while proc::program(own_pid).as_deref() != Some("sleep") || !pm2.owns(own_pid) {
            assert_eq!(own.try_wait().unwrap(), None);
            tokio::task::yield_now().await;
        }
        // Of root: this test's own, or, where it does not run as root, the first process.
        let foreign = if is_root { std::process::id() } else { 1 };
        std::fs::create_dir(path.join(".pm2")).unwrap();
        std::fs::write(path.join("pm2"), "#!/bin/sh\ncat $HOME/list\n").unwrap();
        for file in [path.to_owned(), path.join("pm2"), path.join(".pm2")] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (pid, shown) in [(own_pid, Some(own_pid)), (foreign, None)] {
            std::fs::write(path.join("list"), ONE.replace("\"pid\":7", &format!("\"pid\":{pid}"))).unwrap();
            std::fs::write(path.join(".pm2/pm2.pid"), own_pid.to_string()).unwrap();
            let listed = pm2.list().await.unwrap();
            assert_eq!(listed.iter().map(|process| process.pid).collect::<Vec<_>>(), [shown]);
            std::fs::write(path.join(".pm2/pm2.pid"), pid.to_string()).unwrap();
            assert_eq!(pm2.daemon(), shown);
        }
        assert_eq!(pm2.foreign_daemon(), None, "it is no daemon of PM2's");
        if is_root {
            let mut daemon = std::process::Command::new("sleep");
            std::os::unix::process::CommandExt::arg0(&mut daemon, "PM2 v6.0.5: God Daemon (~/.pm2)");
            let mut daemon = daemon.arg("60").spawn().unwrap();
            std::fs::write(path.join(".pm2/pm2.pid"), daemon.id().to_string()).unwrap();
            let said = pm2.foreign_daemon().unwrap_or_default();
            assert!(said.contains(") belongs to root, not to nobody, the worker's user: stop it as root"), "{said}");
            assert_eq!((pm2.daemon(), pm2.list().await.unwrap()), (None, vec![]), "nor is it the worker's");
            daemon.kill().unwrap();
            daemon.wait().unwrap();
            assert_eq!(pm2.foreign_daemon(), None);
        }
        std::fs::write(path.join(".pm2/pm2.pid"), own_pid.to_string()).unwrap();
        assert_eq!(pm2.foreign_daemon(), None, "it is the worker's own");
        let _ = own.kill().await;
    }

    #[test]
    fn where_there_is_no_pm2_npx_has_it() {
        assert_eq!(way(|program| program != "npx"), Some(("pm2", &[][..])));
        assert_eq!(way(|program| program == "npx"), Some(("npx", &["--prefer-offline", "pm2"][..])));
        assert_eq!(way(|_| false), None);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(out in "[\\[\\]{}\":,a-z0-9é \n]{0,80}") {
            let _ = parse_list(&out);
        }

        #[test]
        fn is_found_after_any_banner(banner in "[^\\[]{0,60}", after in "[^\\[]{0,30}") {
            proptest::prop_assert_eq!(parse_list(&format!("{banner}\n{ONE}\n{after}")), Some(vec![one()]));
        }
    }
}
