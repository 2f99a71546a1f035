//! How commands of the application are started: where, as whom, with which environment. Owns that environment, and so
//! the worker's; never waits for a command.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::account::{Account, AccountError};
use crate::config::Boot;
use crate::shim::Installed;

/// A day: no drain is cut short by PM2, which would wait 1.6 s. The agent kills in time what does not stop.
const PM2_KILL_TIMEOUT_MS: &str = "86400000";

/// Of the agent's own service: not the application's.
const NOT_INHERITED: &[&str] = &[
    "NOTIFY_SOCKET",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "SYSTEMD_EXEC_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "WATCHDOG_USEC",
];

/// Starts commands of the application.
#[derive(Clone, Debug)]
pub struct Launcher {
    account: Option<Account>,
    directory: PathBuf,
    environment: BTreeMap<OsString, OsString>,
}

impl Launcher {
    /// For this boot, on this instance, on top of the agent's own environment.
    pub fn new(
        boot: &Boot,
        instance_id: &str,
        own: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, AccountError> {
        let account = boot.user.as_deref().map(Account::find).transpose()?;
        let mut environment: BTreeMap<OsString, OsString> = own
            .into_iter()
            .filter(|(name, _)| {
                let name = name.to_string_lossy();
                // SPILLWAY_JOIN_TOKEN is among them.
                !name.starts_with("SPILLWAY_") && !NOT_INHERITED.contains(&name.as_ref())
            })
            .collect();
        let mut set = |name: &str, value: &OsStr| environment.insert(name.into(), value.to_owned());
        if let Some(account) = &account {
            set("HOME", account.home.as_os_str());
            set("USER", OsStr::new(&account.name));
            set("LOGNAME", OsStr::new(&account.name));
        }
        if account.as_ref().is_some_and(Account::must_change) {
            environment.remove(OsStr::new("XDG_RUNTIME_DIR"));
        }
        let home = PathBuf::from(environment.entry("HOME".into()).or_insert_with(|| "/root".into()).clone());
        let path = search_path(&home, environment.get(OsStr::new("PATH")));
        environment.insert("PATH".into(), path);
        environment.insert("PM2_KILL_TIMEOUT".into(), PM2_KILL_TIMEOUT_MS.into());
        environment.extend(boot.environment.iter().map(|(name, value)| (name.into(), value.into())));
        environment.insert("SPILLWAY_INSTANCE_ID".into(), instance_id.into());
        Ok(Self { account, directory: boot.directory.clone(), environment })
    }

    /// The user that commands run as; `None`: as this process's user.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Everything that is started from now on loads the worker shim, whether bun or node runs it. Other preloads
    /// in the environment stay.
    pub fn preload(&mut self, shim: &Installed) {
        let file = shim.file.display();
        for (name, option) in
            [("BUN_OPTIONS", format!("--preload={file}")), ("NODE_OPTIONS", format!("--require {file}"))]
        {
            let value = self.environment.entry(name.into()).or_default();
            if !value.is_empty() {
                value.push(" ");
            }
            value.push(option);
        }
        self.environment.insert("SPILLWAY_WORKER_SOCKET".into(), shim.socket.clone().into());
    }

    /// A line for the shell.
    pub fn shell(&self, line: &str) -> Command {
        self.program("/bin/sh", ["-c", line])
    }

    /// A program with its arguments.
    pub fn program<'a>(&self, program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(self.find(program).unwrap_or_else(|| program.into()));
        command.args(arguments).current_dir(&self.directory).env_clear().envs(&self.environment);
        command.process_group(0).kill_on_drop(true);
        if let Some(account) = self.account.as_ref().filter(|account| account.must_change()) {
            become_account(&mut command, account);
        }
        command
    }

    /// Where a program of this name lies for the application.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        if program.contains('/') {
            return Some(PathBuf::from(program)).filter(|path| is_program(path));
        }
        let path = self.environment.get(OsStr::new("PATH"))?;
        std::env::split_paths(path).map(|directory| directory.join(program)).find(|path| is_program(path))
    }

    /// A variable as the application sees it.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// Where the steps run.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Where programs are looked for: bun installs itself into the user's home.
