//! What the application's packages are: a hash of its lockfile. Owns which file that is; never reads what is in it, and
//! never waits for one that is no file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// In the order in which they are looked for.
pub const NAMES: [&str; 5] = ["bun.lock", "bun.lockb", "package-lock.json", "pnpm-lock.yaml", "yarn.lock"];

/// Of the hash, in hexadecimal digits.
const DIGITS: usize = 16;
/// No lockfile is larger.
const LARGEST: u64 = 256 << 20;

/// The first digits of the SHA-256 of the first lockfile in this directory; None where there is none.
///
/// # Errors
/// The first one cannot be read, or is no file.
pub fn hash(directory: &Path) -> io::Result<Option<String>> {
    for name in NAMES {
        let path = directory.join(name);
        let about = match std::fs::metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !about.is_file() || about.len() > LARGEST {
            return Err(io::Error::other(format!("{name} is no lockfile")));
        }
        return hash_of(&mut File::open(path)?.take(LARGEST)).map(Some);
    }
    Ok(None)
}

fn hash_of(file: &mut impl Read) -> io::Result<String> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(digits[..DIGITS].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lockfile_is_told_by_its_hash_and_none_by_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a file");
        let told = || hash(directory.path()).expect("it can be read");
        put("package.json", "{}");
        assert_eq!(told(), None);
        put("yarn.lock", "abc");
        // As `sha256sum` prints it.
        assert_eq!(told().as_deref(), Some("ba7816bf8f01cfea"));
        put("bun.lock", "");
        assert_eq!(told().as_deref(), Some("e3b0c44298fc1c14"), "bun's comes first");
        put("bun.lock", "\n");
        assert_ne!(told().as_deref(), Some("e3b0c44298fc1c14"));
    }

    #[test]
    fn what_is_in_a_lockfiles_place_and_is_no_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("bun.lockb")).expect("a directory");
        std::fs::write(directory.path().join("yarn.lock"), "abc").expect("a file");
        assert!(hash(directory.path()).is_err(), "not the next one's");
    }
}
