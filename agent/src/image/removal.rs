//! `check-image --remove`: takes what the check finds out of the application's environment files. Owns which files may
//! be rewritten, and how; what counts as a credential is `secrets`'.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use serde::Serialize;
use spillway_settings::dotenv;

use super::{
    Finding, ImageError, LARGEST, NOT_THE_APPLICATIONS, Places, Skipped, entries, file_name, is_allowed, secrets,
};

/// A shorter line of a value over several is searched for in vain: it is everywhere.
const LEAST: usize = 16;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// With the lines that they had.
    pub removed: Vec<Finding>,
    /// What was left although it has, or may have, some.
    pub not_changed: Vec<Skipped>,
}

/// A file that is rewritten.
struct Rewrite {
    path: PathBuf,
    file: File,
    text: Vec<u8>,
    /// What stays of it.
    rest: Vec<u8>,
    values: Vec<Vec<u8>>,
    found: Vec<Finding>,
}

/// Removes from the application's environment files all credentials but the `allowed` ones: whole assignments, in
/// place. Each value is first written to `record`, which must not be there yet, as lines to search a disk for.
///
/// # Errors
/// A file cannot be read, or not be rewritten. What was removed before stays so.
pub fn remove(places: &Places, allowed: &[String], record: Option<&Path>) -> Result<Removed, ImageError> {
    let mut done = Removed::default();
    let mut rewrites = Vec::new();
    for (target, names) in files(places, &mut done)? {
        rewrites.extend(rewrite(&target, &names, allowed, &mut done)?);
    }
    if let Some(path) = record {
        let failed = |error| ImageError::NoRecord(path.to_owned(), error);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        for line in rewrites.iter().flat_map(|it| &it.values).flat_map(|value| lines(value)) {
            file.write_all(&[line, b"\n"].concat()).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
    }
    for mut it in rewrites {
        let unwritable = |error| ImageError::Unwritable(it.path.clone(), error);
        write(&mut it.file, &it.rest, it.text.len()).map_err(unwritable)?;
        done.removed.append(&mut it.found);
    }
    Ok(done)
}

/// The application's environment files by where they are without links, each with the names that it has.
fn files(places: &Places, done: &mut Removed) -> Result<BTreeMap<PathBuf, Vec<PathBuf>>, ImageError> {
    let mut named = Vec::new();
    environment_files(&places.directory, &mut named)?;
    named.extend(places.env_file.clone().filter(|file| !named.contains(file)));
    let directory = places.directory.canonicalize().unwrap_or_default();
    let mut found: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for path in named {
        // A link to nowhere sets no variable, and what cannot be reached the check says.
        let Ok(target) = path.canonicalize() else { continue };
        if target.starts_with(&directory) || !path.is_symlink() && places.env_file.as_ref() == Some(&path) {
            found.entry(target).or_default().push(path);
        } else if path.is_file() {
            let why = format!("it is a link out of the application, to {}", target.display());
            done.not_changed.push(Skipped { place: path, why });
        }
    }
    Ok(found)
}

fn environment_files(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), ImageError> {
    for path in entries(directory)? {
        let name = file_name(&path);
        if !path.is_dir() {
            found.extend(name.starts_with(".env").then_some(path));
        } else if !path.is_symlink() && !NOT_THE_APPLICATIONS.contains(&name.as_str()) {
            environment_files(&path, found)?;
        }
    }
    Ok(())
}

/// `None` where nothing is to be removed.
fn rewrite(
    target: &Path,
    names: &[PathBuf],
    allowed: &[String],
    done: &mut Removed,
) -> Result<Option<Rewrite>, ImageError> {
    let path = names.iter().find(|name| *name == target).or(names.first()).cloned().unwrap_or_default();
    let unreadable = |error| ImageError::Unreadable(path.clone(), error);
    let data = target.metadata().map_err(unreadable)?;
    if !data.is_file() || data.len() > LARGEST {
        return Ok(None);
    }
    let mut text = Vec::new();
    open(target, OFlags::RDONLY).and_then(|mut file| file.read_to_end(&mut text)).map_err(unreadable)?;
    let (mut rest, mut values, mut found, mut removed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut kept_to = 0;
    for it in secrets::assigned(&text, names.iter().all(|name| secrets::is_sample(name))) {
        let secrets::Secret { line, name, what } = it.secret;
        let finding = |file: &PathBuf| Finding {
            file: file.clone(),
            line: Some(line),
            name: name.clone(),
            what: what.to_owned(),
        };
        if names.iter().any(|name| is_allowed(&finding(name), allowed)) {
            continue;
        }
        if !it.sources.is_empty() {
            let why = format!("line {line}: {name} is what {} says: remove them by hand", it.sources.join(", "));
            done.not_changed.push(Skipped { place: path.clone(), why });
            continue;
        }
        // One that begins on the last line of another has been removed with it.
        let span = it.assignment.span;
        rest.extend_from_slice(text.get(kept_to..span.start).unwrap_or_default());
        kept_to = kept_to.max(span.end);
        removed.push(span.start);
        values.push(it.assignment.value);
        found.push(finding(&path));
    }
    if found.is_empty() {
        return Ok(None);
    }
    rest.extend_from_slice(&text[kept_to..]);
    if !is_otherwise_the_same(&text, &rest, &removed) {
        let why = "without them another variable would have another value: remove them by hand".to_owned();
        done.not_changed.push(Skipped { place: path, why });
        return Ok(None);
    }
    let file = open(target, OFlags::RDWR).map_err(|error| ImageError::Unwritable(path.clone(), error))?;
    Ok(Some(Rewrite { path, file, text, rest, values, found }))
}

/// Of an assignment without a value the value may be what follows: `A=`, and a quoted line somewhere below.
fn is_otherwise_the_same(text: &[u8], rest: &[u8], removed: &[usize]) -> bool {
    let set = |it: dotenv::Assignment| (it.name, it.value);
    let kept = dotenv::assignments(text).into_iter().filter(|it| !removed.contains(&it.span.start));
    kept.map(set).eq(dotenv::assignments(rest).into_iter().map(set))
}

/// Through no link: the directory is the application's, and who writes there must not choose what root rewrites.
fn open(path: &Path, how: OFlags) -> io::Result<File> {
    let how = how | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match openat2(CWD, path, how, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // Before Linux 5.6: of the file alone.
        Err(Errno::NOSYS) => Ok(openat(CWD, path, how, Mode::empty())?.into()),
        opened => Ok(opened?.into()),
    }
}

/// In place, so that owner, mode and every name of the file stay, and so that the old text is not left on the disk.
fn write(file: &mut File, rest: &[u8], length: usize) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(rest)?;
    file.write_all(&vec![0; length - rest.len()])?;
    file.sync_all()?;
    file.set_len(rest.len() as u64)?;
    file.sync_all()
}

/// What of a value stands on a disk as it is.
fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_one = !value.contains(&b'\n');
    let lines = value.split(|byte| b"\r\n".contains(byte));
    lines.filter(move |line| line.len() >= LEAST || is_one && !line.is_empty())
}
