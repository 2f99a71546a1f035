//! `spillway init` on a primary: an application in a git repository, its environment file, PM2's saved list, the real
//! Redis with its queues, and the metadata of an emulated instance.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use spillway_tests::coordinator::{Environment, spillway};
use spillway_tests::process::{command, output, text};
use spillway_tests::stage::{Setup, Stage};
use spillway_tests::{QUEUE, binaries, jobs};

const PASSWORD: &str = "planted-redis-password";
/// What a file that somebody has edited says.
const EDITED: &str = "coordinator = \"https://10.0.0.9:7443\"\n";

/// What a primary's own environment has.
fn environment(home: &Path, metadata: Option<u16>) -> Environment {
    let metadata = metadata.map_or_else(|| "http://127.0.0.1:1".to_owned(), |port| format!("http://127.0.0.1:{port}"));
    let pm2 = home.join(".pm2").display().to_string();
    BTreeMap::from([
        ("PM2_HOME".to_owned(), pm2),
        ("SUDO_USER".to_owned(), "daemon".to_owned()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), metadata),
    ])
}

fn init(environment: &Environment, output_in: &Path, more: &[&str]) -> Output {
    let mut init = spillway(environment);
    output(init.args(["init", "--yes", "--output"]).arg(output_in).args(more).current_dir("/"))
}

fn found(out: &Output) -> (BTreeMap<String, String>, Vec<String>, Vec<String>) {
    let said: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"));
    let all = |name: &str| said[name].as_array().expect("a list").clone();
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    let found = all("found").iter().map(|it| (word(&it["what"]), word(&it["value"]))).collect();
    (found, all("notes").iter().map(word).collect(), all("files").iter().map(|it| word(&it["state"])).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_is_found_out_and_its_settings_are_written_once() {
    let user_data = Some("#!/bin/sh\nexec sleep 100000\n");
    let mut stage = Stage::without_coordinator(Setup { user_data, ..Setup::default() }).await;
    stage.start_coordinator().await;
    jobs::add(&stage.redis, 6, 1.0);
    let machine = stage.instance(&stage.until_booting().await);
    let home = stage.directory.path().join("home");
    let copy = fs::canonicalize(stage.copy_of_app("home/app").await).expect("the application");
    let _: String = stage.redis.ask(&["ACL", "SETUSER", "app", "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"]);
    let url = stage.redis.url().replace("redis://", &format!("redis://app:{PASSWORD}@"));
    fs::write(copy.join(".env"), format!("HOST_URL=\"{url}\"\nREDIS_URL=$HOST_URL\n")).expect("written");
    fs::create_dir_all(home.join(".pm2")).expect("a directory");
    let list = json!([{ "name": "video-worker", "pm_cwd": copy }, { "name": "nginx-logs", "pm_cwd": "/var/log" }]);
    fs::write(home.join(".pm2/dump.pm2"), list.to_string()).expect("written");
    let (on_ec2, written) = (environment(&home, Some(machine.imds_port)), stage.directory.path().join("written"));

    let looked = init(&on_ec2, &written, &["--dry-run", "--json"]);
    let (what, notes, states) = found(&looked);
    assert!(!written.exists() && states.iter().all(|state| state == "would be written"), "{looked:?}");
    assert_eq!(what["instance"], machine.id);
    assert_eq!((&*what["region"], &what["private address"]), ("us-east-1", &machine.private_ip));
    assert_eq!(what["application"], copy.display().to_string());
    assert_eq!((&*what["PM2 processes"], &*what["branch"]), ("video-worker", "main"), "{what:?}");
    assert!(what["queue"].starts_with(&format!("{QUEUE} (prefix bull): ")), "{what:?}");
    assert!(notes.iter().any(|note| note.contains("names this machine itself")), "{notes:?}");
    assert!(!text(&looked.stdout).contains(PASSWORD), "a password is shown");

    // As the package leaves it.
    fs::create_dir_all(&written).expect("a directory");
    fs::write(written.join("coordinator.env"), "# REDIS_URL=\n").expect("written");
    let (_, _, states) = found(&init(&on_ec2, &written, &["--json"]));
    assert_eq!(states, ["written", "replaced", "written", "written"]);
    let mode = |name: &str| fs::metadata(written.join(name)).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode("coordinator.env"), mode("coordinator.toml")), (0o600, 0o644));
    let mut check = spillway(&Environment::new());
    let checked = output(check.arg("--config").arg(written.join("coordinator.toml")).args(["config", "check"]));
    assert!(checked.status.success(), "{checked:?}");
    // The agent reads what was written; what it says of this machine is another matter.
    let mut agent = command(binaries::agent());
    agent.env("SPILLWAY_CA_FILE", stage.ca_file());
    let agent = output(agent.args(["check", "--json", "--config"]).arg(written.join("agent.toml")));
    assert_ne!(agent.status.code(), Some(2), "{agent:?}");
    let parameters = fs::read_to_string(written.join("stack-parameters.json")).expect("it");
    for name in ["Vpc", "Subnet", "PrimarySecurityGroup", "PrimaryAddress"] {
        assert!(parameters.contains(name), "{name}: {parameters}");
    }

    fs::write(written.join("agent.toml"), EDITED).expect("written");
    let kept = init(&on_ec2, &written, &["--json"]);
    assert_eq!(kept.status.code(), Some(1), "a script can tell: {kept:?}");
    let (_, _, states) = found(&kept);
    assert_eq!(states.iter().filter(|state| *state == "unchanged").count(), 3, "{states:?}");
    assert_eq!(fs::read_to_string(written.join("agent.toml")).expect("it"), EDITED, "nothing is overwritten");
    let (_, _, states) = found(&init(&on_ec2, &written, &["--json", "--force"]));
    assert!(states.contains(&"replaced".to_owned()), "{states:?}");
    assert_eq!(fs::read_to_string(written.join("agent.toml.before-init")).expect("it"), EDITED);
}