fn search_path(home: &Path, inherited: Option<&OsString>) -> OsString {
    let inherited = inherited.cloned().unwrap_or_else(|| "/usr/bin:/bin:/usr/sbin:/sbin".into());
    let mut directories = vec![home.join(".bun/bin")];
    directories.extend(std::env::split_paths(&inherited));
    directories.push("/usr/local/bin".into());
    let mut seen = Vec::new();
    directories.retain(|directory| {
        !seen.contains(directory) && {
            seen.push(directory.clone());
            true
        }
    });
    std::env::join_paths(directories).unwrap_or(inherited)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn become_account(command: &mut Command, account: &Account) {
    let (uid, gid, groups) = (account.uid, account.gid, account.groups.clone());
    let change = move || {
        nix::unistd::setgroups(&groups)?;
        nix::unistd::setgid(gid)?;
        nix::unistd::setuid(uid)?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes three system calls and touches no memory but its own; it neither
    // allocates nor takes a lock.
    unsafe {
        command.pre_exec(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launcher(own: &[(&str, &str)], user: Option<&str>) -> Launcher {
        let boot = Boot {
            directory: "/".into(),
            user: user.map(str::to_owned),
            environment: [("A".to_owned(), "1".to_owned())].into(),
            steps: vec![],
        };
        let own = own.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Launcher::new(&boot, "i-1", own).unwrap()
    }

    #[test]
    fn the_worker_gets_its_name_and_none_of_the_agents_secrets() {
        let own =
            [("SPILLWAY_JOIN_TOKEN", "hush"), ("PM2_HOME", "/p"), ("HOME", "/h"), ("PATH", "/usr/local/bin:/bin")];
        let launcher = launcher(&own, None);
        let get = |name| launcher.variable(name).and_then(OsStr::to_str);
        assert_eq!(get("SPILLWAY_INSTANCE_ID"), Some("i-1"));
        assert_eq!(get("SPILLWAY_JOIN_TOKEN"), None);
        assert_eq!(get("PM2_HOME"), Some("/p"));
        assert_eq!(get("PM2_KILL_TIMEOUT"), Some(PM2_KILL_TIMEOUT_MS));
        assert_eq!(get("PATH"), Some("/h/.bun/bin:/usr/local/bin:/bin"));
        assert_eq!(get("A"), Some("1"));
        assert!(launcher.find("sh").is_some());
        assert!(launcher.find("no-such-program").is_none());
    }

    #[test]
    fn the_shim_is_loaded_beside_what_the_user_loads() {
        let mut launcher = launcher(&[("NODE_OPTIONS", "--max-old-space-size=512")], None);
        launcher.preload(&Installed { file: "/s/shim.cjs".into(), socket: "/s/sock".into() });
        let get = |name| launcher.variable(name).and_then(OsStr::to_str);
        assert_eq!(get("NODE_OPTIONS"), Some("--max-old-space-size=512 --require /s/shim.cjs"));
        assert_eq!(get("BUN_OPTIONS"), Some("--preload=/s/shim.cjs"));
        assert_eq!(get("SPILLWAY_WORKER_SOCKET"), Some("/s/sock"));
    }

    #[test]
    fn an_unknown_user_is_named_with_a_remedy() {
        let boot = Boot {
            directory: "/".into(),
            user: Some("nobody-of-this-name".into()),
            environment: BTreeMap::new(),
            steps: vec![],
        };
        let error = Launcher::new(&boot, "i-1", []).unwrap_err().to_string();
        assert_eq!(error, "user nobody-of-this-name does not exist: create it, or set boot.user to one that does");
    }

    #[tokio::test]
    async fn a_step_runs_as_the_user_with_its_groups_and_home() {
        if !nix::unistd::Uid::effective().is_root() {
            // Only root can change its user: then the error must say so.
            let boot =
                Boot { directory: "/".into(), user: Some("root".into()), environment: BTreeMap::new(), steps: vec![] };
            assert!(Launcher::new(&boot, "i-1", []).unwrap_err().to_string().contains("only root can"));
            return;
        }
        let launcher = launcher(&[("HOME", "/root"), ("XDG_RUNTIME_DIR", "/run/user/0")], Some("nobody"));
        let command = launcher.shell("id -un; id -gn; id -Gn; echo $HOME $USER $LOGNAME $XDG_RUNTIME_DIR");
        let out = crate::boot::process::output(command, std::time::Duration::from_secs(10)).await.unwrap();
        let account = Account::find("nobody").unwrap();
        let group = out.lines().nth(1).unwrap_or_default();
        let expect = format!("nobody\n{group}\n{group}\n{} nobody nobody\n", account.home.display());
        assert_eq!((out.as_str(), group == "root"), (expect.as_str(), false));
    }
}
