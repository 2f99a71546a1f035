use std::collections::BTreeMap;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

/// A CA, and the file that its certificate is written to.
pub(crate) fn authority(place: &Path, name: &str) -> (PathBuf, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate");
    let file = place.join(name);
    std::fs::write(&file, certificate.pem()).expect("written");
    (file, Issuer::new(params, key))
}

fn load(variables: &[(&str, &str)]) -> Result<Address, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let source = Source::parse("agent.toml".to_owned(), "", variables.collect::<BTreeMap<_, _>>()).expect("no file");
    Address::load(&source).map_err(|error| error.to_string())
}

#[test]
fn plaintext_is_for_loopback_alone() {
    for host in ["127.0.0.1", "localhost", "[::1]", "127.1.2.3", "[::ffff:127.0.0.1]"] {
        let address = load(&[("SPILLWAY_COORDINATOR", &format!("http://{host}:7443"))]).expect(host);
        assert_eq!(address.authority, None, "{host}");
    }
    for host in ["10.0.0.5", "primary", "localhost.example", "[fd00::5]", "0.0.0.0", "127.0.0.1.example"] {
        let error = load(&[("SPILLWAY_COORDINATOR", &format!("http://{host}:7443"))]).expect_err(host);
        assert!(
            error.contains("coordinator is in plaintext, which is for loopback alone: write https://HOST"),
            "{error}"
        );
    }
}

#[test]
fn tls_needs_a_ca_and_no_other_is_trusted() {
    let place = tempfile::tempdir().expect("a directory");
    let (file, _) = authority(place.path(), "ca.pem");
    let with = |file: &Path| {
        load(&[("SPILLWAY_COORDINATOR", "https://10.0.0.5:7443"), ("SPILLWAY_CA_FILE", &file.display().to_string())])
    };
    let address = with(&file).expect("an address");
    assert_eq!(address.to_string(), "https://10.0.0.5:7443");
    assert!(address.endpoint().is_ok());
    for (name, content, says) in [
        ("none", None, "none cannot be read"),
        ("empty", Some(String::new()), "empty has no certificate in PEM"),
        ("half", Some(std::fs::read_to_string(&file).expect("a CA")[..200].to_owned()), "half has"),
        ("words", Some("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n".to_owned()), "is damaged"),
    ] {
        let other = place.path().join(name);
        content.into_iter().for_each(|content| std::fs::write(&other, content).expect("written"));
        let error = with(&other).expect_err(name);
        assert!(error.contains("ca_file") && error.contains(says), "{error}");
        assert!(error.contains("copy the ca.pem of the coordinator there"), "{error}");
    }
    let error = load(&[("SPILLWAY_COORDINATOR", "https://10.0.0.5:7443")]).expect_err("no such file here");
    assert!(error.contains("ca_file /etc/spillway/ca.pem cannot be read"), "{error}");
}

#[test]
fn the_leader_is_spoken_to_as_its_standby_is() {
    let place = tempfile::tempdir().expect("a directory");
    let file = authority(place.path(), "ca.pem").0.display().to_string();
    let secure = load(&[("SPILLWAY_COORDINATOR", "https://10.0.0.5:7443"), ("SPILLWAY_CA_FILE", &file)]).expect("one");
    let leader = secure.of_leader("10.0.0.6:7443").expect("an address");
    assert_eq!(leader.to_string(), "https://10.0.0.6:7443");
    assert_eq!(leader.authority, secure.authority);
    let plain = load(&[("SPILLWAY_COORDINATOR", "http://127.0.0.1:7443")]).expect("one");
    assert_eq!(plain.of_leader("127.0.0.1:7444").expect("an address").to_string(), "http://127.0.0.1:7444");
    // A standby, or whoever answers as one, talks no agent into plaintext over the network.
    assert_eq!(plain.of_leader("10.0.0.6:7443"), None);
    assert_eq!(secure.of_leader("a b"), None);
    assert_eq!(secure.of_leader(""), None);
}
