use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};

use super::own::certificates;
use super::*;
use crate::clock;
use crate::config::OwnCertificate;

const DAY: Duration = Duration::from_secs(86_400);

fn place() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn names(hosts: &[&str]) -> Names {
    let hosts: BTreeSet<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    Names { hosts, addresses: BTreeSet::from(["10.0.0.5".parse().expect("an address")]) }
}

/// Of the CA in this directory, below the state directory `place`.
fn keeper(place: &Path, lifetime: Lifetime) -> Keeper {
    Keeper::of_authority(&place.join(DIRECTORY), None, Box::new(|| names(&["primary"])), lifetime).expect("a keeper")
}

/// As an agent with this CA checks what is served.
fn check(pem: &str, served: &CertifiedKeyOf, host: &str, at: SystemTime) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).expect("certificates") {
        roots.add(certificate).expect("a CA");
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().expect("a verifier");
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970"));
    let host = ServerName::try_from(host.to_owned()).expect("a name");
    verifier.verify_server_cert(&served[0], &served[1..], &host, &[], at).map(|_| ())
}

type CertifiedKeyOf = Vec<CertificateDer<'static>>;

fn served(keeper: &Keeper) -> CertifiedKeyOf {
    keeper.served().current().cert.clone()
}

fn pem_of(place: &Path) -> String {
    fs::read_to_string(place.join(DIRECTORY).join(CA_FILE)).expect("a CA")
}

#[test]
fn a_ca_is_made_once_and_issues_for_each_name() {
    let place = place();
    let first = keeper(place.path(), Lifetime::default());
    let (now, pem) = (clock::system_now(), pem_of(place.path()));
    for host in ["primary", "10.0.0.5"] {
        assert_eq!(check(&pem, &served(&first), host, now), Ok(()), "{host}");
    }
    let other = check(&pem, &served(&first), "10.0.0.6", now);
    assert!(
        matches!(other, Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))),
        "{other:?}"
    );
    let tls = place.path().join(DIRECTORY);
    let mode = |file: &str| fs::metadata(tls.join(file)).expect("it is there").mode() & 0o777;
    assert_eq!((mode(CA_FILE), mode(CA_KEY_FILE), mode(".")), (0o644, 0o600, 0o755));
    let left: Vec<_> = fs::read_dir(place.path()).expect("a directory").flatten().map(|it| it.file_name()).collect();
    assert_eq!(left, [DIRECTORY], "nothing is left beside it");

    let second = keeper(place.path(), Lifetime::default());
    assert_eq!(pem_of(place.path()), pem, "the CA is the same");
    assert_ne!(served(&first), served(&second), "each start has a certificate and a key of its own");
    assert_eq!(check(&pem, &served(&second), "primary", now), Ok(()));
}

