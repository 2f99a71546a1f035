//! `spillway-agent check-image`: whether credentials that only the primary needs would be baked into the image. Owns
//! where it looks; what counts as a credential is `secrets`'. It changes nothing, asks nobody, and never shows a value.
//! Only `--remove` changes something, which is `removal`'s.

mod places;
mod removal;
mod secrets;

pub use places::Places;
pub use removal::{Removed, remove};

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::ConfigError;

/// What to do about all of them.
pub const REMEDY: &str = "Whoever may launch the image can read it, and so can every program of the worker. AWS credentials come from \
    the instance profile: grant the worker's role what the application needs (ami/README.md), then remove them here; AWS's \
    SDKs find the role's by themselves. The coordinator's settings belong into /etc/spillway/coordinator.env on the primary. What the \
    worker needs all the same, such as the keys of another provider's S3: --allow NAME";

/// A larger file is no configuration.
const LARGEST: u64 = 1 << 20;

/// Directories of an application that hold other people's files.
const NOT_THE_APPLICATIONS: [&str; 2] = ["node_modules", ".git"];

/// Files of a home directory that set variables.
const OF_A_HOME: [&str; 10] = [
    ".bashrc",
    ".bash_profile",
    ".bash_login",
    ".bash_aliases",
    ".profile",
    ".zshrc",
    ".zshenv",
    ".zprofile",
    ".pam_environment",
    ".env",
];

/// Files of the machine that set variables, and directories of them.
const OF_THE_MACHINE: [&str; 6] = ["environment", "profile", "bash.bashrc", "profile.d", "default", "systemd/system"];

/// A credential that should not be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    pub file: PathBuf,
    /// From 1; none where the whole file is meant.
    pub line: Option<usize>,
    /// Of the variable.
    pub name: String,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        write!(f, "{}{line}: {}: {}", self.file.display(), self.name, self.what)
    }
}

/// A place that may set variables, and was not searched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Skipped {
    pub place: PathBuf,
    pub why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: not searched: {}", self.place.display(), self.why)
    }
}

/// What a check says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By place.
    pub found: Vec<Finding>,
    pub not_searched: Vec<Skipped>,
}

