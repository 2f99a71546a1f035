//! The application on this machine: its directory, user, package manager, repository, environment and PM2 processes, as
//! they are found in files. Starts nothing but git, and changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use spillway_settings::dotenv;

/// Files that say how PM2 starts the application, in the order in which they are looked for.
const ECOSYSTEMS: [&str; 6] = [
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
    "ecosystem.config.json",
    "ecosystem.json",
    "pm2.config.js",
];
/// By which lock file packages are installed how.
const INSTALLS: [(&str, &str); 5] = [
    ("bun.lock", "bun install --frozen-lockfile"),
    ("bun.lockb", "bun install --frozen-lockfile"),
    ("package-lock.json", "npm ci"),
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
    ("yarn.lock", "yarn install --immutable"),
];

/// A list of PM2's is smaller, and a pipe in its place would never end.
const LONGEST_LIST: u64 = 16 * 1024 * 1024;

/// A process in PM2's saved list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Pm2Process {
    pub(super) name: String,
    pub(super) pm_cwd: PathBuf,
    #[serde(skip)]
    pub(super) user: String,
}

/// An account of /etc/passwd.
#[derive(Clone, Debug)]
struct Account {
    name: String,
    uid: u32,
    home: PathBuf,
}

/// What is found in the application's directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Application {
    pub(super) directory: PathBuf,
    /// Whose it is.
    pub(super) user: Option<String>,
    pub(super) ecosystem: Option<String>,
    pub(super) install: Option<&'static str>,
    pub(super) branch: Option<String>,
    /// Without the password that it may have.
    pub(super) remote: Option<String>,
    pub(super) env_file: Option<PathBuf>,
    pub(super) environment: BTreeMap<String, String>,
    /// Names of its processes.
    pub(super) processes: Vec<String>,
    /// Directories of bun, node and PM2 that are on no usual PATH.
    pub(super) path: Vec<PathBuf>,
    /// How PM2 is started: `pm2`, or by npx where it is no program of its own.
    pub(super) pm2: &'static str,
}

fn accounts() -> Vec<Account> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, home) = (fields.first()?, fields.get(2)?.parse().ok()?, fields.get(5)?);
        Some(Account { name: (*name).to_owned(), uid, home: PathBuf::from(home) })
    };
    text.lines().filter_map(account).collect()
}

/// The processes that PM2 starts at boot, of every user whose list can be read.
pub(super) fn pm2_processes() -> Vec<Pm2Process> {
    let of_variable = std::env::var_os("PM2_HOME").map(PathBuf::from);
    let homes = accounts().into_iter().map(|account| (account.home.join(".pm2"), account.name));
    let own = of_variable.map(|home| {
        let user = fs::metadata(&home).ok().and_then(|it| name_of(it.uid())).unwrap_or_default();
        (home, user)
    });
    let mut found: Vec<Pm2Process> = Vec::new();
    for (home, user) in own.into_iter().chain(homes) {
        let file = home.join("dump.pm2");
        let is_list = fs::symlink_metadata(&file).is_ok_and(|it| it.is_file() && it.len() <= LONGEST_LIST);
        let Some(text) = fs::read_to_string(&file).ok().filter(|_| is_list) else { continue };
        // Each by itself: one that is odd does not hide the others.
        let listed: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
        for process in listed.into_iter().filter_map(|it| serde_json::from_value::<Pm2Process>(it).ok()) {
            let pm_cwd = fs::canonicalize(&process.pm_cwd).unwrap_or(process.pm_cwd);
            let process = Pm2Process { user: user.clone(), name: process.name, pm_cwd };
            if !found.contains(&process) {
                found.push(process);
            }
        }
    }
    found
}

fn name_of(uid: u32) -> Option<String> {
    accounts().into_iter().find(|account| account.uid == uid).map(|account| account.name)
}

/// The directories of PM2's processes whose application uses BullMQ.
pub(super) fn candidates(processes: &[Pm2Process]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        processes.iter().map(|process| process.pm_cwd.clone()).filter(|directory| uses_bullmq(directory)).collect();
    found.sort();
    found.dedup();
    found
}

fn uses_bullmq(directory: &Path) -> bool {
    let text = fs::read_to_string(directory.join("package.json")).unwrap_or_default();
    let package: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    ["dependencies", "devDependencies"].iter().any(|kind| package[kind]["bullmq"].is_string())
}