#[test]
fn another_ca_is_not_trusted_and_a_bundle_of_both_trusts_either() {
    let (one, two) = (place(), place());
    let (first, second) = (keeper(one.path(), Lifetime::default()), keeper(two.path(), Lifetime::default()));
    let now = clock::system_now();
    let bundle = pem_of(one.path()) + &pem_of(two.path());
    for keeper in [&first, &second] {
        assert_eq!(check(&bundle, &served(keeper), "primary", now), Ok(()));
    }
    let unknown = Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
    assert_eq!(check(&pem_of(two.path()), &served(&first), "primary", now), unknown);
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_when_the_clock_is_set() {
    let place = place();
    let mut keeper = keeper(place.path(), Lifetime::default());
    let (now, pem) = (clock::system_now(), pem_of(place.path()));
    let mut before = served(&keeper);
    for (day, is_renewed) in [(0, false), (59, false), (61, true), (62, false), (120, false), (122, true)] {
        let at = now + DAY * day;
        keeper.look(at);
        assert_eq!(served(&keeper) != before, is_renewed, "on day {day}");
        assert_eq!(check(&pem, &served(&keeper), "primary", at), Ok(()), "on day {day}");
        before = served(&keeper);
    }
    for at in [now - DAY * 400, now, now + DAY * 3000] {
        keeper.look(at);
        assert_eq!(check(&pem, &served(&keeper), "primary", at), Ok(()), "the clock was set");
    }
}

#[test]
fn what_is_issued_never_outlives_the_ca() {
    let place = place();
    let mut keeper = keeper(place.path(), Lifetime::default());
    let near_its_end = clock::system_now() + DAY * (365 * 10 - 40);
    keeper.look(near_its_end);
    let last = served(&keeper);
    assert_eq!(check(&pem_of(place.path()), &last, "primary", near_its_end), Ok(()));
    for day in 11..60 {
        keeper.look(near_its_end + DAY * day);
    }
    assert_eq!(served(&keeper), last, "a new one would not be valid for longer");
}

#[test]
fn a_changed_name_or_ca_is_served_without_a_restart() {
    let place = place();
    let other_name = Arc::new(std::sync::Mutex::new(names(&["primary"])));
    let naming = Arc::clone(&other_name);
    let naming = Box::new(move || naming.lock().expect("a lock").clone());
    let tls = place.path().join(DIRECTORY);
    let published = place.path().join("run");
    fs::create_dir(&published).expect("a directory");
    let keeper = Keeper::of_authority(&tls, Some(published.clone()), naming, Lifetime::default());
    let mut keeper = keeper.expect("a keeper");
    let now = clock::system_now();
    *other_name.lock().expect("a lock") = names(&["primary", "nat.example"]);
    keeper.look(now);
    assert_eq!(check(&pem_of(place.path()), &served(&keeper), "nat.example", now), Ok(()));
    let open = published.join(CA_FILE);
    assert_eq!(fs::read_to_string(&open).expect("published"), pem_of(place.path()));
    assert_eq!(fs::metadata(&open).expect("published").permissions().mode() & 0o777, 0o644);

    // The next CA takes the place of this one, the key first: until both are there, nothing changes.
    let next = self::place();
    drop(self::keeper(next.path(), Lifetime::default()));
    let before = served(&keeper);
    fs::copy(next.path().join(DIRECTORY).join(CA_KEY_FILE), tls.join(CA_KEY_FILE)).expect("copied");
    keeper.look(now);
    assert_eq!(served(&keeper), before);
    fs::copy(next.path().join(DIRECTORY).join(CA_FILE), tls.join(CA_FILE)).expect("copied");
    keeper.look(now);
    assert_eq!(check(&pem_of(next.path()), &served(&keeper), "primary", now), Ok(()));
    assert_eq!(fs::read_to_string(&open).expect("published"), pem_of(next.path()));
}

#[test]
fn a_damaged_ca_is_an_error_and_never_a_new_one() {
    let whole = place();
    drop(keeper(whole.path(), Lifetime::default()));
    let other = place();
    drop(keeper(other.path(), Lifetime::default()));
    let read = |place: &Path, file: &str| fs::read_to_string(place.join(DIRECTORY).join(file)).expect("a file");
    let (pem, key) = (read(whole.path(), CA_FILE), read(whole.path(), CA_KEY_FILE));
    let foreign = read(other.path(), CA_KEY_FILE);
    for (pem, key, says) in [
        (None, Some(&*key), "ca.pem: No such file"),
        (Some(&*pem), None, "ca.key: No such file"),
        (Some(""), Some(&*key), "ca.pem: it has no certificate in PEM. Agents trust this CA"),
        (Some(&pem[..pem.len() / 2]), Some(&*key), "ca.pem: it is damaged, and no whole PEM. Agents trust"),
        (Some(&*pem), Some(""), "ca.key: it is no private key in PEM"),
        (Some(&*pem), Some(&key[..key.len() / 2]), "ca.key: it is no private key in PEM"),
        (Some(&*pem), Some(&*foreign), "ca.key: it is not the key of ca.pem beside it"),
    ] {
        let place = place();
        let tls = place.path().join(DIRECTORY);
        fs::create_dir(&tls).expect("a directory");
        for (file, text) in [(CA_FILE, pem), (CA_KEY_FILE, key)] {
            text.into_iter().for_each(|text| fs::write(tls.join(file), text).expect("written"));
        }
        let error = Authority::open(&tls, clock::system_now()).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
        let now = |file: &str| fs::read_to_string(tls.join(file)).ok();
        assert_eq!((now(CA_FILE).as_deref(), now(CA_KEY_FILE).as_deref()), (pem, key), "nothing is overwritten");
    }
}

#[test]
fn coordinators_that_start_at_the_same_time_have_one_ca() {
    let place = place();
    let tls = place.path().join(DIRECTORY);
    let open = || Authority::open(&tls, clock::system_now()).expect("a CA").pem().to_owned();
    let all: BTreeSet<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(all.len(), 1);
}

#[test]
fn an_own_certificate_is_read_again_when_it_changes_and_kept_while_it_is_half_changed() {
    let (one, two) = (place(), place());
    let files = |place: &Path| {
        let tls = place.join(DIRECTORY);
        OwnCertificate { certificate_file: tls.join(CA_FILE), key_file: tls.join(CA_KEY_FILE) }
    };
    for place in [&one, &two] {
        drop(keeper(place.path(), Lifetime::default()));
    }
    let (own, next) = (files(one.path()), files(two.path()));
    let mut keeper = Keeper::of_own(&own, Lifetime::default()).expect("a keeper");
    let (first, now) = (served(&keeper), clock::system_now());
    fs::copy(&next.certificate_file, &own.certificate_file).expect("copied");
    keeper.look(now);
    assert_eq!(served(&keeper), first, "its key is not there yet");
    fs::copy(&next.key_file, &own.key_file).expect("copied");
    keeper.look(now);
    assert_ne!(served(&keeper), first);
    let (file, both) = (one.path().join("both.pem"), [&own.certificate_file, &own.key_file]);
    fs::write(&file, both.map(|file| fs::read_to_string(file).expect("a file")).concat()).expect("written");
    let one_file = OwnCertificate { certificate_file: file.clone(), key_file: file };
    assert!(Keeper::of_own(&one_file, Lifetime::default()).is_ok());
    let wrong = OwnCertificate { key_file: own.certificate_file.clone(), ..own };
    let error = Keeper::of_own(&wrong, Lifetime::default()).expect_err("no key").to_string();
    assert!(error.contains("has no private key in PEM: name the certificate's key in grpc.tls.key_file"), "{error}");
}
