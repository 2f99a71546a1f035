//! Where an image is searched: what the agent's configuration names, the home of the application's user, and `/etc`.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::{OF_THE_MACHINE, Skipped};
use crate::config::{ConfigError, Source};

/// Where it looks.
#[derive(Clone, Debug)]
pub struct Places {
    /// The agent's configuration.
    pub(super) config: PathBuf,
    /// Of the variables that `boot.environment` sets, with their lines.
    pub(super) environment: Vec<(String, String, Option<usize>)>,
    pub(super) directory: PathBuf,
    pub(super) env_file: Option<PathBuf>,
    /// Or why it is not known.
    pub(super) home: Result<PathBuf, Skipped>,
    /// `/etc`.
    pub(super) machine: PathBuf,
}

impl Places {
    /// Those that the agent's configuration names, and the usual ones of the application's user and of the machine,
    /// which is the one below `root` where that is given.
    ///
    /// # Errors
    /// A value of the configuration cannot be used: also a user who does not exist, whose home nobody could search.
    pub fn of(config: &Path, source: &Source, root: Option<&Path>) -> Result<Self, ConfigError> {
        let set = source.string_map("boot.environment")?.unwrap_or_default();
        let line = |name: &str| source.line(&format!("boot.environment.{name}"));
        let machine = root.unwrap_or(Path::new("/")).join("etc");
        let home = match source.string("boot.user")? {
            Some(user) => Ok(home_of_user(&user, root).map_err(|problem| {
                let remedy = "create the user, or set boot.user to the application's, whose startup files are searched";
                source.invalid("boot.user", problem, remedy)
            })?),
            None => home_of(Uid::effective(), root).ok_or_else(|| Skipped {
                place: machine.join("passwd"),
                why: format!("it has no home for uid {}: set boot.user to the application's user", Uid::effective()),
            }),
        };
        Ok(Self {
            config: config.to_owned(),
            environment: set.into_iter().map(|(name, value)| (name.clone(), value, line(&name))).collect(),
            directory: source.required("boot.directory", "the application's directory, such as \"/opt/app\"")?.into(),
            env_file: source.string("env_file")?.map(PathBuf::from),
            home,
            machine,
        })
    }

    /// Directories that are searched with all that is in them, as they are without links.
    pub(super) fn searched(&self) -> Vec<PathBuf> {
        let machine = OF_THE_MACHINE.iter().map(|name| self.machine.join(name)).filter(|path| path.is_dir());
        machine.chain([self.directory.clone()]).filter_map(|path| path.canonicalize().ok()).collect()
    }
}

/// Or what is wrong with the user.
fn home_of_user(name: &str, root: Option<&Path>) -> Result<PathBuf, String> {
    let missing = || format!("names the user {name}, who does not exist");
    match root {
        Some(root) => in_passwd(root, |found, _| found == name).ok_or_else(missing),
        None => match User::from_name(name) {
            Ok(user) => user.map(|user| user.dir).ok_or_else(missing),
            Err(error) => Err(format!("names the user {name}, who cannot be looked up ({error})")),
        },
    }
}

fn home_of(uid: Uid, root: Option<&Path>) -> Option<PathBuf> {
    match root {
        Some(root) => in_passwd(root, |_, found| found == uid.to_string()),
        None => User::from_uid(uid).ok().flatten().map(|user| user.dir),
    }
}

/// The home, below `root`, of the first user that its passwd(5) has with such a name and uid.
fn in_passwd(root: &Path, is_meant: impl Fn(&str, &str) -> bool) -> Option<PathBuf> {
    let text = fs::read_to_string(root.join("etc/passwd")).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, home, _] = fields[..] else { return None };
        is_meant(name, uid).then(|| root.join(home.trim_start_matches('/')))
    })
}
