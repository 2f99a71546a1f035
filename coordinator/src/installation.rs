//! Which installation this is: whose instances are whose in an account that several share.
//!
//! It is the setting `installation`; else it is made once, at random, and kept in two places: the ledger and a file in
//! `state_directory`. Either of the two is enough to find it again; where they disagree nobody can tell which instances
//! are ours, and `spillway run` refuses to start.
//!
//! ```text
//!   setting ──────────────────────► it                  (the ledger's pools must not be another's)
//!   ledger = directory ───────────► it
//!   only one of the two has one ──► it, and the other is written
//!   neither ──────────────────────► made at random, both are written
//!   ledger ≠ directory ───────────► refused, with both values and the remedy
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::cloud::Cloud;
use crate::config::{Pool, Settings};
use crate::ledger::{LedgerProblem, Owner, Owners, Refusal, claim, keep_installation};
use crate::redis_client::Redis;

/// Its file in the state directory.
const FILE: &str = "installation";
/// Held open by every process that uses the directory; names the ledger that they use.
const IN_USE: &str = "ledger";

/// How long EC2 may take to tell the account: without an answer it is not compared.
const ACCOUNT_WITHIN: Duration = Duration::from_secs(5);

/// Why it is not known which installation this is.
#[derive(Debug, Error)]
pub enum IdentityProblem {
    /// Asked again.
    #[error(transparent)]
    Ledger(#[from] LedgerProblem),
    /// Another coordinator holds a lease that this one must not run beside.
    #[error("{0}")]
    InUse(String),
    /// A person must change something.
    #[error("{0}")]
    Refused(String),
}

impl From<Refusal> for IdentityProblem {
    fn from(Refusal { why, while_led }: Refusal) -> Self {
        if while_led { IdentityProblem::InUse(why) } else { IdentityProblem::Refused(why) }
    }
}

/// What is known of the installation once it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub installation: String,
    /// By what it is known, for the log.
    pub source: &'static str,
}

/// The directory that keeps what must outlive the ledger.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// Its lock is shared by all processes of this installation on this machine.
    _in_use: Option<File>,
}

impl StateDirectory {
    /// `ledger`: which ledger this process uses, for whoever wants to use the directory with another.
    ///
    /// # Errors
    /// Another running coordinator uses it with another ledger: that is another installation.
    pub fn open(path: &Path, ledger: &str) -> Result<Self, IdentityProblem> {
        let directory = |in_use| Self { path: path.to_owned(), _in_use: in_use };
        let unwritable = |error: io::Error| {
            tracing::warn!(
                directory = %path.display(), problem = %error,
                "cannot write state_directory: the installation is kept in the ledger alone, and is lost with it"
            );
            directory(None)
        };
        let lock = path.join(IN_USE);
        let opened = fs::create_dir_all(path)
            .and_then(|()| File::options().read(true).write(true).create(true).truncate(false).open(&lock));
        let file = match opened {
            Ok(file) => file,
            Err(error) => return Ok(unwritable(error)),
        };
        let used_with = || fs::read_to_string(&lock).unwrap_or_default().trim().to_owned();
        if used_with() != ledger && file.try_lock().is_ok() {
            if let Err(error) = fs::write(&lock, format!("{ledger}\n")) {
                return Ok(unwritable(error));
            }
            let _ = file.unlock();
        }
        // Waits for one that starts at the same time and writes it.
        let _ = file.lock_shared();
        let theirs = used_with();
        if theirs != ledger {
            return Err(IdentityProblem::Refused(format!(
                "state_directory {} is in use by another coordinator, whose ledger is {theirs}; this one's is {ledger}. Two \
                 installations on one machine need a state_directory each: set state_directory \
                 (SPILLWAY_STATE_DIRECTORY), or `installation`, for one of them",
                path.display()
            )));
        }
        Ok(directory(Some(file)))
    }

    fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    fn read(&self) -> Result<Option<String>, IdentityProblem> {
        let file = self.file();
        let refused = |why: String| {
            IdentityProblem::Refused(format!(
                "{}: {why}. Write the installation there that the tags spillway:installation of its instances have, or \
                 delete the file: the ledger has it too",
                file.display()
            ))
        };
        match fs::read_to_string(&file) {
            Ok(text) => match text.trim() {
                name if is_name(name) => Ok(Some(name.to_owned())),
                other => Err(refused(format!("{other:?} is not the name of an installation"))),
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    fn write(&self, installation: &str) {
        let (file, beside) = (self.file(), self.path.join(format!("{FILE}.new")));
        let written = fs::write(&beside, format!("{installation}\n")).and_then(|()| fs::rename(&beside, &file));
        if let Err(error) = written {
            tracing::warn!(
                file = %file.display(), problem = %error,
                "cannot write the installation: it is kept in the ledger alone, and is lost with it"
            );
        }
    }

    /// Which coordinator this is among those of the installation: it outlives a restart, and no other has it.
    fn home(&self) -> Option<String> {
        let file = self.path.join("home");
        if let Ok(home) = fs::read_to_string(&file) {
            return Some(home.trim().to_owned()).filter(|home| !home.is_empty());
        }
        let home = random();
        fs::write(&file, format!("{home}\n")).ok().map(|()| home)
    }
}

/// Which coordinator this is: by its state directory, or else by its machine's id; where there is neither, a new one
/// each time.
pub fn home(directory: Option<&StateDirectory>) -> String {
    let by_machine = || {
        let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        if id.trim().is_empty() { random() } else { format!("machine {}", id.trim()) }
    };
    directory.and_then(StateDirectory::home).unwrap_or_else(by_machine)
}

/// 1 to 64 letters, digits, dots, dashes and underscores: it is a tag's value, and is read aloud.
pub fn is_name(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(is_known)
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..12].to_owned()
}

/// What the sources say, as one; None: nobody knows one yet.
fn agreed(
    setting: Option<&str>,
    directory: Option<(&Path, &str)>,
    ledger: Option<&str>,
) -> Result<Option<Identity>, IdentityProblem> {
    let known = |installation: &str, source| Ok(Some(Identity { installation: installation.to_owned(), source }));
    match (setting, directory, ledger) {
        (Some(setting), ..) => known(setting, "the setting installation"),
        (None, Some((file, here)), Some(there)) if here != there => Err(IdentityProblem::Refused(format!(
            "the ledger belongs to installation {there}, but {} says that this is installation {here}: nothing is launched or \
             terminated before it is clear whose instances are ours (their tag spillway:installation tells). If {there} is \
             right, delete that file; if {here} is right, use its own ledger (ledger.url, ledger.prefix), or delete the \
             keys \"installation\" and \"pool:…:owner\" of this one; or set `installation` to the right one",
            file.display()
        ))),
        (None, Some((_, here)), Some(_)) => known(here, "ledger and state_directory"),
        (None, Some((_, here)), None) => known(here, "state_directory"),
        (None, None, Some(there)) => known(there, "the ledger"),
        (None, None, None) => Ok(None),
    }
}

/// Which installation this is by its setting, its state directory or its ledger; None where it is not settled yet, or
/// cannot be read. Changes nothing.
pub async fn known(settings: &Settings) -> Option<String> {
    if settings.installation.is_some() {
        return settings.installation.clone();
    }
    let names: Vec<String> = settings.pools.iter().map(|pool| pool.name.clone()).collect();
    let mut ledger = Redis::new("ledger.url", &settings.ledger_url).ok()?;
    Owners::read(&mut ledger, &settings.ledger_prefix, &names).await.ok()?.says(&names)
}

/// Settles which installation this is, and that the ledger's pools are ours to run; then the ledger and the directory
/// both say so.
pub async fn settle(
    settings: &Settings,
    directory: Option<&StateDirectory>,
    ledger: &mut Redis,
    cloud: &Cloud,
) -> Result<Identity, IdentityProblem> {
    let prefix = &settings.ledger_prefix;
    let names: Vec<String> = settings.pools.iter().map(|pool| pool.name.clone()).collect();
    let setting = settings.installation.as_deref();
    let here = match (setting, directory) {
        (None, Some(directory)) => directory.read()?.map(|name| (directory.file(), name)),
        _ => None,
    };
    let owners = Owners::read(ledger, prefix, &names).await?;
    let said = here.as_ref().map(|(file, name)| (file.as_path(), name.as_str()));
    let identity = match agreed(setting, said, owners.says(&names).as_deref())? {
        Some(identity) => identity,
        // Whoever is first makes it, for all that start at the same time.
        None => {
            let installation = keep_installation(ledger, prefix, &random()).await?;
            Identity { installation, source: "made now" }
        }
    };
    let (home, region) = (home(directory), cloud.region());
    let account = account(&owners, &names, cloud).await;
    for pool in &settings.pools {
        let owner = Owner { account: account.clone(), ..owner(settings, pool, &identity, region.as_deref(), &home)? };
        if let Some(refusal) = owners.refusal(&pool.name, &owner) {
            return Err(refusal.into());
        }
        let before = owners.pools.get(&pool.name).and_then(|claimed| claimed.owner.as_ref()?.account.clone());
        claim(ledger, prefix, &pool.name, &Owner { account: owner.account.clone().or(before), ..owner }).await?;
    }
    if setting.is_none() {
        keep_installation(ledger, prefix, &identity.installation).await?;
        if let (None, Some(directory)) = (&here, directory) {
            directory.write(&identity.installation);
        }
    }
    Ok(identity)
}

/// The account of our credentials, where one of the ledger's pools says which account its instances are in; None where
/// EC2 does not tell.
async fn account(owners: &Owners, names: &[String], cloud: &Cloud) -> Option<String> {
    let claimed = names.iter().filter_map(|name| owners.pools.get(name));
    let is_needed =
        claimed.into_iter().any(|it| it.has_launched && it.owner.as_ref().is_some_and(|it| it.account.is_some()));
    if !is_needed {
        return None;
    }
    tokio::time::timeout(ACCOUNT_WITHIN, cloud.account()).await.ok()?.ok()?
}

/// An answer of EC2's tells the account: the ledger keeps it.
///
/// # Errors
/// The ledger's pools have instances in another one.
pub async fn account_seen(
    settings: &Settings,
    ledger: &mut Redis,
    account: Option<&str>,
) -> Result<(), IdentityProblem> {
    let prefix = &settings.ledger_prefix;
    let names: Vec<String> = settings.pools.iter().map(|pool| pool.name.clone()).collect();
    let owners = Owners::read(ledger, prefix, &names).await?;
    for name in &names {
        let Some(owner) = owners.pools.get(name).and_then(|claimed| claimed.owner.clone()) else { continue };
        let owner = Owner { account: account.map(str::to_owned), ..owner };
        if let Some(refusal) = owners.refusal(name, &owner) {
            return Err(refusal.into());
        }
        claim(ledger, prefix, name, &owner).await?;
    }
    Ok(())
}

/// What this coordinator runs a pool as.
fn owner(
    settings: &Settings,
    pool: &Pool,
    identity: &Identity,
    region: Option<&str>,
    home: &str,
) -> Result<Owner, IdentityProblem> {
    let redis = Redis::new("redis.url", &settings.redis_url).map_err(LedgerProblem::from)?;
    Ok(Owner {
        installation: identity.installation.clone(),
        account: None,
        region: region.map(str::to_owned),
        redis: redis.address().to_owned(),
        prefix: pool.prefix.clone(),
        queues: pool.queues.clone(),
        home: home.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_of_ledger_and_directory_is_enough_and_where_they_disagree_both_are_named() {
        let file = Path::new("/state/installation");
        let of = |setting: Option<&str>, directory: Option<&str>, ledger: Option<&str>| {
            let identity = agreed(setting, directory.map(|name| (file, name)), ledger);
            identity.map(|it| it.map(|it| it.installation)).map_err(|refused| refused.to_string())
        };
        let known = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(of(None, None, None), Ok(None));
        assert_eq!(of(None, Some("a"), None), known("a"), "the ledger was wiped");
        assert_eq!(of(None, None, Some("a")), known("a"), "the directory is lost");
        assert_eq!(of(None, Some("a"), Some("a")), known("a"));
        assert_eq!(of(Some("prod"), Some("a"), None), known("prod"));
        let refused = of(None, Some("here"), Some("there")).expect_err("they disagree");
        for part in
            ["installation there", "installation here", "/state/installation", "delete that file", "ledger.prefix"]
        {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }

    #[test]
    fn the_directory_keeps_it_and_what_is_no_name_is_refused_with_the_file() {
        let path = std::env::temp_dir().join(format!("spillway-installation-{}", random()));
        let directory = StateDirectory::open(&path, "127.0.0.1:1 spillway:").expect("it is opened");
        assert_eq!(directory.read().expect("read"), None);
        directory.write("a1");
        assert_eq!(directory.read().expect("read").as_deref(), Some("a1"));
        assert_eq!(home(Some(&directory)), home(Some(&directory)), "it outlives a restart");
        // A second process with the same ledger is a standby; one with another ledger is another installation.
        assert!(StateDirectory::open(&path, "127.0.0.1:1 spillway:").is_ok());
        let refused = StateDirectory::open(&path, "127.0.0.1:2 spillway:").expect_err("it is in use").to_string();
        assert!(refused.contains("127.0.0.1:1") && refused.contains("SPILLWAY_STATE_DIRECTORY"), "{refused}");
        fs::write(path.join(FILE), "two words\n").expect("written");
        let refused = directory.read().expect_err("no name").to_string();
        assert!(refused.contains("/installation: \"two words\""), "{refused}");
        drop(directory);
        assert!(StateDirectory::open(&path, "127.0.0.1:2 spillway:").is_ok(), "Redis moved, and nobody uses it");
        fs::remove_dir_all(&path).expect("removed");
    }
}
