//! What `--remove` takes out of a file, what it leaves, and how it rewrites.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// The report, with `FILE:LINE NAME` of each removed and the places that were not changed.
fn removed(machine: &Machine, places: &Places, allowed: &[&str], record: Option<&Path>) -> (String, Vec<String>) {
    let allowed: Vec<String> = allowed.iter().map(|it| (*it).to_owned()).collect();
    let Removed { removed, not_changed } = remove(places, &allowed, record).expect("everything can be rewritten");
    let short = |path: &Path| path.strip_prefix(machine.0.path()).unwrap_or(path).display().to_string();
    let found = removed.iter().map(|it| format!("{}:{} {}", short(&it.file), it.line.unwrap_or(0), it.name));
    (
        found.collect::<Vec<_>>().join(" "),
        not_changed.iter().map(|it| format!("{}: {}", short(&it.place), it.why)).collect(),
    )
}

/// What is left of such a `.env`.
fn left(text: &str) -> String {
    let machine = Machine::new(&[("app/.env", text)]);
    let (_, not_changed) = removed(&machine, &machine.places(), &[], None);
    assert_eq!(not_changed, Vec::<String>::new(), "{text:?}");
    assert_eq!(machine.found(&machine.places(), &[]), "", "{text:?}");
    machine.text("app/.env")
}

impl Machine {
    fn text(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.0.path().join(name)).expect("a file")).expect("text")
    }
}

#[test]
fn whole_assignments_are_removed_and_nothing_else() {
    for (text, expect) in [
        ("A=1\nAWS_SECRET_ACCESS_KEY=x\nB=2\n", "A=1\nB=2\n"),
        ("AWS_SECRET_ACCESS_KEY=x", ""),
        ("A=1\nexport AWS_SECRET_ACCESS_KEY='x' # of the primary\n", "A=1\n"),
        ("  AWS_SESSION_TOKEN: \"x\"  # c\n\n# c\nB=2", "\n# c\nB=2"),
        ("A=1\r\nAWS_SECRET_ACCESS_KEY=x\r\nB=2\r\n", "A=1\r\nB=2\r\n"),
        ("A=1\r\nAWS_SECRET_ACCESS_KEY=\"x\"\r\nB=2\r\n", "A=1\r\nB=2\r\n"),
        ("\u{feff}AWS_SECRET_ACCESS_KEY=x\nB=2", "\u{feff}B=2"),
        ("A='1\n2'\nAWS_SECRET_ACCESS_KEY=`x\ny\nz` # c\nB=\"\n\"\n", "A='1\n2'\nB=\"\n\"\n"),
        ("AWS_SECRET_ACCESS_KEY=x\nA=1\nAWS_SECRET_ACCESS_KEY=\n", "A=1\nAWS_SECRET_ACCESS_KEY=\n"),
        ("AWS_SECRET_ACCESS_KEY=x\nA=1\nAWS_SECRET_ACCESS_KEY=y\n", "A=1\n"),
        ("AWS_SECRET_ACCESS_KEY=a$B\nA=1", "A=1"),
        ("S3_ID=AKIAZZZZZZZZZZZZZZZ7\nREDIS_URL=redis://:p@h\n", "REDIS_URL=redis://:p@h\n"),
        (
            "SPILLWAY_GRPC_JOIN_TOKEN=x\nSPILLWAY_LEDGER_URL=redis://:x@h\nSPILLWAY_REDIS_URL=redis://h\n",
            "SPILLWAY_REDIS_URL=redis://h\n",
        ),
        (
            "AWS_REGION=us-east-1\nAWS_SECRET_ACCESS_KEY=<secret>\n",
            "AWS_REGION=us-east-1\nAWS_SECRET_ACCESS_KEY=<secret>\n",
        ),
    ] {
        assert_eq!(left(text), expect, "{text:?}");
    }
}

