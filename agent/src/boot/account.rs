//! Users of the machine. Owns looking one up, with all groups; never changes this process's own.

use std::ffi::CString;
use std::path::PathBuf;

use nix::unistd::{Gid, Uid, User, getgrouplist};

/// A user that steps run as.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: Uid,
    /// Its main group.
    pub gid: Gid,
    /// All its groups.
    pub groups: Vec<Gid>,
    /// Its home.
    pub home: PathBuf,
}

/// Why steps cannot run as a user.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No such user.
    #[error("user {0} does not exist: create it, or set boot.user to one that does")]
    Missing(String),
    /// The user data base does not answer.
    #[error("cannot look up user {0}")]
    LookUp(String, #[source] nix::Error),
    /// Only root can change its user.
    #[error("only root can run boot steps as {0}: start the agent as root, or remove boot.user")]
    NotRoot(String),
}

impl Account {
    /// Looks the user up, and checks that this process may become it.
    pub fn find(name: &str) -> Result<Self, AccountError> {
        let user = User::from_name(name)
            .map_err(|error| AccountError::LookUp(name.to_owned(), error))?
            .ok_or_else(|| AccountError::Missing(name.to_owned()))?;
        if user.uid != Uid::effective() && !Uid::effective().is_root() {
            return Err(AccountError::NotRoot(name.to_owned()));
        }
        let look_up = |error| AccountError::LookUp(name.to_owned(), error);
        let c_name = CString::new(name).map_err(|_| AccountError::Missing(name.to_owned()))?;
        let groups = getgrouplist(&c_name, user.gid).map_err(look_up)?;
        Ok(Self { name: user.name, uid: user.uid, gid: user.gid, groups, home: user.dir })
    }

    /// This process runs as another user: it has to change before it runs a step.
    pub fn must_change(&self) -> bool {
        self.uid != Uid::effective()
    }
}
