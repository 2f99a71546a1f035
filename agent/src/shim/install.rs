//! Where the shim lies and where its socket is. Owns both files: written anew at each start of the agent, readable by
//! the worker's user alone.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::boot::account::Account;

/// A socket's path may be no longer (sun_path, with its end).
const MAX_SOCKET_PATH: usize = 107;

/// The shim, installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The preload file.
    pub file: PathBuf,
    /// Where its processes connect to.
    pub socket: PathBuf,
}

/// Why there is no shim.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The state directory cannot be used.
    #[error("{}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// Node and bun split their options at blanks, and a socket's path is short.
    #[error(
        "cannot put the worker shim into {}: set state_directory to an absolute path of at most 90 characters without \
         blanks or quotes",
        .0.display()
    )]
    Unusable(PathBuf),
}

impl Installed {
    /// The file by which a starting process learns that the fence is up: `<socket>.fenced`.
    pub fn mark(&self) -> PathBuf {
        let mut name = self.socket.clone().into_os_string();
        name.push(".fenced");
        name.into()
    }

    /// Writes the file into the state directory and listens on the socket, for this user's processes.
    pub fn install(directory: &Path, account: Option<&Account>) -> Result<(Self, UnixListener), InstallError> {
        let place = Self { file: directory.join("worker-shim.cjs"), socket: directory.join("worker.sock") };
        let plain = |path: &Path| {
            let text = path.as_os_str().as_encoded_bytes();
            text.len() <= MAX_SOCKET_PATH
                && !text.iter().any(|byte| byte.is_ascii_whitespace() || b"\"'\\".contains(byte))
        };
        if !plain(&place.socket) || !directory.is_absolute() {
            return Err(InstallError::Unusable(directory.to_owned()));
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| InstallError::File(path, error)
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed(directory))?;
        // The worker's user must get to the two files, and bun loads no file of a directory that it cannot list. What
        // else is in it is nobody's but the agent's by its own mode.
        let metadata = directory.metadata().map_err(failed(directory))?;
        let mut mode = metadata.permissions();
        if mode.mode() & 0o055 != 0o055 {
            mode.set_mode(mode.mode() | 0o055);
            std::fs::set_permissions(directory, mode).map_err(failed(directory))?;
        }
        let draft = directory.join("worker-shim.new");
        std::fs::write(&draft, super::SOURCE).map_err(failed(&draft))?;
        std::fs::set_permissions(&draft, PermissionsExt::from_mode(0o644)).map_err(failed(&draft))?;
        std::fs::rename(&draft, &place.file).map_err(failed(&place.file))?;
        let _ = std::fs::remove_file(&place.socket);
        let listener = UnixListener::bind(&place.socket).map_err(failed(&place.socket))?;
        std::fs::set_permissions(&place.socket, PermissionsExt::from_mode(0o600)).map_err(failed(&place.socket))?;
        if let Some(account) = account.filter(|account| account.must_change()) {
            std::os::unix::fs::chown(&place.socket, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
                .map_err(failed(&place.socket))?;
        }
        Ok((place, listener))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_installed_anew_each_time_for_the_workers_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        std::fs::DirBuilder::new().mode(0o700).create(&state).unwrap();
        for _ in 0..2 {
            let (place, _listener) = Installed::install(&state, None).unwrap();
            assert_eq!(std::fs::read_to_string(&place.file).unwrap(), super::super::SOURCE);
            let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&place.socket), mode(&place.file), mode(&state)), (0o600, 0o644, 0o755));
        }
    }

    #[tokio::test]
    async fn a_path_that_node_would_split_is_refused() {
        let long = format!("/{}", "x".repeat(100));
        for path in ["/a b", "relative", long.as_str()] {
            assert!(matches!(Installed::install(Path::new(path), None), Err(InstallError::Unusable(_))), "{path}");
        }
    }
}