/// Whoever owns the application must not become who runs the coordinator, or who is root on a worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_applications_gets_further_than_its_place() {
    let stage = Stage::without_coordinator(Setup::default()).await;
    let (home, written) = (stage.directory.path().join("home"), stage.directory.path().join("written"));
    jobs::add(&stage.redis, 1, 1.0);
    let copy = stage.copy_of_app("app").await;
    let (nowhere, directory) = (environment(&home, None), copy.display().to_string());
    let with = ["--directory", &*directory, "--address", "10.0.0.5", "--json"];
    let url = stage.redis.url();
    let injected = format!("REDIS_URL=\"{url}/0?x=1\nSPILLWAY_POOL_MAX_INSTANCES=99\nLD_PRELOAD=/tmp/x.so\"\n");
    fs::write(copy.join(".env"), injected).expect("written");
    let out = init(&nowhere, &written, &with);
    assert!(!out.status.success() && !written.exists(), "{out:?}");

    let password = r#"a$b'c\d e"f"#;
    let _: String = stage.redis.ask(&["ACL", "SETUSER", "odd", "on", &format!(">{password}"), "~*", "&*", "+@all"]);
    let odd = url.replace("redis://", &format!("redis://odd:{}@", password.replace('"', "%22")));
    let git = |arguments: &[&str]| {
        let out = output(command("git").arg("-C").arg(&copy).args(arguments));
        assert!(out.status.success(), "{out:?}");
    };
    git(&["remote", "set-url", "origin", "https://user:planted-t@ken@example.org/a/b?private_token=planted"]);
    git(&["checkout", "-q", "-b", "x;touch${IFS}pwned"]);
    let told = [&with[..], &["--redis-url", &odd]].concat();
    fs::write(copy.join(".env"), "").expect("written");
    let out = init(&nowhere, &written, &told);
    assert!(out.status.success() && !text(&out.stdout).contains("planted"), "{out:?}");
    assert!(!fs::read_to_string(written.join("agent.toml")).expect("it").contains("pwned"));
    let mut queues = spillway(&Environment::new());
    let queues = output(queues.arg("--config").arg(written.join("coordinator.toml")).arg("queues"));
    assert!(
        queues.status.success() && text(&queues.stdout).contains(QUEUE),
        "the password is read as it was: {queues:?}"
    );

    for wrong in [["--installation", "a b"], ["--queues", "a:b"], ["--address", "http://10.0.0.5"]] {
        let out = init(&nowhere, &stage.directory.path().join("another"), &[&told[..], &wrong].concat());
        assert!(!out.status.success() && !stage.directory.path().join("another").exists(), "{wrong:?}: {out:?}");
    }
    let linked = stage.directory.path().join("linked");
    fs::create_dir(&linked).expect("a directory");
    std::os::unix::fs::symlink("/nowhere/coordinator.toml", linked.join("coordinator.toml")).expect("a link");
    let out = init(&nowhere, &linked, &[&told[..], &["--force"]].concat());
    assert!(!out.status.success() && text(&out.stderr).contains("is a link"), "{out:?}");
    assert_eq!(fs::read_dir(&linked).expect("it").count(), 1, "nothing is half done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_found_is_said_with_what_to_do_and_nothing_is_written() {
    let stage = Stage::without_coordinator(Setup::default()).await;
    let (home, written) = (stage.directory.path().join("home"), stage.directory.path().join("written"));
    let copy = stage.copy_of_app("app").await;
    let nowhere = environment(&home, None);
    let refused = |more: &[&str], said: &str| {
        let out = init(&nowhere, &written, more);
        assert!(!out.status.success() && text(&out.stderr).contains(said), "{said}: {out:?}");
        assert!(!written.exists(), "{more:?}");
    };
    let directory = copy.display().to_string();
    refused(&[], "use --directory");
    refused(&["--directory", "/no-such-place"], "--directory /no-such-place");
    refused(&["--directory", &directory], "use --redis-url");
    let url = stage.redis.url();
    let with_redis = ["--directory", &*directory, "--redis-url", &*url];
    refused(&with_redis, "Redis has no BullMQ queue, and nothing names one: use --queues");
    let with_queues = [&with_redis[..], &["--queues", "mail"]].concat();
    refused(&with_queues, "use --address");
    let out = init(&nowhere, &written, &[&with_queues[..], &["--address", "10.0.0.5", "--json"]].concat());
    let (_, notes, _) = found(&out);
    for note in ["region, network and role are not known", "queue mail has never existed", "there is no .env"] {
        assert!(notes.iter().any(|it| it.contains(note)), "{note}: {notes:?}");
    }
    let toml = fs::read_to_string(written.join("coordinator.toml")).expect("it");
    assert!(
        toml.contains("advertise = \"10.0.0.5:7443\"") && toml.contains("operator_accounts = [\"daemon\"]"),
        "{toml}"
    );
}
