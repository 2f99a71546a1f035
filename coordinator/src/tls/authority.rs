//! The CA of this installation: made once, and never again while a file of it is there, since agents pin it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::files::{self, Stamp};
use super::own::{self, Validity};
use super::{CA_FILE, CA_KEY_FILE, Names, TlsProblem, provider};

const LASTS: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Clocks differ: what is issued is valid since an hour ago.
const BEFORE: Duration = Duration::from_secs(3600);

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// A CA that can issue.
#[derive(Debug)]
pub struct Authority {
    /// As it is in its file: what agents pin.
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    pub(super) validity: Validity,
    pub(super) stamps: [Stamp; 2],
}

/// Issued to this coordinator.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) key: CertifiedKey,
    pub(super) validity: Validity,
}

impl Authority {
    /// Reads the CA of this directory, or makes one where there is none.
    ///
    /// # Errors
    /// A file of it is missing, damaged or unreadable, or they do not belong together: a new one would be no agent's.
    pub fn open(directory: &Path, now: SystemTime) -> Result<Self, TlsProblem> {
        if [CA_FILE, CA_KEY_FILE].iter().all(|file| is_absent(&directory.join(file))) {
            let unwritable = |source| TlsProblem::Unwritable { directory: directory.to_owned(), source };
            make(directory, now)?.map_err(unwritable)?;
        }
        Self::read(directory)
    }

    pub(super) fn read(directory: &Path) -> Result<Self, TlsProblem> {
        let (file, key_file) = (directory.join(CA_FILE), directory.join(CA_KEY_FILE));
        // Before they are read: what is written meanwhile is read again.
        let stamps = stamps(directory);
        let pem = read(&file)?;
        let key =
            KeyPair::from_pem(&read(&key_file)?).map_err(|_| damaged(&key_file, "it is no private key in PEM"))?;
        if files::is_open_to_others(&key_file) {
            tracing::warn!(file = %key_file.display(), "others may read the key of the CA: chmod 0600");
        }
        let certificate = own::certificates(&pem).map_err(|what| damaged(&file, what))?.remove(0);
        let details = own::Details::of(&certificate).map_err(|error| damaged(&file, &error))?;
        if !details.is_authority {
            return Err(damaged(&file, "its first certificate is not a CA's"));
        }
        if details.public_key != key.subject_public_key_info() {
            return Err(damaged(&key_file, &format!("it is not the key of {CA_FILE} beside it")));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| damaged(&file, &error.to_string()))?;
        Ok(Self { pem, issuer, validity: details.validity, stamps })
    }

    /// What agents pin, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate with a new key, which ends after `lasts`, or with the CA.
    pub(super) fn issue(&self, names: &Names, lasts: Duration, now: SystemTime) -> Result<Issued, TlsProblem> {
        let library = |error: rcgen::Error| TlsProblem::Library(error.to_string());
        let validity = Validity {
            from: now.checked_sub(BEFORE).unwrap_or(now),
            until: now.checked_add(lasts).unwrap_or(now).min(self.validity.until),
        };
        let mut params = params("spillway coordinator", validity);
        let hosts = names.hosts.iter().filter_map(|host| Ia5String::try_from(host.as_str()).ok()).map(SanType::DnsName);
        params.subject_alt_names = hosts.chain(names.addresses.iter().copied().map(SanType::IpAddress)).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(library)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(library)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider())
            .map_err(|error| TlsProblem::Library(error.to_string()))?;
        // As it is written there, in whole seconds.
        let details = own::Details::of(certificate.der()).map_err(TlsProblem::Library)?;
        Ok(Issued { key, validity: details.validity })
    }
}

pub(super) fn stamps(directory: &Path) -> [Stamp; 2] {
    [CA_FILE, CA_KEY_FILE].map(|file| files::stamp(&directory.join(file)))
}

/// Makes a CA in a directory of its own, which then takes the place: whoever starts at the same time finds all of it or
/// nothing.
fn make(directory: &Path, now: SystemTime) -> Result<io::Result<()>, TlsProblem> {
    let library = |error: rcgen::Error| TlsProblem::Library(error.to_string());
    let number = uuid::Uuid::new_v4().simple().to_string();
    let until = now.checked_add(LASTS).unwrap_or(now);
    let from = now.checked_sub(BEFORE).unwrap_or(now);
    // Two of them in one bundle can be told apart.
    let mut params = params(&format!("Spillway CA {}", &number[..8]), Validity { from, until });
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(library)?;
    let pem = params.self_signed(&key).map_err(library)?.pem();
    Ok(keep(directory, &number, &pem, &key.serialize_pem()))
}

fn keep(directory: &Path, number: &str, pem: &str, key: &str) -> io::Result<()> {
    let state = directory.parent().unwrap_or(directory);
    fs::create_dir_all(state)?;
    let beside = state.join(format!(".tls-{number}"));
    let kept = files::make_directory(&beside)
        .and_then(|()| files::write(&beside.join(CA_KEY_FILE), key, PRIVATE))
        .and_then(|()| files::write(&beside.join(CA_FILE), pem, PUBLIC))
        .and_then(|()| fs::rename(&beside, directory))
        .and_then(|()| files::sync_directory(Some(state)));
    if kept.is_err() {
        let _ = fs::remove_dir_all(&beside);
        // Another coordinator of this state directory was faster.
        if !is_absent(&directory.join(CA_FILE)) {
            return Ok(());
        }
    }
    kept
}

fn params(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (validity.from.into(), validity.until.into());
    params
}

fn is_absent(file: &Path) -> bool {
    fs::symlink_metadata(file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn read(file: &Path) -> Result<String, TlsProblem> {
    fs::read_to_string(file).map_err(|error| damaged(file, &error.to_string()))
}

fn damaged(file: &Path, what: &str) -> TlsProblem {
    let detail = format!(
        "{what}. Agents trust this CA and no other, so no new one is made: put {CA_FILE} and {CA_KEY_FILE} back from a \
         copy or from another coordinator of this installation. Where no image pins it yet, delete both, and a new one \
         is made at the next start"
    );
    TlsProblem::File { file: PathBuf::from(file), detail }
}
