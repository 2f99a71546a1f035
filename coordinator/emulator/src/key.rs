//! The key of an emulator: whoever has it may launch processes as the user who runs the emulator. Owns the file that
//! keeps it, and comparisons that take no longer for a guess that is nearly right.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::fs::OFlags;
use sha2::Sha256;

/// A shorter one can be guessed.
const SHORTEST: usize = 16;
/// A larger file is no key.
const LONGEST_FILE: u64 = 4096;

/// A secret: AWS clients sign with it as their secret access key, and the control API wants it as a bearer token.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// Why a file is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("cannot use the key file {}: name a file in a directory that exists", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("the key file {} is not a regular file: name one, or a path where there is none, and it is made", .0.display())]
    NotAFile(PathBuf),
    #[error("the key file {} can be read by other users (mode {mode:03o}): run chmod 600 on it", path.display())]
    Shared { path: PathBuf, mode: u32 },
    #[error("the key file {} belongs to another user (uid {owner}), who knows the key: remove it, and a new one is made", path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error("the key file {} is not one line of at least {SHORTEST} letters and digits: remove it, and a new one is made", .0.display())]
    Content(PathBuf),
}

impl Key {
    /// A random one of 244 bits.
    pub fn random() -> Self {
        Self(format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()))
    }

    /// The one in this file, which is made, for its owner alone, where there is none.
    ///
    /// # Errors
    /// The file cannot be used, or others may know what is in it.
    pub fn read_or_create(path: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::File(path.to_owned(), error);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let key = Self::random();
                writeln!(file, "{}", key.0).map_err(failed)?;
                Ok(key)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(path),
            Err(error) => Err(failed(error)),
        }
    }

    /// The one in this file.
    ///
    /// # Errors
    /// As [`read_or_create`](Self::read_or_create), and where there is none.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |error| KeyError::File(path.to_owned(), error);
        // A FIFO without a writer would keep whoever opens it.
        let at_once = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(at_once).open(path).map_err(failed)?;
        let data = file.metadata().map_err(failed)?;
        if !data.is_file() {
            return Err(KeyError::NotAFile(path.to_owned()));
        }
        let mode = data.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Shared { path: path.to_owned(), mode });
        }
        if ![0, rustix::process::geteuid().as_raw()].contains(&data.uid()) {
            return Err(KeyError::Foreign { path: path.to_owned(), owner: data.uid() });
        }
        let mut text = String::new();
        let is_text = file.take(LONGEST_FILE).read_to_string(&mut text);
        let key = text.trim();
        if is_text.is_err() || key.len() < SHORTEST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyError::Content(path.to_owned()));
        }
        Ok(Self(key.to_owned()))
    }

    /// To be handed to a client.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this is `Bearer` and the key.
    pub(crate) fn is_bearer(&self, authorization: &str) -> bool {
        let Some((scheme, given)) = authorization.split_once(' ') else { return false };
        // Compared as digests under the key: in constant time, whatever the length.
        let digest = |text: &str| mac(self.0.as_bytes(), text.trim().as_bytes());
        scheme.eq_ignore_ascii_case("bearer") && digest(given).verify(&digest(&self.0).finalize().into_bytes()).is_ok()
    }
}

/// HMAC-SHA256, to be finished or verified.
pub(crate) fn mac(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    mac.update(text);
    mac
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        let made = Key::read_or_create(&path).expect("a key");
        assert_eq!(fs::metadata(&path).expect("the file").mode() & 0o777, 0o600);
        assert!(made.expose().len() >= 64 && format!("{made:?}") == "Key(***)");
        assert_eq!(Key::read_or_create(&path).expect("a key"), made);
        assert_ne!(Key::random(), made);
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
            let error = Key::read_or_create(&path).expect_err("others can read it").to_string();
            assert!(error.contains(&format!("(mode {mode:o})")) && error.contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        for text in ["", "short\n", "0123456789abcdef 0123456789abcdef", "0123456789abcdef\n0123456789abcdef"] {
            fs::write(&path, text).expect("the file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("a mode");
            assert!(matches!(Key::read_or_create(&path), Err(KeyError::Content(_))), "{text:?}");
            fs::remove_file(&path).expect("the file");
        }
        assert!(matches!(Key::read(&path), Err(KeyError::File(..))));
        assert!(matches!(Key::read_or_create(&path.join("nowhere")), Err(KeyError::File(..))));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_name_and_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().expect("a directory");
        let fifo = directory.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
        for path in [fifo, directory.path().to_owned(), PathBuf::from("/dev/null")] {
            let (sender, receiver) = std::sync::mpsc::channel();
            let named = path.display().to_string();
            std::thread::spawn(move || sender.send(Key::read_or_create(&path)));
            let read = receiver.recv_timeout(std::time::Duration::from_secs(30)).expect("an answer");
            let error = read.expect_err("it is no file").to_string();
            assert!(error.contains(&format!("{named} is not a regular file")), "{error}");
        }
    }

    #[test]
    fn only_the_key_is_the_bearer() {
        let key = Key("0123456789abcdef".to_owned());
        assert!(key.is_bearer("Bearer 0123456789abcdef") && key.is_bearer("bearer  0123456789abcdef"));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcdee",
            "Bearer 0123456789abcdef0",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
        ] {
            assert!(!key.is_bearer(wrong), "{wrong}");
        }
    }
}
