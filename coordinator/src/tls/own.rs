//! A certificate that is not ours: the operator's own, read from its files, and what is read of any certificate.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::authority::Issued;
use super::files::{self, Stamp};
use super::{TlsProblem, provider};
use crate::config::OwnCertificate;

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
}

impl Validity {
    /// How long it still is; None where it is not valid now.
    pub(super) fn left(self, now: SystemTime) -> Option<Duration> {
        self.until.duration_since(now).ok().filter(|_| self.from <= now)
    }
}

/// What a certificate says.
#[derive(Debug)]
pub(super) struct Details {
    pub(super) validity: Validity,
    pub(super) is_authority: bool,
    pub(super) public_key: Vec<u8>,
}

impl Details {
    /// # Errors
    /// It is no certificate; says why.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| format!("no certificate: {error}"))?;
        let at = |time: x509_parser::time::ASN1Time| SystemTime::from(time.to_datetime());
        let validity = Validity { from: at(parsed.validity().not_before), until: at(parsed.validity().not_after) };
        Ok(Self { validity, is_authority: parsed.is_ca(), public_key: parsed.public_key().raw.to_vec() })
    }
}

/// All certificates of a text, the first one first.
///
/// # Errors
/// There is none, or one is damaged; says which.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err("it has no certificate in PEM"),
        Ok(all) => Ok(all),
        Err(_) => Err("it is damaged, and no whole PEM"),
    }
}

pub(super) fn stamps(own: &OwnCertificate) -> [Stamp; 2] {
    [files::stamp(&own.certificate_file), files::stamp(&own.key_file)]
}

/// Reads both files.
///
/// # Errors
/// One cannot be read, or they do not belong together.
pub(super) fn read(own: &OwnCertificate) -> Result<Issued, TlsProblem> {
    let read = |file: &Path, key: &str| {
        std::fs::read_to_string(file).map_err(|error| TlsProblem::File {
            file: file.to_owned(),
            detail: format!("cannot be read ({error}): name a file in {key} that this user may read"),
        })
    };
    let problem = |file: &Path, detail: String| TlsProblem::File { file: file.to_owned(), detail };
    let chain = certificates(&read(&own.certificate_file, "grpc.tls.certificate_file")?).map_err(|what| {
        problem(&own.certificate_file, format!("{what}: write your certificate there, and those above it below"))
    })?;
    let details = Details::of(&chain[0]).map_err(|detail| problem(&own.certificate_file, detail))?;
    let key = read(&own.key_file, "grpc.tls.key_file")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
        problem(&own.key_file, "has no private key in PEM: name the certificate's key in grpc.tls.key_file".to_owned())
    })?;
    let key = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        let files = own.certificate_file.display();
        problem(&own.key_file, format!("is not the key of the first certificate in {files} ({error})"))
    })?;
    Ok(Issued { key, validity: details.validity })
}
