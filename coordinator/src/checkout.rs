//! The commit that a checkout on this machine is at, read from its `.git`: HEAD, then the ref that it names, loose or
//! packed. Starts no process, reads a bounded part of each file, and tells nothing of a file but a commit's hash.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Of HEAD, a ref, or `.git` where that is a file.
const MOST_OF_A_REF: u64 = 4096;
/// Of `packed-refs`: some ten thousand refs.
const MOST_OF_PACKED: u64 = 4 * 1024 * 1024;
/// Refs that name refs.
const DEEPEST: usize = 5;

/// The checkout's commit: 40 hexadecimal digits, or 64. An error says what cannot be read and why, in a sentence.
pub fn commit(checkout: &Path) -> Result<String, String> {
    let git = directory(checkout)?;
    // Of a worktree only HEAD is its own.
    let common = match read(&git.join("commondir"), MOST_OF_A_REF) {
        Ok(path) => git.join(path.trim()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => git.clone(),
        Err(error) => return Err(cannot_read(&git.join("commondir"), &error)),
    };
    let head = git.join("HEAD");
    let mut text = read(&head, MOST_OF_A_REF).map_err(|error| cannot_read(&head, &error))?;
    for _ in 0..DEEPEST {
        let Some(name) = text.strip_prefix("ref:").map(str::trim) else { return hash(text.trim(), &head) };
        if !is_ref(name) {
            return Err(format!("{} names no ref: {name:?}", head.display()));
        }
        let loose = common.join(name);
        text = match read(&loose, MOST_OF_A_REF) {
            Ok(text) => text,
            Err(error) if is_absent(&error) => packed(&common, name)?,
            Err(error) => return Err(cannot_read(&loose, &error)),
        };
    }
    Err(format!("{} leads from ref to ref", head.display()))
}

/// Where Git keeps the checkout's own HEAD: `.git`, or what the file `.git` of a worktree names.
fn directory(checkout: &Path) -> Result<PathBuf, String> {
    let git = checkout.join(".git");
    match read(&git, MOST_OF_A_REF) {
        Ok(text) => match text.strip_prefix("gitdir:") {
            Some(path) => Ok(checkout.join(path.trim())),
            None => Err(format!("{} names no directory", git.display())),
        },
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Ok(git),
        Err(error) => Err(cannot_read(&git, &error)),
    }
}

fn packed(common: &Path, name: &str) -> Result<String, String> {
    let path = common.join("packed-refs");
    let text = read(&path, MOST_OF_PACKED).map_err(|error| cannot_read(&path, &error))?;
    let found = text.lines().filter_map(|line| line.split_once(' ')).find(|(_, of)| *of == name);
    found.map(|(hash, _)| hash.to_owned()).ok_or_else(|| format!("{name} is neither a file nor in {}", path.display()))
}

/// Never a path out of the repository.
fn is_ref(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
    name.starts_with("refs/") && name.split('/').all(is_part)
}

fn hash(text: &str, of: &Path) -> Result<String, String> {
    let is_hash = [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { Ok(text.to_ascii_lowercase()) } else { Err(format!("{} leads to no commit", of.display())) }
}

fn read(path: &Path, most: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(most).read_to_string(&mut text)?;
    Ok(text)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory)
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    fn git(directory: &Path, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]).args(arguments).current_dir(directory);
        let output = command.output().expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A repository with one commit.
    fn repository(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("spillway-checkout-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory");
        git(&path, &["init", "-q", "-b", "main"]);
        git(&path, &["commit", "-q", "--allow-empty", "-m", "one"]);
        path
    }

    #[test]
    fn it_is_what_git_says_of_a_branch_of_packed_refs_of_no_branch_and_of_a_worktree() {
        let path = repository("kinds");
        let head = |path: &Path| git(path, &["rev-parse", "HEAD"]);
        assert_eq!(commit(&path), Ok(head(&path)));
        git(&path, &["pack-refs", "--all"]);
        assert!(!path.join(".git/refs/heads/main").exists());
        assert_eq!(commit(&path), Ok(head(&path)), "packed");
        git(&path, &["commit", "-q", "--allow-empty", "-m", "two"]);
        assert_eq!(commit(&path), Ok(head(&path)), "a loose ref is newer than a packed one");
        git(&path, &["checkout", "-q", "--detach", "HEAD~"]);
        assert_eq!(commit(&path), Ok(head(&path)), "detached");
        let tree = path.join("tree");
        git(&path, &["worktree", "add", "-q", "-b", "feature/a", "tree", "main"]);
        assert_eq!(commit(&tree), Ok(head(&tree)), "a worktree");
        assert_ne!(commit(&tree), commit(&path));
        fs::remove_dir_all(path).expect("it is removed");
    }

    #[test]
    fn what_is_no_commit_is_an_error_and_nothing_of_the_file_is_told() {
        let path = repository("wrong");
        let head = path.join(".git/HEAD");
        for text in ["", "secret", "ref: ../../etc/passwd", "ref: refs/../../secret", "ref: refs/heads/none", "ref:"] {
            fs::write(&head, text).expect("it is written");
            let error = commit(&path).expect_err(text);
            assert!(!error.contains("secret") || text.starts_with("ref:"), "{error}");
        }
        fs::write(&head, "ref: refs/heads/round\n").expect("it is written");
        fs::write(path.join(".git/refs/heads/round"), "ref: refs/heads/round\n").expect("it is written");
        assert!(commit(&path).is_err_and(|error| error.contains("from ref to ref")));
        fs::write(&head, vec![b'a'; 10_000]).expect("it is written");
        assert!(commit(&path).is_err(), "and no more of it is read");
        fs::remove_dir_all(&path).expect("it is removed");
        assert!(commit(&path).is_err_and(|error| error.starts_with("cannot read ")));
    }
}