#[test]
fn every_environment_file_of_the_application_is_rewritten_and_no_other_file() {
    let secret = format!("AWS_SECRET_ACCESS_KEY={KEY}\n");
    let machine = Machine::new(&[
        ("app/.env", &format!("A=1\n{secret}")),
        ("app/apps/worker/.env.production", &secret),
        ("app/node_modules/x/.env", &secret),
        ("app/start.sh", &secret),
        ("app/.env.example", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"),
        ("home/.env", &secret),
        ("other/worker.env", &secret),
    ]);
    let mut places = machine.places();
    places.env_file = Some(machine.0.path().join("other/worker.env"));
    let (found, not_changed) = removed(&machine, &places, &[], None);
    let name = "AWS_SECRET_ACCESS_KEY";
    assert_eq!(found, format!("app/.env:2 {name} app/apps/worker/.env.production:1 {name} other/worker.env:1 {name}"));
    assert_eq!(not_changed, Vec::<String>::new());
    assert_eq!(machine.text("app/.env"), "A=1\n");
    // The check says what is left to do.
    assert_eq!(machine.found(&places, &[]), format!("app/start.sh:1 {name} home/.env:1 {name}"));
    assert_eq!(machine.text("app/node_modules/x/.env"), secret);
}

#[test]
fn what_is_allowed_stays_by_its_name_or_its_file() {
    let text = "AWS_ACCESS_KEY_ID=x\nAWS_SECRET_ACCESS_KEY=x\n";
    let machine = Machine::new(&[("app/.env", text), ("app/.env.test", text)]);
    let file = machine.0.path().join("app/.env.test").display().to_string();
    let (found, _) = removed(&machine, &machine.places(), &["AWS_ACCESS_KEY_ID", &file], None);
    assert_eq!(found, "app/.env:2 AWS_SECRET_ACCESS_KEY");
    assert_eq!(
        (machine.text("app/.env").as_str(), machine.text("app/.env.test").as_str()),
        ("AWS_ACCESS_KEY_ID=x\n", text)
    );
}

#[test]
fn a_file_keeps_its_number_mode_and_owner_and_nothing_is_left_behind_its_end() {
    let machine = Machine::new(&[("app/.env", &format!("AWS_SECRET_ACCESS_KEY={KEY}\nA=1\n"))]);
    let path = machine.0.path().join("app/.env");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).expect("a mode");
    if nix::unistd::Uid::effective().is_root() {
        std::os::unix::fs::chown(&path, Some(4711), Some(4712)).expect("an owner");
    }
    // Another name of the same file, which would keep the old text if the file were replaced.
    fs::hard_link(&path, machine.0.path().join("app/copy")).expect("a link");
    let of = |data: fs::Metadata| (data.ino(), data.mode(), data.uid(), data.gid());
    let before = of(path.metadata().expect("a file"));
    removed(&machine, &machine.places(), &[], None);
    assert_eq!(of(path.metadata().expect("a file")), before);
    assert_eq!((machine.text("app/.env").as_str(), machine.text("app/copy").as_str()), ("A=1\n", "A=1\n"));
    let nothing = machine.text("app/package.json");
    removed(&machine, &machine.places(), &[], None);
    assert_eq!((machine.text("app/.env").as_str(), machine.text("app/package.json")), ("A=1\n", nothing));
}

#[test]
fn a_link_within_the_application_is_followed_and_no_other() {
    let secret = "AWS_SECRET_ACCESS_KEY=x\n";
    let machine =
        Machine::new(&[("app/config/worker", secret), ("shared/env", secret), ("shared/.env.d/.env", secret)]);
    let path = |name: &str| machine.0.path().join(name);
    symlink("config/worker", path("app/.env")).expect("a link");
    symlink("../shared/env", path("app/.env.local")).expect("a link");
    symlink("../shared", path("app/shared")).expect("a link");
    symlink("nowhere", path("app/.env.test")).expect("a link");
    let (found, not_changed) = removed(&machine, &machine.places(), &[], None);
    assert_eq!(found, "app/.env:1 AWS_SECRET_ACCESS_KEY");
    let [only] = &not_changed[..] else { panic!("{not_changed:?}") };
    assert!(
        only.starts_with("app/.env.local: it is a link out of the application, to ") && only.ends_with("shared/env"),
        "{only}"
    );
    assert!(path("app/.env").is_symlink());
    assert_eq!(machine.text("app/config/worker"), "");
    assert_eq!((machine.text("shared/env").as_str(), machine.text("shared/.env.d/.env").as_str()), (secret, secret));
    // The configured file is one of its environment files wherever it is, but no link out of it either.
    let mut places = machine.places();
    places.env_file = Some(path("app/.env.local"));
    assert_eq!(removed(&machine, &places, &[], None).0, "");
    assert_eq!(machine.text("shared/env"), secret);
}

