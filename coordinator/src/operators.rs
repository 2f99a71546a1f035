//! By what operators are known: the settings' token read from its file, accounts looked up, the Unix socket opened.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::net::UnixListener;

use crate::config::{OperatorsKind, Settings};
use crate::rpc::{OperatorToken, Operators};

/// The socket's name in the runtime directory, or in the state directory where there is none.
pub const SOCKET: &str = "operators.sock";
/// The token's name among the service's credentials (systemd's LoadCredential).
const CREDENTIAL: &str = "operator-token";
/// A shorter one can be guessed.
const SHORTEST_TOKEN: usize = 16;

/// How operators are let in.
#[derive(Debug)]
pub(crate) struct OperatorDoor {
    pub(crate) operators: Operators,
    /// Accounts that may use the socket, beside root and this process' own.
    pub(crate) accounts: Vec<u32>,
    /// None where operators are known by loopback, or there is no place for it.
    pub(crate) socket: Option<UnixListener>,
}

/// Opens it as the settings say. The socket is in the first of these directories that there is.
///
/// # Errors
/// The token's file cannot be used, an account is unknown, the socket cannot be made.
pub(crate) fn open(settings: &Settings, directories: &[Option<&Path>]) -> anyhow::Result<OperatorDoor> {
    if settings.operators == OperatorsKind::Loopback {
        return Ok(OperatorDoor { operators: Operators::Loopback, accounts: Vec::new(), socket: None });
    }
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|directory| Path::new(&directory).join(CREDENTIAL));
    let file = settings.operator_token_file.clone().or_else(|| credential.filter(|file| file.exists()));
    let token = file.as_deref().map(token).transpose()?;
    let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let accounts = settings.operator_accounts.iter().map(|name| uid(&accounts, name)).collect::<Result<_, _>>()?;
    let path = directories.iter().flatten().next().map(|directory| directory.join(SOCKET));
    if path.is_none() && token.is_none() {
        bail!(
            "grpc.operators is \"token\", and there is neither a token nor a place for the Unix socket: set \
             grpc.operator_token_file, or state_directory"
        );
    }
    let socket = path.as_deref().map(listen).transpose()?;
    if let Some(path) = path {
        tracing::info!(socket = %path.display(), "operators are answered here, and by token");
    }
    Ok(OperatorDoor { operators: Operators::Token(token), accounts, socket })
}

fn token(file: &Path) -> anyhow::Result<OperatorToken> {
    let shown = file.display();
    let read = std::fs::read_to_string(file).with_context(|| {
        format!(
            "grpc.operator_token_file: cannot read {shown}. A file that is root's comes to the service by LoadCredential=\
             {CREDENTIAL}:{shown}, without that setting"
        )
    })?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("grpc.operator_token_file: others can read {shown} (mode {:04o}): chmod 0600 {shown}", mode & 0o7777);
    }
    let token = read.trim();
    if token.len() < SHORTEST_TOKEN || token.contains(|it: char| it.is_whitespace() || it.is_control()) {
        bail!(
            "grpc.operator_token_file: {shown} has no token of at least {SHORTEST_TOKEN} characters: make one with `openssl rand \
             -hex 32`"
        );
    }
    Ok(OperatorToken::new(token))
}

/// The uid of an account, by its name or as a number.
fn uid(accounts: &str, name: &str) -> anyhow::Result<u32> {
    if let Ok(uid) = name.parse() {
        return Ok(uid);
    }
    let mut entries = accounts.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = entries.find(|entry| entry.first() == Some(&name)).and_then(|entry| entry.get(2)?.parse().ok());
    found.with_context(|| {
        format!("grpc.operator_accounts: this machine has no account \"{name}\": write a name of /etc/passwd, or a uid")
    })
}

/// Everybody may connect; who it is, the kernel tells of each connection.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let failed = || format!("cannot make the operators' socket {}", path.display());
    match path.symlink_metadata() {
        // Of a coordinator of before: one that runs still would hold the ports.
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path).with_context(failed)?,
        Ok(_) => bail!("{}: there is something else: remove it", failed()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        Err(error) => return Err(error).with_context(failed),
    }
    let listener = UnixListener::bind(path).with_context(failed)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).with_context(failed)?;
    Ok(listener)
}

/// Where operators find the socket of this machine's service.
pub fn default_socket() -> PathBuf {
    Path::new("/run/spillway").join(SOCKET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_nobody_elses_and_long_enough() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("token");
        let write = |text: &str, mode: u32| {
            std::fs::write(&file, text).expect("written");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("a mode");
            token(&file).map_err(|error| error.to_string())
        };
        assert_eq!(write("0123456789abcdef\n", 0o600), Ok(OperatorToken::new("0123456789abcdef")));
        assert!(write("0123456789abcdef\n", 0o640).expect_err("readable").contains("chmod 0600"));
        assert!(write("short\n", 0o600).expect_err("short").contains("openssl rand"));
        assert!(write("0123456789 abcdef\n", 0o600).expect_err("two words").contains("openssl rand"));
        assert!(token(&directory.path().join("none")).expect_err("none").to_string().contains("LoadCredential"));
    }

    #[test]
    fn accounts_have_names_or_numbers() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\n";
        assert_eq!(uid(accounts, "ubuntu").expect("known"), 1000);
        assert_eq!(uid(accounts, "4242").expect("a number"), 4242);
        assert!(uid(accounts, "nobody-here").expect_err("unknown").to_string().contains("nobody-here"));
    }

    #[tokio::test]
    async fn a_socket_of_before_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(SOCKET);
        for _ in 0..2 {
            listen(&path).expect("it listens");
        }
        std::fs::remove_file(&path).expect("removed");
        std::fs::write(&path, "something").expect("written");
        assert!(listen(&path).expect_err("a file").to_string().contains("something else"));
    }
}
