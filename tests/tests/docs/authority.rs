//! The CA on its way from the coordinator to the instances, by the commands that the pages show.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use spillway_coordinator::clock;
use spillway_coordinator::tls::{Authority, CA_FILE, CA_KEY_FILE};
use spillway_tests::binaries::workspace;
use spillway_tests::process::{command, output, run, text};
use spillway_tests::programs;
use tempfile::TempDir;

use super::pages;
use super::shell::lines;

/// A CA as a coordinator makes it, in `tls` of a scratch directory.
fn authority() -> TempDir {
    let scratch = tempfile::tempdir().expect("a directory");
    Authority::open(&scratch.path().join("tls"), clock::system_now()).expect("a CA");
    scratch
}

#[test]
fn the_next_ca_of_the_runbook_is_one_and_the_bundle_has_both() {
    programs::program("openssl");
    let scratch = authority();
    let current = scratch.path().join("tls").join(CA_FILE);
    let mut count = 0;
    for block in pages::page("coordinator/deploy/operations.md").blocks() {
        for line in lines(&block).iter().filter(|line| ["openssl ", "cat "].iter().any(|it| line.text.starts_with(it)))
        {
            let shown = line.text.replace("/run/spillway/ca.pem", &current.display().to_string());
            run(command("bash").args(["-euc", &shown]).current_dir(scratch.path()));
            count += 1;
        }
    }
    assert_eq!(count, 3);
    let read = |name: &str| fs::read_to_string(scratch.path().join(name)).expect(name);
    assert_eq!(read("ca.pem"), read("tls/ca.pem") + &read("next.pem"));
    let next = scratch.path().join("next");
    fs::create_dir(&next).expect("a directory");
    fs::copy(scratch.path().join("next.pem"), next.join(CA_FILE)).expect("copied");
    fs::copy(scratch.path().join("next.key"), next.join(CA_KEY_FILE)).expect("copied");
    let authority = Authority::open(&next, clock::system_now()).expect("a coordinator can issue with it");
    assert_eq!(authority.pem(), read("next.pem"));
}

/// `ami/user-data.sh` but for its paths, with the line of the CA as the page replaces it, or as it stands; on a machine
/// whose image has this as its CA.
fn user_data(scratch: &Path, has_ca: bool, of_image: Option<&str>) -> (Option<i32>, String) {
    let script = if has_ca {
        let page = pages::page("ami/README.md");
        let block = page.blocks().into_iter().find(|block| block.text.contains("REPLACE_CA")).expect("the command");
        let shown = lines(&block).into_iter().find(|line| line.text.contains("REPLACE_CA")).expect("the command");
        std::os::unix::fs::symlink(workspace().join("ami"), scratch.join("ami")).expect("a link");
        run(command("bash").args(["-euc", &shown.text]).current_dir(scratch));
        fs::read_to_string(scratch.join("user-data.sh")).expect("it is made")
    } else {
        fs::read_to_string(workspace().join("ami/user-data.sh")).expect("the script")
    };
    let (etc, bin) = (scratch.join("etc"), scratch.join("bin"));
    for directory in [&etc, &bin] {
        fs::create_dir(directory).expect("a directory");
    }
    if let Some(ca) = of_image {
        fs::write(etc.join("ca.pem"), ca).expect("a file");
    }
    for file in [etc.join("agent.toml"), etc.join("join-token"), bin.join("spillway-agent"), bin.join("systemctl")] {
        fs::write(&file, "#!/bin/sh\n").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let script = script.replace("/etc/spillway", &etc.display().to_string());
    let script = script.replace("/usr/local/bin", &bin.display().to_string());
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let out = output(command("bash").args(["-c", &script]).env("PATH", path));
    (out.status.code(), text(&out.stdout))
}

#[test]
fn user_data_writes_the_ca_or_takes_the_images_and_starts_no_agent_without_one() {
    let scratch = authority();
    fs::copy(scratch.path().join("tls").join(CA_FILE), scratch.path().join("ca.pem")).expect("copied");
    let (code, said) = user_data(scratch.path(), true, Some("-----BEGIN CERTIFICATE-----\nof long ago\n"));
    assert!(code == Some(0) && said.contains("started the agent, which reports to https://10.0.0.5:7443"), "{said}");
    let written = fs::read_to_string(scratch.path().join("etc/ca.pem")).expect("the CA");
    let ca = fs::read_to_string(scratch.path().join("ca.pem")).expect("the CA");
    assert_eq!(written.trim(), ca.trim());
    let mode = fs::metadata(scratch.path().join("etc/ca.pem")).expect("the CA").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    // Neither it nor the image has one.
    for of_image in [None, Some(""), Some("-----BEGIN EC PRIVATE KEY-----\n")] {
        let scratch = tempfile::tempdir().expect("a directory");
        let (code, said) = user_data(scratch.path(), false, of_image);
        assert!(code == Some(1) && said.contains("the coordinator's CA is missing: put its ca.pem"), "{said}");
        assert!(!scratch.path().join("etc/agent.env").exists());
    }

    let scratch = tempfile::tempdir().expect("a directory");
    let (code, said) = user_data(scratch.path(), false, Some(&ca));
    assert!(code == Some(0) && said.contains("started the agent"), "{said}");
    assert_eq!(fs::read_to_string(scratch.path().join("etc/ca.pem")).expect("the CA"), ca, "the image's");
}