#[test]
fn the_values_are_recorded_for_a_search_before_anything_is_removed() {
    let long = "MIIEowIBAAKCAQEAzzzz";
    let text = format!(
        "AWS_SECRET_ACCESS_KEY=old\nAWS_ACCESS_KEY_ID={ID}\nAWS_SECRET_ACCESS_KEY=\"-- x --\n{long}\\n{long}2\n\"\n"
    );
    let machine = Machine::new(&[("app/.env", &text)]);
    let record = machine.0.path().join("removed");
    fs::write(&record, "mine").expect("a file");
    let refused = remove(&machine.places(), &[], Some(&record)).expect_err("it is there").to_string();
    assert!(refused.contains("cannot be made, so nothing was removed"), "{refused}");
    assert_eq!((machine.text("app/.env"), machine.text("removed")), (text, "mine".to_owned()));
    fs::remove_file(&record).expect("a file");
    removed(&machine, &machine.places(), &[], Some(&record));
    assert_eq!(machine.text("removed"), format!("old\n{ID}\n{long}\n{long}2\n"));
    assert_eq!(record.metadata().expect("a file").mode() & 0o777, 0o600);
    assert_eq!(machine.text("app/.env"), "");
}

#[test]
fn what_a_removal_would_not_be_the_end_of_is_left_and_named() {
    for (text, why) in [
        ("AWS_SECRET_ACCESS_KEY=${S}\nS=x\n", "line 1: AWS_SECRET_ACCESS_KEY is what S says: remove them by hand"),
        ("S=x\nAWS_SECRET_ACCESS_KEY=$S", "line 2: AWS_SECRET_ACCESS_KEY is what S says: remove them by hand"),
        (
            "A=\nAWS_SECRET_ACCESS_KEY=x\n\"y\"\n",
            "without them another variable would have another value: remove them by hand",
        ),
    ] {
        let machine = Machine::new(&[("app/.env", text)]);
        let (found, not_changed) = removed(&machine, &machine.places(), &[], None);
        assert_eq!((found.as_str(), not_changed), ("", vec![format!("app/.env: {why}")]), "{text:?}");
        assert_eq!(machine.text("app/.env"), text);
        assert!(machine.found(&machine.places(), &[]).contains("AWS_SECRET_ACCESS_KEY"), "the check still fails");
    }
}

proptest::proptest! {
    #[test]
    fn of_any_text_the_other_variables_stay(text in "(AWS_SECRET_KEY=|A=|B: |[x\"'`# \n\r$\\\\]|export ){0,24}") {
        let machine = Machine::new(&[("app/.env", &text)]);
        let (_, not_changed) = removed(&machine, &machine.places(), &[], None);
        let set = |text: &str| {
            let all = spillway_settings::dotenv::assignments(text.as_bytes()).into_iter();
            all.map(|it| (it.name, it.value)).filter(|(name, _)| !name.ends_with(b"AWS_SECRET_KEY")).collect::<Vec<_>>()
        };
        let after = machine.text("app/.env");
        proptest::prop_assert_eq!(set(&text), set(&after));
        if not_changed.is_empty() {
            let found = secrets::in_environment(after.as_bytes(), false);
            proptest::prop_assert!(found.is_empty(), "{after:?}");
        }
    }
}