/// What is in this directory.
///
/// # Errors
/// It is no directory, or its environment file cannot be read.
pub(super) fn look(directory: &Path, env_file: Option<&Path>, processes: &[Pm2Process]) -> anyhow::Result<Application> {
    let directory = fs::canonicalize(directory).with_context(|| format!("--directory {}", directory.display()))?;
    if !directory.is_dir() {
        bail!("--directory {}: it is no directory", directory.display());
    }
    let of_it: Vec<&Pm2Process> = processes.iter().filter(|process| process.pm_cwd == directory).collect();
    let owner = fs::metadata(&directory).ok().and_then(|it| name_of(it.uid()));
    let user = of_it.first().map(|process| process.user.clone()).or(owner);
    let told = env_file.map(|file| fs::canonicalize(file).with_context(|| format!("--env-file {}", file.display())));
    let env_file = told.transpose()?.or_else(|| Some(directory.join(".env")).filter(|file| file.is_file()));
    let environment = match &env_file {
        Some(file) => {
            let text = fs::read(file).with_context(|| format!("cannot read {}: use sudo", file.display()))?;
            dotenv::parse(&text, &BTreeMap::new())
        }
        None => BTreeMap::new(),
    };
    let exists = |name: &&str| directory.join(name).is_file();
    let (path, pm2) = programs(user.as_deref());
    Ok(Application {
        ecosystem: ECOSYSTEMS.iter().find(|name| exists(name)).map(|name| (*name).to_owned()),
        install: INSTALLS.iter().find(|(lock, _)| exists(lock)).map(|(_, install)| *install),
        branch: git(&directory, &["rev-parse", "--abbrev-ref", "HEAD"]).filter(|branch| is_plain(branch)),
        remote: git(&directory, &["remote", "get-url", "origin"]).map(|url| without_login(&url)),
        processes: of_it.iter().map(|process| process.name.clone()).collect(),
        directory,
        user,
        env_file,
        environment,
        path,
        pm2,
    })
}

/// One line of git's; it asks nobody, and the owner of the repository may be another.
fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "-C"]).arg(directory).args(arguments);
    let out = git.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    (out.status.success() && !text.is_empty()).then_some(text)
}

/// A branch that a shell takes as one word, whatever it is called.
fn is_plain(branch: &str) -> bool {
    branch != "HEAD" && branch.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._/+-".contains(&byte))
}

/// A token in the URL is nobody's to see, before the host or behind the path.
fn without_login(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) =
        url.split_once("://").map_or((String::new(), url), |(scheme, rest)| (format!("{scheme}://"), rest));
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}{}", &rest[host..])
}

/// Where the user's programs are beside the usual places, and how PM2 is called.
fn programs(user: Option<&str>) -> (Vec<PathBuf>, &'static str) {
    let home = accounts().into_iter().find(|account| Some(account.name.as_str()) == user).map(|account| account.home);
    let usual = ["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from);
    let mut own: Vec<PathBuf> = Vec::new();
    if let Some(home) = &home {
        own.extend([".bun/bin", ".local/bin", ".npm-global/bin", ".volta/bin"].map(|below| home.join(below)));
        let versions = fs::read_dir(home.join(".nvm/versions/node")).into_iter().flatten().flatten();
        own.extend(versions.map(|version| version.path().join("bin")));
    }
    let has = |directory: &Path, name: &str| directory.join(name).exists();
    let is_usual = |name: &str| usual.iter().any(|directory| has(directory, name));
    let needed = ["bun", "node", "pm2"];
    own.retain(|directory| needed.iter().any(|name| !is_usual(name) && has(directory, name)));
    let has_pm2 = is_usual("pm2") || own.iter().any(|directory| has(directory, "pm2"));
    (own, if has_pm2 { "pm2" } else { "npx pm2" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remotes_token_is_not_shown() {
        assert_eq!(without_login("https://x-access-token:ghp_1@github.com/a/b"), "https://github.com/a/b");
        assert_eq!(without_login("https://user:p@ss@github.com/a/@scope/b"), "https://github.com/a/@scope/b");
        assert_eq!(without_login("https://github.com/a/b?private_token=x"), "https://github.com/a/b");
        assert_eq!(without_login("token:x@github.com:a/b.git"), "github.com:a/b.git");
    }

    #[test]
    fn a_branch_is_one_word_of_a_shell_or_none() {
        assert!(is_plain("main") && is_plain("release/1.2-rc+1"));
        assert!(!["HEAD", "x;touch${IFS}y", "$(id)", "a b", "a'b"].iter().any(|branch| is_plain(branch)));
    }

    #[test]
    fn a_directory_tells_how_it_is_installed_and_started() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("written");
        write("package.json", r#"{"dependencies":{"bullmq":"^5"}}"#);
        write("package-lock.json", "{}");
        write("ecosystem.config.cjs", "");
        write(".env", "QUEUE_NAMES=\"a,b\"\nREDIS_URL=redis://:$P@h\nP=1\n");
        let at = fs::canonicalize(directory.path()).expect("a path");
        let process = |name: &str| Pm2Process { name: name.to_owned(), pm_cwd: at.clone(), user: "ubuntu".to_owned() };
        let listed = [process("worker"), process("web")];
        assert_eq!(candidates(&listed), std::slice::from_ref(&at));
        let found = look(directory.path(), None, &listed).expect("found");
        assert_eq!((found.install, found.ecosystem.as_deref()), (Some("npm ci"), Some("ecosystem.config.cjs")));
        assert_eq!((found.user.as_deref(), found.processes.len()), (Some("ubuntu"), 2));
        assert_eq!(found.environment["REDIS_URL"], "redis://:1@h");
        assert_eq!((found.branch, found.remote), (None, None), "it is no repository");
    }
}