impl Report {
    /// What it comes to, for a person.
    pub fn conclusion(&self) -> &'static str {
        match (self.found.is_empty(), self.not_searched.is_empty()) {
            (false, _) => REMEDY,
            (true, true) => "no AWS credentials and no secrets of the coordinator's were found",
            (true, false) => {
                "no AWS credentials and no secrets of the coordinator's were found where was searched: look at what is named above \
                 yourself"
            }
        }
    }
}

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What cannot be read may hold anything.
    #[error("what {} holds is unknown: run this as root, and check boot.directory", .0.display())]
    Unreadable(PathBuf, #[source] io::Error),
    /// What was to be removed may stand there still.
    #[error("{} cannot be rewritten: run this as root, and look at the file", .0.display())]
    Unwritable(PathBuf, #[source] io::Error),
    /// Nothing was removed.
    #[error("{} cannot be made, so nothing was removed: --removed names a file that is not there yet, in a directory that is", .0.display())]
    NoRecord(PathBuf, #[source] io::Error),
}

/// Everything that was found, by place, and what was not searched; what is `allowed` by its name or its file is left
/// out.
///
/// # Errors
/// A file or a directory is there and cannot be read.
pub fn check(places: &Places, allowed: &[String]) -> Result<Report, ImageError> {
    let mut search = Search { searched: places.searched(), ..Search::default() };
    for (name, value, line) in &places.environment {
        if let Some(what) = secrets::in_variable(name, value) {
            let (file, what) = (places.config.clone(), what.to_owned());
            search.found.insert(Finding { file, line: *line, name: name.clone(), what });
        }
        search.credential_file(name, value);
    }
    // Its boot steps can set variables as well.
    search.file(&places.config, false)?;
    search.application(&places.directory, true)?;
    if let Some(file) = &places.env_file {
        if !file.exists() {
            search.skips(file, "env_file names it, and it is not there");
        }
        search.file(file, true)?;
    }
    match &places.home {
        Ok(home) => {
            for name in OF_A_HOME {
                search.file(&home.join(name), name == ".env")?;
            }
            search.credential_files.extend(["credentials", "config"].map(|name| home.join(".aws").join(name)));
        }
        Err(skipped) => search.skips(&skipped.place, &skipped.why),
    }
    for name in OF_THE_MACHINE {
        search.machine(&places.machine.join(name))?;
    }
    for file in std::mem::take(&mut search.credential_files) {
        search.file(&file, false)?;
    }
    Ok(Report {
        found: search.found.into_iter().filter(|finding| !is_allowed(finding, allowed)).collect(),
        not_searched: search.skipped.into_iter().collect(),
    })
}

fn is_allowed(it: &Finding, allowed: &[String]) -> bool {
    allowed.iter().any(|name| *name == it.name || Path::new(name) == it.file)
}

/// Units of the primary, which `prepare-image.sh` removes.
const UNITS_OF_THE_PRIMARY: [&str; 2] = ["spillway.service", "pm2-"];

#[derive(Debug, Default)]
struct Search {
    found: BTreeSet<Finding>,
    skipped: BTreeSet<Skipped>,
    /// Files of AWS's own format that variables name.
    credential_files: BTreeSet<PathBuf>,
    /// Directories that are searched in any case, as they are without links.
    searched: Vec<PathBuf>,
}

impl Search {
    /// The files of its top directory, in which the application's own programs may set variables, and every `.env…`,
    /// `ecosystem.…` and `….config.…` below.
    fn application(&mut self, directory: &Path, is_top: bool) -> Result<(), ImageError> {
        for path in entries(directory)? {
            let name = file_name(&path);
            let is_environment = name.starts_with(".env");
            if path.is_dir() {
                if path.is_symlink() {
                    self.linked_directory(&path);
                } else if !NOT_THE_APPLICATIONS.contains(&name.as_str()) {
                    self.application(&path, false)?;
                }
            } else if is_top || is_environment || name.starts_with("ecosystem.") || name.contains(".config.") {
                self.file(&path, is_environment)?;
            }
        }
        Ok(())
    }

    fn machine(&mut self, path: &Path) -> Result<(), ImageError> {
        if !path.is_dir() {
            return self.file(path, false);
        }
        for entry in entries(path)? {
            if UNITS_OF_THE_PRIMARY.iter().any(|unit| file_name(&entry).starts_with(unit)) {
                continue;
            }
            match entry.is_symlink() {
                true if entry.is_dir() => self.linked_directory(&entry),
                // What it leads to is read in its own place.
                true if self.is_searched(&entry) => {}
                _ => self.machine(&entry)?,
            }
        }
        Ok(())
    }

    /// It may lead anywhere, and in a circle.
    fn linked_directory(&mut self, path: &Path) {
        if !self.is_searched(path) {
            let target = fs::read_link(path).unwrap_or_default();
            self.skips(path, &format!("it is a link to the directory {}", target.display()));
        }
    }

    /// A link leads to where is searched in any case.
    fn is_searched(&self, link: &Path) -> bool {
        let target = link.canonicalize().unwrap_or_default();
        self.searched.iter().any(|directory| target.starts_with(directory))
    }

    fn skips(&mut self, place: &Path, why: &str) {
        self.skipped.insert(Skipped { place: place.to_owned(), why: why.to_owned() });
    }

    fn file(&mut self, path: &Path, is_environment: bool) -> Result<(), ImageError> {
        let unreadable = |error| ImageError::Unreadable(path.to_owned(), error);
        match fs::metadata(path) {
            Ok(data) if data.is_file() && data.len() > LARGEST => {
                self.skips(path, &format!("it is larger than {} MiB", LARGEST >> 20));
                return Ok(());
            }
            Ok(data) if data.is_file() => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(unreadable(error)),
            // A link to nowhere, a socket, a program: nothing that sets a variable.
            _ => return Ok(()),
        }
        let text = fs::read(path).map_err(unreadable)?;
        let is_sample = secrets::is_sample(path);
        if is_environment {
            for (name, value) in secrets::variables(&text) {
                self.credential_file(&name, &value);
            }
        }
        let found = if is_environment { secrets::in_environment(&text, is_sample) } else { BTreeSet::new() };
        for secret in found.into_iter().chain(secrets::in_text(&text, is_sample)) {
            let file = path.to_owned();
            self.found.insert(Finding {
                file,
                line: Some(secret.line),
                name: secret.name,
                what: secret.what.to_owned(),
            });
        }
        Ok(())
    }

    fn credential_file(&mut self, name: &str, value: &str) {
        if ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"].contains(&name) {
            self.credential_files.insert(value.into());
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// In the order of their names.
fn entries(directory: &Path) -> Result<BTreeSet<PathBuf>, ImageError> {
    let unreadable = |error| ImageError::Unreadable(directory.to_owned(), error);
    fs::read_dir(directory).map_err(unreadable)?.map(|it| it.map(|it| it.path()).map_err(unreadable)).collect()
}

#[cfg(test)]
mod tests;
