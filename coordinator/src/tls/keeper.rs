//! What is served, and its renewal: long before it ends, when the machine's addresses change, when its files do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::authority::{self, Authority, Issued};
use super::files::{self, Stamp};
use super::own::{self, Validity};
use super::{CA_FILE, Names, TlsProblem};
use crate::clock;
use crate::config::OwnCertificate;

const DAY: Duration = Duration::from_secs(86_400);
/// What no renewal helps is said so long before it ends, and once in a day.
const AUTHORITY_ENDS: Duration = Duration::from_secs(365 * 86_400);
const OWN_ENDS: Duration = Duration::from_secs(14 * 86_400);

/// How long what is issued is valid, and when it is renewed.
#[derive(Clone, Copy, Debug)]
pub struct Lifetime {
    pub lasts: Duration,
    pub renewed_before: Duration,
    /// Files, addresses and the clock are looked at so often.
    pub every: Duration,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self { lasts: 90 * DAY, renewed_before: 30 * DAY, every: Duration::from_secs(15) }
    }
}

/// What new connections are served; exchanged as a whole.
#[derive(Debug)]
pub struct Served(RwLock<Arc<CertifiedKey>>);

impl Served {
    fn exchange(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }

    pub(super) fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Served {
    /// The same for every name: a client checks it, and one that connects by an address asks for none.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// Tells the names of this coordinator.
type Naming = Box<dyn Fn() -> Names + Send>;

enum Source {
    Own(OwnCertificate),
    Authority {
        directory: PathBuf,
        published: Option<PathBuf>,
        authority: Box<Authority>,
        naming: Naming,
        names: Names,
    },
}

/// Renews what is served.
pub struct Keeper {
    source: Source,
    served: Arc<Served>,
    validity: Validity,
    /// Of the files as they were read last, or tried.
    stamps: [Stamp; 2],
    lifetime: Lifetime,
    /// When it was said that something ends.
    said: Option<SystemTime>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("validity", &self.validity).finish_non_exhaustive()
    }
}

impl Keeper {
    /// # Errors
    /// The files cannot be read, or do not belong together.
    pub fn of_own(own: &OwnCertificate, lifetime: Lifetime) -> Result<Self, TlsProblem> {
        let stamps = own::stamps(own);
        let issued = own::read(own)?;
        Ok(Self::new(Source::Own(own.clone()), issued, stamps, lifetime))
    }

    /// Issues from the CA of this directory, and makes one where there is none. The CA's certificate is copied into
    /// `published`, a directory that everybody may enter.
    ///
    /// # Errors
    /// The CA cannot be read or made.
    pub fn of_authority(
        directory: &Path,
        published: Option<PathBuf>,
        naming: Naming,
        lifetime: Lifetime,
    ) -> Result<Self, TlsProblem> {
        let now = clock::system_now();
        let authority = Box::new(Authority::open(directory, now)?);
        let names = naming();
        let issued = authority.issue(&names, lifetime.lasts, now)?;
        let stamps = authority.stamps;
        tracing::info!(file = %directory.join(CA_FILE).display(), "TLS: agents need this CA as their ca_file");
        let source = Source::Authority { directory: directory.to_owned(), published, authority, naming, names };
        let keeper = Self::new(source, issued, stamps, lifetime);
        keeper.publish();
        Ok(keeper)
    }

    fn new(source: Source, issued: Issued, stamps: [Stamp; 2], lifetime: Lifetime) -> Self {
        let served = Arc::new(Served(RwLock::new(Arc::new(issued.key))));
        Self { source, served, validity: issued.validity, stamps, lifetime, said: None }
    }

    pub(super) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served)
    }

    /// Renews for as long as it is polled.
    pub async fn run(mut self) {
        let mut interval = tokio::time::interval(self.lifetime.every);
        loop {
            interval.tick().await;
            self.look(clock::system_now());
        }
    }

    /// Renews what is due. What cannot be renewed stays as it is.
    pub(crate) fn look(&mut self, now: SystemTime) {
        match self.renewed(now) {
            Ok(Some(issued)) => {
                self.validity = issued.validity;
                self.served.exchange(issued.key);
                self.publish();
                tracing::info!("TLS: new connections get a new certificate");
            }
            Ok(None) => {}
            Err(problem) => tracing::error!(%problem, "TLS: the certificate stays as it is"),
        }
        self.say_what_ends(now);
    }

    /// What is served from now on; None: what is served now.
    fn renewed(&mut self, now: SystemTime) -> Result<Option<Issued>, TlsProblem> {
        let Lifetime { lasts, renewed_before, .. } = self.lifetime;
        match &mut self.source {
            Source::Own(own) => {
                let stamps = own::stamps(own);
                if std::mem::replace(&mut self.stamps, stamps) == stamps {
                    return Ok(None);
                }
                own::read(own).map(Some)
            }
            Source::Authority { directory, authority, naming, names, .. } => {
                let stamps = authority::stamps(directory);
                let is_other = std::mem::replace(&mut self.stamps, stamps) != stamps;
                if is_other {
                    **authority = Authority::read(directory)?;
                }
                let named = naming();
                // A clock that was set back shows one that is not valid yet.
                let is_due = self.validity.left(now).is_none_or(|left| left <= renewed_before);
                // It never outlives its CA, which is not renewed here.
                let helps = authority.validity.until.duration_since(now).is_ok_and(|left| left > renewed_before);
                if !(is_other || named != *names || is_due && helps) {
                    return Ok(None);
                }
                *names = named;
                authority.issue(names, lasts, now).map(Some)
            }
        }
    }

    fn say_what_ends(&mut self, now: SystemTime) {
        let authority = match &self.source {
            Source::Own(_) => None,
            Source::Authority { authority, .. } => Some(("ca", authority.validity)),
        };
        for (of, validity) in authority.into_iter().chain([("server", self.validity)]) {
            let until = validity.until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            metrics::gauge!("spillway_certificate_expiry_timestamp_seconds", "of" => of).set(until.as_secs_f64());
        }
        let (validity, soon, what) = match &self.source {
            Source::Own(own) => (self.validity, OWN_ENDS, own.certificate_file.display().to_string()),
            Source::Authority { authority, directory, .. } => {
                (authority.validity, AUTHORITY_ENDS, directory.join(CA_FILE).display().to_string())
            }
        };
        let is_said = self.said.is_some_and(|said| now.duration_since(said).is_ok_and(|since| since < DAY));
        match validity.left(now) {
            Some(left) if left > soon || is_said => {}
            Some(left) => {
                self.said = Some(now);
                let days = left.as_secs() / DAY.as_secs();
                tracing::warn!(file = what, days, "TLS: this certificate ends: agents refuse it from then on");
            }
            None if is_said => {}
            None => {
                self.said = Some(now);
                tracing::error!(
                    file = what,
                    "TLS: this certificate is not valid at this time: agents refuse it. Is the clock right?"
                );
            }
        }
    }

    /// The state directory is the coordinator's alone: others find the CA's certificate here.
    fn publish(&self) {
        let Source::Authority { published: Some(published), authority, .. } = &self.source else { return };
        let file = published.join(CA_FILE);
        if let Err(error) = files::write(&file, authority.pem(), 0o644) {
            tracing::warn!(file = %file.display(), problem = %error, "cannot write the CA's certificate for others to read");
        }
    }
}
